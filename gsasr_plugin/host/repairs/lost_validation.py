"""Validations that a run loses: the one that a killed run still owes, and those that raise."""

import logging
import types
from collections.abc import Callable
from typing import Any

import torch

from gsasr_plugin.host.repairs.repair import Repair, is_ours
from gsasr_plugin.run_errors import ends_run


def repair_lost_validation(train: types.ModuleType) -> Repair:
    """`basicsr.train` saves an iteration before it validates it: a run that is killed in between resumes after that
    iteration and never validates it; one that is killed later has forgotten what it found.

    Here a resumed run begins with the validation due at its iteration, unless its training state says that it was
    `validated` before. A validation that raises, which would end the run and then again each attempt to resume it, is
    logged, and the training goes on.
    """
    name = 'build_model'
    host_build, host_loaders, host_logger = (
        getattr(train, function, None) for function in (name, 'create_train_val_dataloader', 'init_tb_loggers')
    )
    if is_ours(host_build):
        return Repair(name, True, 'already replaced')
    if host_build is None or host_loaders is None or host_logger is None:
        return Repair(name, False, 'basicsr.train is put together in another way')
    made: dict[str, Any] = {}  # of the run, before its model

    def init_tb_loggers(opt: dict[str, Any]) -> Any:
        made['tb_logger'] = host_logger(opt)
        return made['tb_logger']

    def create_train_val_dataloader(opt: dict[str, Any], logger: Any) -> tuple:
        result = host_loaders(opt, logger)
        made['val_loaders'] = result[2]
        return result

    def build_model(opt: dict[str, Any]) -> Any:
        model = host_build(opt)
        model.validation = _logging_failures(model)
        resume = model.resume_training

        def resume_training(state: dict[str, Any]) -> None:
            resume(state)
            val_opt = opt.get('val')
            if val_opt and state['iter'] % val_opt['val_freq'] == 0 and not state.get('validated'):
                for loader in made['val_loaders']:
                    model.validation(loader, state['iter'], made['tb_logger'], val_opt['save_img'])

        model.resume_training = resume_training
        return model

    train.init_tb_loggers = init_tb_loggers  # type: ignore[attr-defined]
    train.create_train_val_dataloader = create_train_val_dataloader  # type: ignore[attr-defined]
    train.build_model = build_model  # type: ignore[attr-defined]
    return Repair(
        name, True, 'the host saves before it validates, and never makes up for a validation that was cut off'
    )


def _logging_failures(model: Any) -> Callable[..., None]:
    """The model's `validation`, which logs what it raises, but for a RunError: then the run cannot go on."""
    validation = model.validation

    def validate(dataloader: Any, current_iter: int, tb_logger: Any, save_img: bool = False) -> None:
        training = [(net, net.training) for net in vars(model).values() if isinstance(net, torch.nn.Module)]
        try:
            validation(dataloader, current_iter, tb_logger, save_img)
        except Exception as error:  # a metric or an image, of whatever model
            if ends_run(error):
                raise
            for net, was_training in training:
                net.train(was_training)
            logging.getLogger('basicsr').exception(
                f'{dataloader.dataset.opt["name"]}: the validation of iteration {current_iter} failed, and training '
                f'goes on without it: {type(error).__name__}: {error}'
            )

    return validate
