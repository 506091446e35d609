"""Two `network_g` sections side by side: in which options does the network of a checkpoint differ from a given one?"""

import inspect
from collections.abc import Mapping
from typing import Any

from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.encoders import encoder_class
from gsasr_plugin.archs.gsasr_arch import OF_DRAWING


def differences(
    given: Mapping[str, Any], stored: Mapping[str, Any], places: tuple[str, str] = ('network_g', 'the checkpoint')
) -> list[str]:
    """The options that differ, one line each: 'embed_dim: 180 in network_g, 192 in the checkpoint'.

    Defaults are filled in, and `OF_DRAWING` left out.
    """
    mine, theirs = _flat(given), _flat(stored)
    if mine['encoder_opt.type'] != theirs['encoder_opt.type']:  # the options of two encoders do not compare
        mine, theirs = (
            {key: value for key, value in flat.items() if key == 'encoder_opt.type' or '.' not in key}
            for flat in (mine, theirs)
        )
    pairs = {key: (mine.get(key, 'nothing'), theirs.get(key, 'nothing')) for key in {**mine, **theirs}}
    return [
        f'{key}: {ours} in {places[0]}, {other} in {places[1]}'
        for key, (ours, other) in pairs.items()
        if ours != other
        and key not in OF_DRAWING
        # The sizes of RDN are those of its `config` where they are None, and may be written out in the other section.
        and not (key.startswith('encoder_opt.') and None in (ours, other))
    ]


def _flat(section: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a section with their defaults, those of the encoder as `encoder_opt.<name>`."""
    options = _with_defaults(section, inspect.signature(GSASR))
    options.pop('type', None)
    encoder = dict(options.pop('encoder_opt', None) or {})
    try:
        encoder = _with_defaults(encoder, inspect.signature(encoder_class(encoder.get('type', ''))))
    except ValueError:  # the class of a plugin that is not installed: its defaults are not known
        encoder.setdefault('type', None)
    return {'encoder_opt.type': encoder.pop('type'), **{f'encoder_opt.{k}': v for k, v in encoder.items()}, **options}


def _with_defaults(options: Mapping[str, Any], signature: inspect.Signature) -> dict[str, Any]:
    defaults = {p.name: p.default for p in signature.parameters.values() if p.default is not p.empty}
    return {key: list(x) if isinstance(x, tuple) else x for key, x in {**defaults, **options}.items()}
