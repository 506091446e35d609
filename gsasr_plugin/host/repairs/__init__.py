"""Repairs of BasicSR (the host), in memory: what current libraries or a machine without a GPU break.

One function per repair, with the host's defect in its docstring. A repair does nothing where the host does not have the
defect (`basicsr-fixed`, for instance, needs no alias of torchvision's module) and nothing when applied twice. Installed
files are never touched. Each function returns a `Repair` that says what was found; `repairs()` lists them.
"""

import importlib

from gsasr_plugin.host.repairs.epochs import repair_epoch_count, repair_epoch_in_indices
from gsasr_plugin.host.repairs.lost_validation import repair_lost_validation
from gsasr_plugin.host.repairs.option_values import repair_dataroot_lists, repair_dict2str
from gsasr_plugin.host.repairs.prefetching import repair_prefetching
from gsasr_plugin.host.repairs.process_group import repair_init_dist
from gsasr_plugin.host.repairs.remaining_time import repair_remaining_time
from gsasr_plugin.host.repairs.repair import Repair
from gsasr_plugin.host.repairs.result_folders import repair_test_folders
from gsasr_plugin.host.repairs.resuming import repair_load_resume_state
from gsasr_plugin.host.repairs.vanished_modules import stand_in_for_modules

__all__ = [
    'Repair',
    'repair_dataroot_lists',
    'repair_dict2str',
    'repair_epoch_count',
    'repair_epoch_in_indices',
    'repair_host',
    'repair_init_dist',
    'repair_load_resume_state',
    'repair_lost_validation',
    'repair_prefetching',
    'repair_remaining_time',
    'repair_test_folders',
    'repairs',
    'stand_in_for_modules',
]

_applied: list[Repair] = []


def repair_host() -> None:
    """Apply every repair; the first call imports BasicSR. Repeated calls change nothing."""
    if _applied:
        return
    _applied.extend(stand_in_for_modules())

    train = importlib.import_module('basicsr.train')
    options = importlib.import_module('basicsr.utils.options')
    dist_util = importlib.import_module('basicsr.utils.dist_util')
    test = importlib.import_module('basicsr.test')
    found = [
        repair_load_resume_state(train),
        repair_init_dist(dist_util, options),
        repair_dataroot_lists(options),
        repair_dict2str(options, train, test),
        repair_epoch_in_indices(train),
        repair_epoch_count(train),
        repair_lost_validation(train),
        repair_prefetching(importlib.import_module('basicsr.data.prefetch_dataloader')),
        repair_remaining_time(importlib.import_module('basicsr.utils.logger')),
        repair_test_folders(test),
    ]
    _applied.extend(found)


def repairs() -> list[Repair]:
    """The repairs of this process, in the order in which they were applied."""
    return list(_applied)
