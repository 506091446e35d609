"""Repairs of BasicSR (the host), in memory: what current libraries or a machine without a GPU break.

One function per repair, with the host's defect in its docstring. A repair does nothing where the host does not have the
defect (`basicsr-fixed`, for instance, needs no alias of torchvision's module) and nothing when applied twice. Installed
files are never touched. Each function returns a `Repair` that says what was found; `repairs()` lists them.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import math
import os
import subprocess
import sys
import types
import warnings
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


class Repair(NamedTuple):
    """What became of one repair: its name, whether it is in force in this process, and why (a sentence)."""

    name: str
    in_force: bool
    why: str


_applied: list[Repair] = []


def repair_host() -> None:
    """Apply every repair; the first call imports BasicSR. Repeated calls change nothing."""
    if _applied:
        return
    # These two must stand before anything of the host is imported.
    found = [alias_functional_tensor(), alias_scipy_filters()]

    train = importlib.import_module('basicsr.train')
    options = importlib.import_module('basicsr.utils.options')
    dist_util = importlib.import_module('basicsr.utils.dist_util')
    test = importlib.import_module('basicsr.test')
    found += [
        repair_load_resume_state(train),
        repair_init_dist(dist_util, options),
        repair_dataroot_lists(options),
        repair_dict2str(options, train, test),
        repair_epoch_in_indices(train),
        repair_epoch_count(train),
        repair_prefetching(importlib.import_module('basicsr.data.prefetch_dataloader')),
        repair_test_folders(test),
    ]
    _applied.extend(found)


def repairs() -> list[Repair]:
    """The repairs of this process, in the order in which they were applied."""
    return list(_applied)


# ---- modules that the host imports and that are gone ----


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


# ---- functions that need a GPU ----


def _mentions(function: Callable, *names: str) -> bool:
    """Whether the code of `function` uses one of `names` as an attribute or a global."""
    code = getattr(function, '__code__', None)
    return code is not None and not set(names).isdisjoint(code.co_names)


def _is_ours(function: Any) -> bool:
    return getattr(function, '__module__', None) == __name__


def repair_load_resume_state(train: types.ModuleType) -> Repair:
    """`basicsr.train.load_resume_state` asks torch.cuda for a device, so that nothing resumes on a CPU; with
    --auto_resume it looks for states under the current folder, though runs are kept under root_path, finds none there,
    starts again at 0 and renames the folder of the run it should have resumed.
    """
    name = 'load_resume_state'
    host_function = getattr(train, name, None)
    if _is_ours(host_function):
        return Repair(name, True, 'already replaced')
    if host_function is None or not _mentions(host_function, 'current_device'):
        return Repair(name, False, "the host's function does not ask for a GPU")
    train.load_resume_state = _load_resume_state  # type: ignore[attr-defined]
    return Repair(name, True, "the host's function needs a GPU and looks under the current folder")


def _load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """The training state to resume from, or None: the newest of the run with --auto_resume, else `path.resume_state`.

    Loaded to the CPU (optimizers move their state to the device of the parameters) and without running code. What the
    data loader needs of it goes to `opt['resumed']`: see `repair_epoch_count`.

    Raises:
        RunError: the state or its networks are missing or cannot be read (the message names them).
    """
    from basicsr.utils import check_resume

    from gsasr_plugin.checkpoint_pairs import newest_pair, read_pair
    from gsasr_plugin.run_errors import RunError

    path = opt['path']
    models = Path(path['models'])
    ignored = path.get('ignore_resume_networks') or ()
    labels = [key.removeprefix('network_') for key in opt if key.startswith('network_') and key not in ignored]
    if opt['auto_resume']:
        pair = newest_pair(Path(path['training_states']), models, labels)
        if pair is None:
            return None
        path['resume_state'], resume_state = str(pair[0]), pair[1]
    elif path.get('resume_state') is None:
        return None
    else:
        try:
            resume_state = read_pair(Path(path['resume_state']), models, labels)
        except RunError as error:
            raise RunError(f'path.resume_state: {error}') from error
    opt['resumed'] = {key: resume_state.get(key) for key in ('epoch', 'iter', 'position')}
    check_resume(opt, resume_state['iter'])
    return resume_state


def repair_init_dist(dist_util: types.ModuleType, options: types.ModuleType) -> Repair:
    """`basicsr.utils.dist_util.init_dist` divides by the number of GPUs and always selects a CUDA device, so that
    several processes cannot start on CPUs. With GPUs the host's function is called as it is.
    """
    name = 'init_dist'
    host_init_dist = getattr(dist_util, name, None)
    if _is_ours(host_init_dist):
        return Repair(name, True, 'already replaced')
    starters = [getattr(dist_util, starter, None) for starter in ('_init_dist_pytorch', '_init_dist_slurm')]
    if host_init_dist is None or not any(starter and _mentions(starter, 'set_device') for starter in starters):
        return Repair(name, False, "the host's function does not insist on a GPU")

    def init_dist(launcher: str, backend: str = 'nccl', **kwargs: Any) -> None:
        if torch.cuda.is_available():
            host_init_dist(launcher, backend, **kwargs)
        else:
            _init_dist_on_cpu(launcher, **kwargs)

    dist_util.init_dist = init_dist  # type: ignore[attr-defined]
    # The option parser imported the function by name.
    if getattr(options, name, None) is host_init_dist:
        options.init_dist = init_dist  # type: ignore[attr-defined]
    return Repair(name, True, "the host's function divides by the number of GPUs; gloo is used where there is none")


# How long a process waits for one that does not answer (one that is gone is noticed at once): as with NCCL.
_GLOO_TIMEOUT = timedelta(minutes=10)


def _init_dist_on_cpu(launcher: str, port: int | None = None, **kwargs: Any) -> None:
    """Join the process group over gloo; `launcher` is 'pytorch' (torchrun's variables) or 'slurm' (SLURM's)."""
    if mp.get_start_method(allow_none=True) is None:
        mp.set_start_method('spawn')
    if launcher == 'slurm':
        os.environ.update(_slurm_environment(port))
    elif launcher != 'pytorch':
        raise ValueError(f"launcher: {launcher!r} is not known; accepted are 'none', 'pytorch' and 'slurm'")
    dist.init_process_group(backend='gloo', timeout=_GLOO_TIMEOUT, **kwargs)


def _slurm_environment(port: int | None) -> dict[str, str]:
    """What torch.distributed reads from the environment, worked out from SLURM's variables.

    The master is the first host of the node list. `port` (dist_params.port) goes before MASTER_PORT, which goes before
    torch's default.
    """
    nodes = subprocess.run(
        ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']], capture_output=True, text=True, check=True
    ).stdout.split()
    return {
        'MASTER_ADDR': nodes[0],
        'MASTER_PORT': str(port) if port is not None else os.environ.get('MASTER_PORT', '29500'),
        'WORLD_SIZE': os.environ['SLURM_NTASKS'],
        'RANK': os.environ['SLURM_PROCID'],
        'LOCAL_RANK': os.environ.get('SLURM_LOCALID', '0'),
    }


# ---- options and data ----


def repair_dataroot_lists(options: types.ModuleType) -> Repair:
    """`basicsr.utils.options.parse_options` calls os.path.expanduser on `dataroot_gt` and `dataroot_lq`, which fails
    with a TypeError for a list of folders or a mapping from scale to folder.
    """
    name = 'dataroot lists'
    host_paths = getattr(options, 'osp', None)
    if isinstance(host_paths, types.SimpleNamespace):
        return Repair(name, True, 'already replaced')
    if host_paths is not os.path or not _mentions(options.parse_options, 'expanduser'):
        return Repair(name, False, "the host's option parser does not expand data roots with os.path")
    options.osp = types.SimpleNamespace(**{**vars(os.path), 'expanduser': _expand_users})  # type: ignore[attr-defined]
    return Repair(name, True, "the host's option parser takes one folder per data root")


def _expand_users(path: Any) -> Any:
    """os.path.expanduser for a path, every path of a list, or every value of a mapping."""
    if isinstance(path, list | tuple):
        return [_expand_users(item) for item in path]
    if isinstance(path, dict):
        return {key: _expand_users(item) for key, item in path.items()}
    return os.path.expanduser(path)


def repair_dict2str(options: types.ModuleType, *pipelines: types.ModuleType) -> Repair:
    """`basicsr.utils.options.dict2str`, which writes the options to the log, fails with a TypeError for a key that is
    not text, such as a scale of `dataroot_lq: {2: ..., 3.7: ...}`.
    """
    name = 'dict2str'
    host_function = getattr(options, name, None)
    if _is_ours(host_function):
        return Repair(name, True, 'already replaced')
    if host_function is None:
        return Repair(name, False, 'the host has no such function')
    try:
        host_function({2: 'x2'})
        return Repair(name, False, "the host's function takes keys of any type")
    except TypeError:
        pass

    def dict2str(opt: dict[Any, Any], indent_level: int = 1) -> str:
        return host_function(_with_text_keys(opt), indent_level)

    for module in (options, *pipelines):
        if getattr(module, name, None) is host_function:  # the pipelines imported it by name
            module.dict2str = dict2str  # type: ignore[attr-defined]
    return Repair(name, True, "the host's function fails for keys that are not text")


def _with_text_keys(options: Any) -> Any:
    if isinstance(options, dict):
        return {str(key): _with_text_keys(value) for key, value in options.items()}
    return options


def repair_epoch_in_indices(train: types.ModuleType) -> Repair:
    """`basicsr.train` draws from EnlargedSampler, whose bare indices tell a data set neither the epoch nor which
    repetition of the index is meant, so that random crops cannot be made from (seed, epoch, index) alone.
    """
    name = 'EnlargedSampler'
    host_sampler = getattr(train, name, None)
    if host_sampler is None:
        return Repair(name, False, 'basicsr.train does not use this sampler')
    from gsasr_plugin.data.epoch_sampler import EpochSampler

    if issubclass(host_sampler, EpochSampler):
        return Repair(name, True, 'already replaced')
    train.EnlargedSampler = EpochSampler  # type: ignore[attr-defined]
    return Repair(name, True, "the host's indices carry neither epoch nor repetition")


def repair_epoch_count(train: types.ModuleType) -> Repair:
    """`basicsr.train.create_train_val_dataloader` counts the last, incomplete batch of an epoch, which the loader
    leaves out. So a long run of short epochs ends before `train.total_iter` (the paper's, with one pass over 800 images
    per epoch, after 462,000 of 500,000 iterations), and one with fewer samples than a batch ends at once, untrained.

    A resumed run starts its epoch again, and counts epochs as if all had been as long as they are now. Its loaders draw
    seeds from the generator that the network uses, the more of them the more often the run is resumed.
    """
    name = 'create_train_val_dataloader'
    host_function = getattr(train, name, None)
    if _is_ours(host_function):
        return Repair(name, True, 'already replaced')
    if host_function is None or not _mentions(host_function, 'ceil'):
        return Repair(name, False, "the host's function does not count incomplete batches")

    def create_train_val_dataloader(opt: dict[str, Any], logger: Any) -> tuple:
        train_loader, train_sampler, val_loaders, _, total_iters = host_function(opt, logger)
        if len(train_loader) == 0:
            raise ValueError(
                f'datasets.train has {len(train_sampler)} samples per process and epoch, fewer than '
                f'batch_size_per_gpu, {opt["datasets"]["train"]["batch_size_per_gpu"]}: raise dataset_enlarge_ratio'
            )
        for loader in (train_loader, *val_loaders):
            loader.generator = torch.Generator().manual_seed(opt['manual_seed'])
        train_loader.worker_init_fn = _WorkerStart(train_loader.worker_init_fn)
        resumed = opt.get('resumed') or {'epoch': 0, 'iter': 0, 'position': 0}
        if resumed['position'] is None:
            logger.warning('The training state does not say where in its epoch it was: the epoch starts again.')
        position = resumed['position'] or 0
        if position:
            train_sampler.resume(resumed['epoch'], position)
        done = position // (train_loader.batch_size * opt['world_size'])
        total_epochs = resumed['epoch'] + math.ceil((total_iters - resumed['iter'] + done) / len(train_loader))
        return train_loader, train_sampler, val_loaders, total_epochs, total_iters

    train.create_train_val_dataloader = create_train_val_dataloader  # type: ignore[attr-defined]
    return Repair(name, True, "the host's function counts batches that its loader leaves out")


def repair_prefetching(prefetch: types.ModuleType) -> Repair:
    """With `prefetch_mode: cpu`, an error of the loader ends the thread of `PrefetchGenerator`, and the training waits
    for its next batch for ever.
    """
    name = 'PrefetchGenerator'
    generator = getattr(prefetch, name, None)
    run = getattr(generator, 'run', None)
    if _is_ours(run):
        return Repair(name, True, 'already replaced')
    if run is None or not _mentions(run, 'put'):
        return Repair(name, False, 'the host has no such class')

    def run_and_tell(self: Any) -> None:
        try:
            run(self)
        except BaseException as error:
            self.queue.put(error)

    def __next__(self: Any) -> Any:
        item = self.queue.get()
        if isinstance(item, BaseException):
            raise item
        if item is None:
            raise StopIteration
        return item

    generator.run, generator.__next__ = run_and_tell, __next__  # type: ignore[union-attr]
    return Repair(name, True, "the host's class does not hand on errors of the loader")


class _WorkerStart:
    """What a worker process does first: leave the signals to the process that it works for, then what the host says."""

    def __init__(self, then: Callable[[int], None] | None) -> None:
        self.then = then

    def __call__(self, worker: int) -> None:
        from gsasr_plugin.stop_signals import leave_process_group

        leave_process_group()
        if self.then is not None:
            self.then(worker)


def repair_test_folders(test: types.ModuleType) -> Repair:
    """`basicsr.test` accepts --auto_resume, and renames the results of the run that should go on all the same."""
    name = 'make_exp_dirs'
    host_function = getattr(test, name, None)
    if _is_ours(host_function):
        return Repair(name, True, 'already replaced')
    if host_function is None:
        return Repair(name, False, 'basicsr.test does not use this function')

    def make_exp_dirs(opt: dict[str, Any]) -> None:
        results = opt['path']['results_root']
        if not (opt.get('auto_resume') and os.path.isdir(results)):
            host_function(opt)
            return
        for key in ('log', 'visualization'):
            os.makedirs(opt['path'][key], exist_ok=True)

    test.make_exp_dirs = make_exp_dirs  # type: ignore[attr-defined]
    return Repair(name, True, "the host's function renames the results even when a test is to go on")
