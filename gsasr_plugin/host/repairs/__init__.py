"""All that is replaced in BasicSR, in memory, in one list: what current libraries or a machine without a GPU break, and
what its training and testing do wrong.

Installed files are never touched, and applying a repair again changes nothing. The training loop's are in
`gsasr_plugin.host.train_loop`, and the copy of the option file, for the time of a run, in `gsasr_plugin.host.pipeline`.
"""

import importlib

from gsasr_plugin.host.plugins import BASICSR_VERSION, basicsr_command
from gsasr_plugin.host.repair import Repair, apply
from gsasr_plugin.host.repairs.option_values import PathsOfLists, dict2str_of_any_keys
from gsasr_plugin.host.repairs.prefetching import next_or_error, run_and_tell
from gsasr_plugin.host.repairs.process_group import init_dist_anywhere, model_to_any_device
from gsasr_plugin.host.repairs.result_folders import keep_results
from gsasr_plugin.host.repairs.vanished_modules import VANISHED
from gsasr_plugin.host.train_loop import TRAIN_LOOP

REPAIRS = (
    Repair(
        'basicsr.utils.dist_util.init_dist',
        'divides by the number of GPUs: several processes cannot start on CPUs, where gloo is used now',
        init_dist_anywhere,
        also=('basicsr.utils.options',),
    ),
    Repair(
        'basicsr.models.base_model.BaseModel.model_to_device',
        'asks for a CUDA device in every distributed run, on CPUs too',
        model_to_any_device,
    ),
    Repair(
        'basicsr.utils.options.osp',
        'expands one folder per data root, and fails for a list of folders or a mapping from scale to folder',
        PathsOfLists,
    ),
    Repair(
        'basicsr.utils.options.dict2str',
        'fails for keys that are not text, such as scales, when the options are written to the log',
        dict2str_of_any_keys,
        also=('basicsr.train', 'basicsr.test'),
    ),
    Repair(
        'basicsr.data.prefetch_dataloader.PrefetchGenerator.run',
        'does not hand on errors of the loader: the training waits for its next batch for ever',
        run_and_tell,
    ),
    Repair(
        'basicsr.data.prefetch_dataloader.PrefetchGenerator.__next__',
        'raises nothing that the thread has met',
        next_or_error,
    ),
    *TRAIN_LOOP,
    Repair('basicsr.test.make_exp_dirs', 'renames the results even of a test that is to go on', keep_results),
)


def repair_basicsr() -> None:
    """Applies every repair to BasicSR, which is imported.

    Raises:
        ImportError: it is another version than the repairs are made for.
    """
    found = importlib.import_module('basicsr').__version__
    if found != BASICSR_VERSION:
        raise ImportError(
            f'BasicSR {found} is installed, and gsasr-plugin works with {BASICSR_VERSION}: {basicsr_command()}'
        )
    for repair in REPAIRS:
        apply(repair)


def repairs() -> dict[str, str]:
    """What of BasicSR is replaced, or stood in for, and why, in order."""
    return {name: vanished.why for name, vanished in VANISHED.items()} | {one.name: one.why for one in REPAIRS}
