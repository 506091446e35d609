"""What BasicSR's training loop, `basicsr.train.train_pipeline`, is made to do otherwise.

The loop stays BasicSR's. `TRAIN_LOOP` lists the names that it looks up in its module and finds replaced, in the order
in which it does; the functions below say what each does now.
"""

import functools
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gsasr_plugin.data.epoch_sampler import EpochSampler
from gsasr_plugin.host.repair import Repair
from gsasr_plugin.run_errors import RunError, ends_run
from gsasr_plugin.stop_signals import leave_process_group

# What the loop has made so far: its loaders of validation and tensorboard's logger.
_run: dict[str, Any] = {}


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """The training state to resume from, or None: the newest of the run with --auto_resume, else `path.resume_state`.

    Loaded to the CPU (optimizers move their state to the device of the parameters) and without running code. What the
    data loader needs of it goes to `opt['resumed']`.

    Raises:
        RunError: the state or its networks are missing or cannot be read (the message names them), or the options do
            not go with it.
    """
    from basicsr.utils import check_resume

    from gsasr_plugin.checkpoints.resumed_options import check_resumable
    from gsasr_plugin.checkpoints.training_pairs import newest_pair, read_pair

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
    opt['resumed'] = check_resumable(opt, resume_state, Path(path['resume_state']))
    check_resume(opt, resume_state['iter'])
    return resume_state


def _init_tb_loggers(original: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    def init_tb_loggers(opt: dict[str, Any]) -> Any:
        _run['tb_logger'] = original(opt)
        return _run['tb_logger']

    return init_tb_loggers


def _create_train_val_dataloader(original: Callable[..., tuple]) -> Callable[..., tuple]:
    """The loaders, and as many epochs as `train.total_iter` takes.

    BasicSR counts the last, incomplete batch of an epoch, which the loader leaves out: a long run of short epochs ends
    before its last iteration (the paper's, with one pass over 800 images per epoch, after 462,000 of 500,000), and one
    with fewer samples than a batch ends at once, untrained. A resumed run starts its epoch again, and counts epochs as
    if all had been as long as they are now. And the loaders draw seeds from the generator that the network uses, the
    more of them the more often the run is resumed.
    """

    def create_train_val_dataloader(opt: dict[str, Any], logger: Any) -> tuple:
        train_loader, train_sampler, val_loaders, _, total_iters = original(opt, logger)
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
        train_loader.worker_init_fn = functools.partial(_start_worker, train_loader.worker_init_fn)
        if resumed['position'] is None:
            logger.warning('The training state does not say where in its epoch it was: the epoch starts again.')
        position = resumed['position'] or 0
        if position:
            train_sampler.resume(resumed['epoch'], position)
        done = position // (train_loader.batch_size * opt['world_size'])
        total_epochs = resumed['epoch'] + math.ceil((total_iters - resumed['iter'] + done) / len(train_loader))
        _run['val_loaders'] = val_loaders
        return train_loader, train_sampler, val_loaders, total_epochs, total_iters

    return create_train_val_dataloader


def _start_worker(then: Callable[[int], None] | None, worker: int) -> None:
    """What a worker process does first: leave the signals to the process that it works for, then what BasicSR says."""
    leave_process_group()
    if then is not None:
        then(worker)


def _build_model(original: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """A model that outlives its validations, and begins a run with the one that it owes.

    A run that starts from weights owes that of these weights, with which all that follow compare.

    BasicSR saves an iteration before it validates it: a run that is killed in between resumes after that iteration and
    never validates it; one that is killed later has forgotten what it found. So a resumed run begins with the
    validation due at its iteration, unless its training state says that it was `validated` before. What a validation
    raises is logged: else it would end the training, and each attempt to resume it.
    """

    def build_model(opt: dict[str, Any]) -> Any:
        model = original(opt)
        resume, validate = model.resume_training, model.validation

        def validation(loader: Any, iteration: int, tb_logger: Any, save_img: bool = False) -> None:
            modes = [(net, net.training) for net in vars(model).values() if isinstance(net, nn.Module)]
            try:
                validate(loader, iteration, tb_logger, save_img)
            except Exception as error:  # of a metric or an image, of whatever model
                if _has_to_end(model, error):
                    raise
                for net, training in modes:
                    net.train(training)
                logging.getLogger('basicsr').exception(
                    f'{loader.dataset.opt["name"]}: the validation of iteration {iteration} failed, and training goes '
                    f'on without it: {type(error).__name__}: {error}'
                )

        val_opt = opt.get('val') or {}

        def validate_all(iteration: int) -> None:
            for loader in _run['val_loaders']:
                validation(loader, iteration, _run['tb_logger'], val_opt['save_img'])

        def resume_training(state: dict[str, Any]) -> None:
            resume(state)
            if val_opt and state['iter'] % val_opt['val_freq'] == 0 and not state.get('validated'):
                validate_all(state['iter'])

        model.validation, model.resume_training = validation, resume_training
        path = opt['path']
        if val_opt and path.get('pretrain_network_g') is not None and path.get('resume_state') is None:
            validate_all(0)
        return model

    return build_model


def _has_to_end(model: Any, error: Exception) -> bool:
    """Whether what a validation raises is meant to end the run, or would leave other processes waiting."""
    from basicsr.models.sr_model import SRModel

    # BasicSR's validates in the first process only.
    return ends_run(error) or (model.opt['dist'] and type(model).dist_validation is not SRModel.dist_validation)


TRAIN_LOOP = (
    Repair(
        'basicsr.train.load_resume_state',
        'needs a GPU, and looks for the states of a run below the current folder wherever the run is kept',
        lambda _: load_resume_state,
    ),
    Repair(
        'basicsr.train.init_tb_loggers',
        'is watched, for the validation that a resumed run owes',
        _init_tb_loggers,
    ),
    Repair(
        'basicsr.train.EnlargedSampler',
        'gives indices that carry neither epoch nor repetition, which crops are to depend on',
        lambda _: EpochSampler,
    ),
    Repair(
        'basicsr.train.create_train_val_dataloader',
        'counts batches that the loader leaves out, starts the epoch of a resumed run again, and draws seeds from the '
        "network's generator",
        _create_train_val_dataloader,
    ),
    Repair(
        'basicsr.train.build_model',
        'saves before it validates, never makes up for a validation that was cut off, says nothing of the weights that '
        'it starts from, and ends with a validation that fails',
        _build_model,
    ),
)
