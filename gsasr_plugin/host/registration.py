"""BasicSR is repaired, and our classes are registered with it, as soon as anybody imports it.

Importing BasicSR takes seconds, and beside a torchvision of today it fails unless a module that it misses is put in its
place first. So `import gsasr_plugin` does not import it: it asks to be told of its import. Where BasicSR is there
already, because somebody else has put that module in its place, all is done at once.
"""

import importlib
import importlib.machinery
import sys
import types
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import Loader, MetaPathFinder
else:  # which need not be theirs: importing them takes long, in which Ctrl-C is not awaited
    Loader = MetaPathFinder = object

BASICSR = 'basicsr'


def attend_basicsr() -> None:
    """Repairs BasicSR and registers our classes: now if it is imported already, else right after its import."""
    if not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())
    if BASICSR in sys.modules:
        importlib.import_module(BASICSR)  # another thread may be about to finish it
        _complete()
    else:
        _forget({name for name in sys.modules if not name.startswith(f'{BASICSR}.')})


def register_classes() -> None:
    """Enters our classes and functions in BasicSR's registries, unless they are there."""
    from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

    from gsasr_plugin.archs.encoders.rdn import RDN
    from gsasr_plugin.archs.gsasr_arch import GSASR
    from gsasr_plugin.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset
    from gsasr_plugin.metrics.dists import calculate_dists
    from gsasr_plugin.metrics.lpips import calculate_lpips
    from gsasr_plugin.models.gsasr_gan_model import GSASRGANModel
    from gsasr_plugin.models.gsasr_model import GSASRModel
    from gsasr_plugin.models.perceptual_losses import DISTSLoss, LPIPSLoss

    for registry, entries in (
        (ARCH_REGISTRY, (GSASR, RDN)),
        (DATASET_REGISTRY, (ArbitraryScalePairedDataset,)),
        (LOSS_REGISTRY, (LPIPSLoss, DISTSLoss)),
        (METRIC_REGISTRY, (calculate_dists, calculate_lpips)),
        (MODEL_REGISTRY, (GSASRModel, GSASRGANModel)),
    ):
        for entry in entries:
            if entry.__name__ not in registry or registry.get(entry.__name__) is not entry:
                registry.register(entry)  # refuses the name of somebody else's class


def _complete() -> None:
    from gsasr_plugin.host.repairs import repair_basicsr  # they need torch

    repair_basicsr()
    register_classes()


def _forget(before: set[str]) -> None:
    """Drops what an import that failed has left: it would be found again without BasicSR itself, and without us.

    Args:
        before: the modules that are meant to stay.
    """
    for name in set(sys.modules) - before:
        if name.startswith((f'{BASICSR}.', 'gsasr_plugin.')):
            sys.modules.pop(name, None)


class _Watch(MetaPathFinder):
    """Finds BasicSR where the other finders find it, and has it loaded by `_Loader`; any other module is theirs."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != BASICSR:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader(Loader):
    """Loads BasicSR by its own loader, between what has to stand before and what comes after."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.loader  # the one that knows its source and files
        from gsasr_plugin.host.repairs.vanished_modules import stand_in_for_modules

        before = set(sys.modules)
        try:
            stand_in_for_modules()
            self.loader.exec_module(module)
            # Our rooms import BasicSR in turn: they find it loaded, for all of it is by now.
            _complete()
        except BaseException:  # Ctrl-C in a notebook too
            _forget(before)
            raise
