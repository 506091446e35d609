"""Feature encoders of GSASR, chosen by name: LR image B x 3 x h x w in 0..1 -> features B x C x h x w.

``encoder_opt`` is ``{type: NAME, **constructor arguments}``. NAME is looked up in this order:

1. the encoders of this room, without up-samplers: EDSR, RDN and HAT (HAT's own plugin registers that name for the
   network with its up-sampler), and what is cut from BasicSR's networks (``host_features.py``, ``swinir.py``):
   MSRResNet, RRDBNet, RCAN, SwinIR, SRVGGNetCompact;
2. BasicSR's ``ARCH_REGISTRY``, which holds the classes of other plugins. Any registered class works whose forward maps
   B x 3 x h x w to one tensor B x C x h x w.

Each is imported when it is asked for: BasicSR takes seconds, and neither EDSR, RDN nor HAT needs it.

The channel count C and the multiple to which the input has to be padded are worked out when the encoder is built
(``encoder.py``); no option repeats them.
"""

import difflib
import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from gsasr_plugin.archs.encoders.encoder import Encoder

__all__ = ['Encoder', 'build_encoder', 'encoder_class', 'encoder_signature', 'encoder_types']

# Name in the option file -> file of this room, class in it.
_HOMES = {
    'EDSR': ('edsr', 'EDSRFeatures'),
    'HAT': ('hat', 'HATFeatures'),
    'MSRResNet': ('host_features', 'MSRResNetFeatures'),
    'RCAN': ('host_features', 'RCANFeatures'),
    'RDN': ('rdn', 'RDN'),
    'RRDBNet': ('host_features', 'RRDBNetFeatures'),
    'SRVGGNetCompact': ('host_features', 'SRVGGNetCompactFeatures'),
    'SwinIR': ('swinir', 'SwinIRFeatures'),
}


def encoder_types() -> list[str]:
    """Names of the encoders that come with this package (more may be registered in ARCH_REGISTRY), sorted."""
    return sorted(_HOMES)


def encoder_signature(type_name: str) -> inspect.Signature:
    """Arguments that the encoder ``type_name`` accepts beside ``type``, with their types and defaults.

    Args:
        type_name: one of ``encoder_types()`` or a name registered in ARCH_REGISTRY.

    Returns:
        The constructor's signature without ``self``.

    Raises:
        ValueError: the name is unknown; the message lists the known ones and the closest.
    """
    return inspect.signature(encoder_class(type_name))


def build_encoder(encoder_opt: Mapping[str, Any]) -> Encoder:
    """Build the feature encoder (the paper's Sec. 3.2) that an option section describes.

    Args:
        encoder_opt: ``{type: NAME, **constructor arguments}``. It is not modified.

    Returns:
        The encoder; see ``Encoder`` for its ``num_features`` and ``multiple``.

    Raises:
        TypeError: ``encoder_opt`` is not a mapping.
        ValueError: ``type`` is missing or unknown, an argument is unknown, missing or refused by the class, or the
            class does not return features B x C x h x w.
    """
    if not isinstance(encoder_opt, Mapping):
        raise TypeError(f'encoder_opt: got {encoder_opt!r}; a mapping with the key "type" is needed')
    arguments = dict(encoder_opt)
    type_name = arguments.pop('type', None)
    if not isinstance(type_name, str):
        raise ValueError(f'encoder_opt: type is {type_name!r}; a name is needed, one of: {", ".join(encoder_types())}')

    cls = encoder_class(type_name)
    signature = inspect.signature(cls)
    _check_keys(type_name, arguments, signature)
    try:
        net = cls(**arguments)
    except Exception as error:  # whatever a class from elsewhere raises, the user has to learn which option caused it
        raise ValueError(f'encoder_opt: {type_name} cannot be built with {arguments}: {error}') from error

    bound = signature.bind(**arguments)
    bound.apply_defaults()
    return Encoder(net, type_name=type_name, window_size=bound.arguments.get('window_size'))


def encoder_class(type_name: str) -> type[nn.Module]:
    """Class that stands for a name; ValueError where there is none."""
    if type_name in _HOMES:
        file, name = _HOMES[type_name]
        return getattr(importlib.import_module(f'{__name__}.{file}'), name)
    import basicsr.archs  # noqa: F401 (fills ARCH_REGISTRY with BasicSR's own networks)
    from basicsr.utils.registry import ARCH_REGISTRY

    if type_name in ARCH_REGISTRY:
        return ARCH_REGISTRY.get(type_name)
    # A name that is sure to work is the better guess, even where another class of the registry is spelt more like it.
    closest = difflib.get_close_matches(type_name, encoder_types(), n=1)
    closest = closest or difflib.get_close_matches(type_name, ARCH_REGISTRY.keys(), n=1)
    hint = f'; closest: {closest[0]}' if closest else ''
    raise ValueError(
        f'encoder_opt: type {type_name!r} is unknown; accepted: {", ".join(encoder_types())}, or any class in '
        f'ARCH_REGISTRY that returns features B x C x h x w{hint}'
    )


def _check_keys(type_name: str, arguments: Mapping[str, Any], signature: inspect.Signature) -> None:
    """Refuse arguments that the constructor does not name, missing ones that have no default, and counts below 1."""
    parameters = signature.parameters.values()
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for key in arguments:
            if key not in named:
                closest = difflib.get_close_matches(str(key), named, n=1)
                hint = f'; closest: {closest[0]}' if closest else ''
                raise ValueError(
                    f'encoder_opt: {type_name} has no argument {key!r} (given: {arguments[key]!r}); '
                    f'accepted: {", ".join(named) or "none"}{hint}'
                )
    for key, value in arguments.items():
        # BasicSR's classes build something from any number, such as no blocks from -1.
        if str(key).startswith('num_') and isinstance(value, int) and value < 1:
            raise ValueError(f'encoder_opt: {key} of {type_name} must be at least 1, got {value}')
    missing = [p.name for p in parameters if p.name in named and p.default is p.empty and p.name not in arguments]
    if missing:
        raise ValueError(f'encoder_opt: {type_name} needs {", ".join(missing)}; accepted: {", ".join(named)}')
