"""What the training loop draws in an epoch, how many epochs it takes, and where a resumed one goes on."""

import math
import types
from collections.abc import Callable
from typing import Any

import torch

from gsasr_plugin.host.repairs.repair import Repair, is_ours, mentions


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
    if is_ours(host_function):
        return Repair(name, True, 'already replaced')
    if host_function is None or not mentions(host_function, 'ceil'):
        return Repair(name, False, "the host's function does not count incomplete batches")

    from gsasr_plugin.run_errors import RunError

    def create_train_val_dataloader(opt: dict[str, Any], logger: Any) -> tuple:
        train_loader, train_sampler, val_loaders, _, total_iters = host_function(opt, logger)
        if len(train_loader) == 0:
            raise RunError(
                f'datasets.train has {len(train_sampler)} samples per process and epoch, fewer than '
                f'batch_size_per_gpu, {opt["datasets"]["train"]["batch_size_per_gpu"]}: raise dataset_enlarge_ratio'
            )
        resumed = opt.get('resumed') or {'epoch': 0, 'iter': 0, 'position': 0, 'manual_seed': None}
        # A resumed run goes on with the images and crops of its first start.
        train_sampler.seed = opt['manual_seed'] if resumed['manual_seed'] is None else resumed['manual_seed']
        for loader in (train_loader, *val_loaders):
            loader.generator = torch.Generator().manual_seed(train_sampler.seed)
        train_loader.worker_init_fn = _WorkerStart(train_loader.worker_init_fn)
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


class _WorkerStart:
    """What a worker process does first: leave the signals to the process that it works for, then what the host says."""

    def __init__(self, then: Callable[[int], None] | None) -> None:
        self.then = then

    def __call__(self, worker: int) -> None:
        from gsasr_plugin.stop_signals import leave_process_group

        leave_process_group()
        if self.then is not None:
            self.then(worker)
