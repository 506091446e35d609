"""Decoders and heads by themselves, with the defaults of the network's signature for what is not given."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from torch import nn

from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.decoder import GaussianDecoder
from gsasr_plugin.archs.primary_head import GaussianPrimaryHead

DEFAULTS = {name: parameter.default for name, parameter in inspect.signature(GSASR).parameters.items()}


def make_decoder(**options: Any) -> GaussianDecoder:
    return GaussianDecoder(**_with_defaults((GaussianDecoder, GaussianPrimaryHead), options))


def make_head(**options: Any) -> GaussianPrimaryHead:
    return GaussianPrimaryHead(**_with_defaults((GaussianPrimaryHead,), options))


def _with_defaults(classes: Sequence[type[nn.Module]], options: dict[str, Any]) -> dict[str, Any]:
    names = [name for cls in classes for name in inspect.signature(cls).parameters]
    return {name: DEFAULTS[name] for name in names if name in DEFAULTS} | options
