"""Sections of networks as BasicSR's and HAT's option files have them, taken for ``encoder_opt`` as they stand.

What they say of the up-sampler, and of what leaves no trace in a network, is left out; what an encoder cannot be is an
error that names it.
"""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from gsasr_plugin.option_types import Accepted, Option, PositiveInt

_ONE = Annotated[float, Field(ge=1, le=1, title='1')]
_NONE = Annotated[float, Field(ge=0, le=0, title='0')]
# What an encoder is anyway, where it has no such argument: the only value that is accepted.
_FIXED = {
    'num_in_ch': Option(Literal[3], 3, 'channels of the picture: 3'),
    'in_chans': Option(Literal[3], 3, 'channels of the picture: 3'),
    'num_out_ch': Option(Literal[3], 3, 'channels of the result: 3'),
    'patch_size': Option(Literal[1], 1, 'pixels of a token: 1'),
    'ape': Option(Literal[False], False, 'a position embedding of the picture: none'),
    'img_range': Option(_ONE, 1.0, 'factor of the picture: 1'),
    'resi_connection': Option(Literal['1conv'], '1conv', 'the convolution at the end of a group: one'),
    'qkv_bias': Option(Literal[True], True, 'bias of queries, keys and values'),
    'qk_scale': Option(None, None, 'factor of the queries: that of the width'),
    'drop_rate': Option(_NONE, 0.0, 'dropout: none'),
    'attn_drop_rate': Option(_NONE, 0.0, 'dropout of attention: none'),
    'patch_norm': Option(Literal[True], True, 'a LayerNorm of the tokens'),
}
_UNUSED = {
    'upscale': Option(PositiveInt, 4, "of BasicSR's up-sampler: not used"),
    'upsampler': Option(str, '', "BasicSR's up-sampler: not used"),
    'img_size': Option(PositiveInt | list[PositiveInt], 64, 'size of the patches of a training: not used'),
    'use_checkpoint': Option(bool, False, 'not used: see train.gradient_checkpointing'),
}


FOREIGN = Accepted(_FIXED | _UNUSED)


def split_section(section: Mapping[str, Any], own: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A section in two: what an encoder that accepts the keys `own` reads, unknown keys too, and what is `FOREIGN`."""
    foreign = {key: value for key, value in section.items() if key in FOREIGN.options and key not in own}
    return {key: value for key, value in section.items() if key not in foreign}, foreign


def unused(foreign: Collection[str]) -> list[str]:
    """Which of these keys are ignored, rather than true of the encoder anyway."""
    return [key for key in foreign if key in _UNUSED]
