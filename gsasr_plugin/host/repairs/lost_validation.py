"""The validation that a killed run still owes."""

import types
from typing import Any

from gsasr_plugin.host.repairs.repair import Repair, is_ours


def repair_lost_validation(train: types.ModuleType) -> Repair:
    """`basicsr.train` saves an iteration before it validates it: a run that is killed in between resumes after that
    iteration and never validates it; one that is killed later has forgotten what it found.

    Here a resumed run begins with the validation due at its iteration, unless its training state says that it was
    `validated` before.
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
