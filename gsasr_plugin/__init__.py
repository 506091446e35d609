"""GSASR for BasicSR.

Importing this package takes no time: what it offers is imported when it is asked for. And whenever BasicSR is imported,
before or after, it is repaired, and the network, the data set, the model and the metrics are registered with it (see
`gsasr_plugin.host.registration`). Worker processes that unpickle anything of this package import it, and with it that.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gsasr_plugin.host.registration import attend_basicsr

if TYPE_CHECKING:
    from gsasr_plugin.archs.gsasr_arch import GSASR
    from gsasr_plugin.checkpoints.blending import blend
    from gsasr_plugin.checkpoints.loading import load
    from gsasr_plugin.upscaling.images import upscale

__all__ = ['GSASR', 'blend', 'load', 'upscale']

_HOMES = {
    'GSASR': 'archs.gsasr_arch',
    'blend': 'checkpoints.blending',
    'load': 'checkpoints.loading',
    'upscale': 'upscaling.images',
}
_ROOMS = ('archs', 'data', 'metrics', 'models')


def __getattr__(name: str) -> Any:
    if name == '__version__':
        from gsasr_plugin.host.plugins import version_of  # which imports what takes a tenth of a second

        value: Any = version_of('gsasr-plugin') or '(not installed)'
    elif name in _HOMES:
        value = getattr(importlib.import_module(f'{__name__}.{_HOMES[name]}'), name)
    elif name in _ROOMS:
        return importlib.import_module(f'{__name__}.{name}')
    else:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_ROOMS, '__version__'})


attend_basicsr()
