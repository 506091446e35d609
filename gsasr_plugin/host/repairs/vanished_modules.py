"""Modules that the host imports and that are gone."""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from collections.abc import Iterable
from typing import Any

from gsasr_plugin.host.repairs.repair import Repair


class _AliasFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answers the import of one vanished module with chosen names of its successor, imported only when asked.

    It stands last on `sys.meta_path`, so that the real module wins wherever it exists.
    """

    def __init__(self, name: str, successor: str, attributes: Iterable[str]) -> None:
        self.name = name
        self.successor = successor
        self.attributes = tuple(attributes)

    def find_spec(
        self, fullname: str, path: Any = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if fullname == self.name else None

    def exec_module(self, module: types.ModuleType) -> None:
        successor = importlib.import_module(self.successor)
        for attribute in self.attributes:
            setattr(module, attribute, getattr(successor, attribute))


def _alias(name: str, successor: str, attributes: Iterable[str]) -> Repair:
    if any(isinstance(finder, _AliasFinder) and finder.name == name for finder in sys.meta_path):
        return Repair(name, True, f'answered by {successor} when the host asks for it')
    if importlib.util.find_spec(name) is not None:
        return Repair(name, False, 'the installed library still has this module')
    sys.meta_path.append(_AliasFinder(name, successor, attributes))
    return Repair(name, True, f'gone from the installed library; answered by {successor} when the host asks for it')


def alias_functional_tensor() -> Repair:
    """`basicsr.data.degradations` imports torchvision.transforms.functional_tensor, which torchvision 0.17 removed.

    Without it `import basicsr` fails. What it wants, rgb_to_grayscale, lives in torchvision.transforms.functional.
    """
    return _alias('torchvision.transforms.functional_tensor', 'torchvision.transforms.functional', ['rgb_to_grayscale'])


def alias_scipy_filters() -> Repair:
    """`basicsr.metrics.niqe` imports scipy.ndimage.filters, which is deprecated and leaves with SciPy 2.

    While SciPy still has the module, only its DeprecationWarning about the host's line is silenced.
    """
    warnings.filterwarnings(
        'ignore', message=r'.*scipy\.ndimage\.filters', category=DeprecationWarning, module=r'basicsr\.metrics\.niqe'
    )
    return _alias('scipy.ndimage.filters', 'scipy.ndimage', ['convolve'])
