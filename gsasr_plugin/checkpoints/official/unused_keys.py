"""The keys of the released state dicts that are not needed here, in one list with the reasons."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gsasr_plugin.checkpoints.official.shapes import side_of_square


@dataclass(frozen=True)
class UnusedKey:
    """Keys of a kind of released network of which all or a part is left out.

    Attributes:
        kind: name of the kind, see `ReleasedNetwork`.
        pattern: regular expression of the whole key.
        part: which rows are left out; the others are used.
        reason: why nothing is lost.
        follows: whether a tensor under a key is what it has to be for the reason to hold; None where any will do.
    """

    kind: str
    pattern: str
    part: Literal['all', 'first two thirds']
    reason: str
    follows: Callable[[str, Tensor], bool] | None = None


def _in_raster_order(key: str, positions: Tensor) -> bool:
    """Whether these are the columns (`..._x`) or the rows (`..._y`) of the tokens of a square window."""
    side = side_of_square(positions.numel())
    token = torch.arange(positions.numel())
    return torch.equal(positions.cpu().double(), (token % side if key.endswith('_x') else token // side).double())


UNUSED_KEYS = (
    UnusedKey(
        'decoder',
        r'(window_crossattn|gs_selfattn)_blocks\.\d+\.blocks\.\d+\.gs_cross_attn_scale\.in_proj_(weight|bias)',
        'first two thirds',
        'projections to the queries and keys of the scale attention: all its keys are the one scale embedding, so its '
        'softmax is uniform whatever the queries and keys, and only the projection to the values matters',
    ),
    UnusedKey(
        'decoder',
        r'(window_crossattn_blocks\.\d+\.blocks\.\d+\.norm1|gs_selfattn_blocks\.\d+\.blocks\.\d+\.norm3)\.(weight|bias)',
        'all',
        'LayerNorm of the queries of the scale attention, on which its output does not depend',
    ),
    UnusedKey(
        'decoder',
        r'(window_crossattn|gs_selfattn)_blocks\.\d+\.blocks\.\d+\.\w+\.rope_t_[xy]',
        'all',
        "the tokens' positions in a window, t mod side and t div side, which follow from its side",
        _in_raster_order,
    ),
    UnusedKey(
        'SwinIR',
        r'layers\.\d+\.residual_group\.blocks\.\d+\.attn_mask',
        'all',
        'masks of the shifted windows for 48 x 48 patches; they follow from the size of the input',
    ),
    UnusedKey(
        'HAT',
        r'relative_position_index_(SA|OCA)',
        'all',
        'rows of relative position bias tables that this network does not have',
    ),
    UnusedKey(
        'HAT',
        r'layers\.\d+\.residual_group\.(blocks\.\d+\.attn|overlap_attn)\.rope_t_[xy]',
        'all',
        "the tokens' positions in a window, t mod side and t div side, which follow from its side",
        _in_raster_order,
    ),
)


def unused_key(kind: str, key: str) -> UnusedKey | None:
    """The entry of the list that names a released key, if there is one."""
    return next((entry for entry in UNUSED_KEYS if entry.kind == kind and re.fullmatch(entry.pattern, key)), None)
