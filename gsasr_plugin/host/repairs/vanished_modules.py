"""Modules that BasicSR imports and that are gone."""

import importlib
import sys
import types
import warnings
from typing import NamedTuple


class Vanished(NamedTuple):
    """Where the names of a module are now, those of them that BasicSR wants, and what became of the module."""

    successor: str
    names: tuple[str, ...]
    why: str


VANISHED = {
    'torchvision.transforms.functional_tensor': Vanished(
        'torchvision.transforms.functional',
        ('rgb_to_grayscale',),
        'torchvision 0.17 removed it: BasicSR cannot be imported unless another module stands in',
    ),
    'scipy.ndimage.filters': Vanished(
        'scipy.ndimage', ('convolve',), 'is deprecated and leaves with SciPy 2: another module stands in then'
    ),
}


def stand_in_for_modules() -> None:
    """What has to be done before BasicSR is imported. A module that is still there is the one that counts."""
    # While SciPy has its module, it warns of BasicSR's line.
    warnings.filterwarnings(
        'ignore', message=r'.*scipy\.ndimage\.filters', category=DeprecationWarning, module=r'basicsr\.metrics\.niqe'
    )
    for name, vanished in VANISHED.items():
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            found = vars(importlib.import_module(vanished.successor))
            module = types.ModuleType(name, f'What BasicSR looks for here, from {vanished.successor}.')
            vars(module).update({wanted: found[wanted] for wanted in vanished.names})
            sys.modules[name] = module
