"""Modules that BasicSR imports and that are gone."""

import importlib
import sys
import types
import warnings

from gsasr_plugin.host.repairs.repair import Repair

# Module -> where its names are now, and those that BasicSR wants.
VANISHED = {
    # basicsr.data.degradations imports it; torchvision 0.17 removed it, and BasicSR cannot be imported without.
    'torchvision.transforms.functional_tensor': ('torchvision.transforms.functional', ('rgb_to_grayscale',)),
    # basicsr.metrics.niqe imports it; it is deprecated, and leaves with SciPy 2.
    'scipy.ndimage.filters': ('scipy.ndimage', ('convolve',)),
}


def stand_in(name: str) -> Repair:
    """Puts a module with the names that BasicSR wants in the place of one that is gone; the real one wins."""
    successor, attributes = VANISHED[name]
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        module = types.ModuleType(name, f'The names of {successor} that BasicSR looks for here.')
        found = vars(importlib.import_module(successor))
        vars(module).update({attribute: found[attribute] for attribute in attributes})
        sys.modules[name] = module
    return Repair(name, True, f'gone from the installed library, or about to go: {successor} stands in')


def stand_in_for_modules() -> list[Repair]:
    """What has to be done before BasicSR is imported."""
    # While SciPy still has the module, it warns of BasicSR's line.
    warnings.filterwarnings(
        'ignore', message=r'.*scipy\.ndimage\.filters', category=DeprecationWarning, module=r'basicsr\.metrics\.niqe'
    )
    return [stand_in(name) for name in VANISHED]
