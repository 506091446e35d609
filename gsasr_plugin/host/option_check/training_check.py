"""The sections `train`, `val` and `logger`: what BasicSR reads of them, and what the model adds."""

from typing import Any

from basicsr.models.sr_model import SRModel

from gsasr_plugin.host.option_check import host_sections
from gsasr_plugin.host.option_check.dataset_check import has_ground_truth
from gsasr_plugin.host.option_check.loss_check import check_losses
from gsasr_plugin.host.option_check.registered import texts_in_code
from gsasr_plugin.host.option_check.report import Report
from gsasr_plugin.host.option_check.type_check import check_metric, check_optimizer, check_scheduler
from gsasr_plugin.models.criterion import LOSSES
from gsasr_plugin.models.model_contract import ModelContract, stated
from gsasr_plugin.option_types import Accepted, accepted_by_dataclass, listed


def check_train(report: Report, train: dict[str, Any], model: type | None) -> None:
    """Check `train`; `model` is the class that `model_type` names, if any."""
    _check_section(report, train, 'train', model)
    has_terms = reads_terms(model)
    losses = ('pixel_opt', 'perceptual_opt', *((LOSSES,) if has_terms else ()))
    if model is not None and issubclass(model, SRModel) and not any(train.get(key) for key in losses):
        fault = f'missing, and no {" and no ".join(losses[1:])} either'
        report.error(('train', 'pixel_opt'), fault, 'a loss, such as {type: L1Loss}')
    for key, value in train.items():
        path = ('train', str(key))
        if not isinstance(value, dict):
            continue
        if str(key).startswith('optim_'):
            check_optimizer(report, value, path, model)
        elif key == 'scheduler':
            check_scheduler(report, value, path, train.get('total_iter'))
    check_losses(report, train, has_terms=has_terms)


def check_val(
    report: Report, val: dict[str, Any], datasets: dict[str, Any], model: type | None, *, is_train: bool
) -> None:
    """Check `val`, with the data sets that it applies to."""
    _check_section(report, val, 'val', model, is_train=is_train)
    metrics = val.get('metrics')
    keep_best = val.get('keep_best')
    if is_train and isinstance(keep_best, str) and keep_best not in (metrics or {}):
        report.error(('val', 'keep_best'), f'given {keep_best!r}, which is not in val.metrics', listed(metrics or {}))
    if not isinstance(metrics, dict):
        return
    computes_auto = stated(model, ModelContract, 'crop_border_auto')
    compare = []
    for name in metrics:
        path = ('val', 'metrics', str(name))
        section = report.section(metrics, path)
        if section is not None and check_metric(report, section, path, crop_border_auto=computes_auto):
            compare.append(str(name))
    for key, section in datasets.items():
        if key == 'train' or has_ground_truth(section) or not compare:
            continue
        fault = f'compares with ground truth, and datasets.{key} has no dataroot_gt'
        for name in compare:
            if computes_auto:
                report.warn(('val', 'metrics', name), fault + ': not computed there')
            else:
                report.error(('val', 'metrics', name), fault)


def check_graph(report: Report, sections: dict[str, Any], *, is_train: bool) -> None:
    """Warn where `val.cuda_graph` has no effect, because what is evaluated is compiled."""
    train = sections.get('train') or {}
    # Without an average of the weights, the network in training is validated as it is.
    compiled = 'train' if is_train and train.get('ema_decay', 0) == 0 else 'val'
    if sections['val'].get('cuda_graph') and (sections.get(compiled) or {}).get('compile'):
        report.warn(('val', 'cuda_graph'), f'not used while {compiled}.compile is true', 'one of the two')


def check_logger(report: Report, logger: dict[str, Any], model: type | None) -> None:
    """Check `logger`; `model` is the class that `model_type` names, if any."""
    _check_section(report, logger, 'logger', model)
    wandb = logger.get('wandb')
    if isinstance(wandb, dict):
        report.check(wandb, ('logger', 'wandb'), accepted_by_dataclass(host_sections.WandbOptions), strict=False)
        if wandb.get('project') is not None and logger.get('use_tb_logger') is not True:
            report.error(('logger', 'use_tb_logger'), 'not true, while logger.wandb.project is given', 'true')


def reads_terms(model: type | None) -> bool:
    """Whether a model reads `train.losses`."""
    return LOSSES in shared_options('train', model).options


def shared_options(name: str, model: type | None, *, is_train: bool = True) -> Accepted:
    """What BasicSR reads in `train`, `val` or `logger`, and what the model adds."""
    val = host_sections.TrainingValOptions if is_train else host_sections.TestingValOptions
    basicsr = {'train': host_sections.TrainOptions, 'val': val, 'logger': host_sections.LoggerOptions}[name]
    own_class = stated(model, ModelContract, f'{name}_options_class')
    accepted = accepted_by_dataclass(basicsr)
    return accepted if own_class is None else accepted.with_options(**accepted_by_dataclass(own_class).options)


def _check_section(
    report: Report, section: dict[str, Any], name: str, model: type | None, *, is_train: bool = True
) -> None:
    """Check a section that BasicSR and the model share; a misspelt key of the model is an error."""
    own_class = stated(model, ModelContract, f'{name}_options_class')
    own = () if own_class is None else accepted_by_dataclass(own_class).options
    accepted = shared_options(name, model, is_train=is_train)
    read = texts_in_code(model)
    if report.check(section, (name,), accepted, strict=False, owned=own, silently=read) and own_class is not None:
        report.check_together((name,), own_class, {key: value for key, value in section.items() if key in own})
