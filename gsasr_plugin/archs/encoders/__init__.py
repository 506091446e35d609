"""Feature encoders of GSASR, chosen by name: LR image B x 3 x h x w in 0..1 -> features B x C x h x w.

``encoder_opt`` is ``{type: NAME, **constructor arguments}``. NAME is looked up in this order:

1. the encoders of this room, without up-samplers: EDSR, RDN and HAT (HAT's own plugin registers that name for the
   network with its up-sampler), and what is cut from BasicSR's networks (``host_features.py``, ``swinir.py``):
   MSRResNet, RRDBNet, RCAN, SwinIR, SRVGGNetCompact;
2. BasicSR's ``ARCH_REGISTRY``, which holds the classes of other plugins. Any registered class works whose forward maps
   B x 3 x h x w to one tensor B x C x h x w.

Each is imported when it is asked for: BasicSR takes seconds, and neither EDSR, RDN nor HAT needs it.

A section of BasicSR's option files is taken as it stands, up-sampler and all (``basicsr_sections.py``).

The channel count C and the multiple to which the input has to be padded are worked out when the encoder is built
(``encoder.py``); no option repeats them.
"""

import dataclasses
import importlib
import inspect
import warnings
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field
from torch import nn

from gsasr_plugin.archs.encoders.basicsr_sections import FOREIGN, split_section, unused
from gsasr_plugin.archs.encoders.encoder import Encoder
from gsasr_plugin.option_types import Accepted, Option, accepted_by_call, check_values, closest, is_plain

__all__ = [
    'Encoder',
    'build_encoder',
    'encoder_class',
    'encoder_options',
    'encoder_types',
    'section_options',
    'split_encoder_opt',
    'unused',
]

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


def encoder_options(type_name: str) -> Accepted:
    """What the encoder of a name, as for `encoder_class`, accepts beside ``type``."""
    accepted = accepted_by_call(encoder_class(type_name))
    # BasicSR's classes build something from any number, such as no blocks from -1.
    counts = {
        name: dataclasses.replace(option, annotation=Annotated[option.annotation, Field(ge=1)])
        for name, option in accepted.options.items()
        if name.startswith('num_') and option.annotation in (int, float, int | None)
    }
    return accepted.with_options(**counts)


def section_options(type_name: str) -> Accepted:
    """What a section may have: `encoder_options`, and for the encoders of this room what BasicSR's files say beside."""
    accepted = encoder_options(type_name)
    return accepted.with_options(**FOREIGN.without(accepted.options).options) if type_name in _HOMES else accepted


def split_encoder_opt(encoder_opt: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A section with what its encoder reads, and what else of BasicSR's sections there is in it."""
    if encoder_opt.get('type') not in _HOMES:
        return dict(encoder_opt), {}
    return split_section(encoder_opt, encoder_options(encoder_opt['type']).options)


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
    arguments, foreign = split_encoder_opt(encoder_opt)
    type_name = arguments.pop('type', None)
    if not isinstance(type_name, str):
        raise ValueError(f'encoder_opt: type is {type_name!r}; a name is needed, one of: {", ".join(encoder_types())}')

    cls = encoder_class(type_name)
    accepted = encoder_options(type_name)
    # What is passed in Python, and cannot stand in a file, is left to the class.
    objects = {key: Option() for key, value in arguments.items() if key in accepted.options and not is_plain(value)}
    check_values(accepted.with_options(**objects), arguments, f'encoder_opt: {type_name}: ')
    check_values(FOREIGN, foreign, f'encoder_opt: {type_name}: ')
    if ignored := unused(foreign):
        warnings.warn(f'encoder_opt: not used, for GSASR has no up-sampler: {", ".join(ignored)}', stacklevel=3)
    try:
        net = cls(**arguments)
    except Exception as error:  # whatever a class from elsewhere raises, the user has to learn which option caused it
        raise ValueError(f'encoder_opt: {type_name} cannot be built with {arguments}: {error}') from error

    bound = inspect.signature(cls).bind(**arguments)
    bound.apply_defaults()
    return Encoder(net, type_name=type_name, window_size=bound.arguments.get('window_size'))


def encoder_class(type_name: str) -> type[nn.Module]:
    """Class that stands for a name.

    Args:
        type_name: one of ``encoder_types()`` or a name registered in ARCH_REGISTRY.

    Raises:
        ValueError: the name is unknown; the message lists the known ones and the closest.
    """
    if type_name in _HOMES:
        file, name = _HOMES[type_name]
        return getattr(importlib.import_module(f'{__name__}.{file}'), name)
    import basicsr.archs  # noqa: F401 (fills ARCH_REGISTRY with BasicSR's own networks)
    from basicsr.utils.registry import ARCH_REGISTRY

    if type_name in ARCH_REGISTRY:
        return ARCH_REGISTRY.get(type_name)
    # A name that is sure to work is the better guess, even where another class of the registry is spelt more like it.
    guess = closest(type_name, encoder_types()) or closest(type_name, ARCH_REGISTRY.keys())
    hint = f'; closest: {guess}' if guess else ''
    raise ValueError(
        f'encoder_opt: type {type_name!r} is unknown; accepted: {", ".join(encoder_types())}, or any class in '
        f'ARCH_REGISTRY that returns features B x C x h x w{hint}'
    )
