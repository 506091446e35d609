"""Sections whose `type:` names a class or a function: networks, losses, metrics, optimizers, schedulers."""

import dataclasses
import inspect
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, Registry
from torch import nn

from gsasr_plugin.archs.encoders import encoder_options, encoder_types, split_encoder_opt, unused
from gsasr_plugin.archs.encoders.basicsr_sections import FOREIGN
from gsasr_plugin.host.option_check.host_sections import SCHEDULERS
from gsasr_plugin.host.option_check.problems import KeyPath, leaves
from gsasr_plugin.host.option_check.registered import registered, registered_names
from gsasr_plugin.host.option_check.report import Report
from gsasr_plugin.models.model_contract import ModelContract, NetworkContract, stated
from gsasr_plugin.models.validation.metric_values import needs_gt
from gsasr_plugin.option_types import (
    REQUIRED,
    Accepted,
    NonNegativeInt,
    NonNegativeNumber,
    Option,
    accepted_by_call,
    accepted_by_dataclass,
    closest,
    listed,
    shown,
)

# The adversarial losses that BasicSR's GANLoss knows.
GANType = Literal['vanilla', 'lsgan', 'wgan', 'wgan_softplus', 'hinge']
# What BasicSR passes to a metric itself.
_METRIC_IMAGES = ('img', 'img2')
# Metrics of BasicSR, which do not say so themselves as the plugin's do.
_LESS_IS_BETTER = ('calculate_niqe', 'calculate_fid')


def check_network(report: Report, section: dict[str, Any], path: KeyPath) -> type | None:
    """Check a `network_*` section against the constructor of its class, and `encoder_opt` against the encoder's.

    Of `encoder_opt` what the encoder reads stays: a network section of BasicSR's is taken as it is.

    Returns:
        The class, if there is one.
    """
    cls = registered_type(report, section, path, ARCH_REGISTRY, 'networks')
    if cls is None:
        return None
    before = len(report.problems)
    accepted = accepted_by_call(cls)
    check_arguments(report, section, path, accepted)
    encoder_path = (*path, 'encoder_opt')
    if 'encoder_opt' in accepted.options and isinstance(section.get('encoder_opt'), dict):
        encoder_opt = section['encoder_opt']
        names = [*encoder_types(), *ARCH_REGISTRY.keys()]
        name = type_name(
            report, encoder_opt, encoder_path, names, listed(encoder_types()) + ', or a registered network'
        )
        if name is not None:
            section['encoder_opt'], foreign = split_encoder_opt(encoder_opt)
            check_arguments(report, section['encoder_opt'], encoder_path, encoder_options(name))
            check_arguments(report, foreign, encoder_path, FOREIGN)
            for key in unused(foreign):
                report.warn((*encoder_path, key), 'not used: GSASR draws at any scale, without an up-sampler')
    largest = stated(cls, NetworkContract, 'largest_size')
    if largest is None:
        return cls
    for place, value in leaves(section, path):
        if isinstance(value, int) and value > largest:
            report.wrong(place, value, f'at most {largest}')
    if len(report.problems) == before:
        _check_builds(report, section, path, cls)
    return cls


def _check_builds(report: Report, section: dict[str, Any], path: KeyPath, cls: type) -> None:
    """Sizes out of range and options that do not go together are known to the network itself.

    It would say so later as well, but BasicSR has renamed the folders of an earlier run by then.
    """
    arguments = {key: value for key, value in section.items() if key != 'type'}
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        # They are not about options.
        warnings.simplefilter('ignore')
        fault = _building_fault(cls, arguments)
    if fault is not None:
        report.error(path, f'{section["type"]} cannot be built: {str(fault) or type(fault).__name__}')


def _building_fault(cls: type, arguments: dict[str, Any]) -> Exception | None:
    """What the constructor says against its arguments, if anything."""
    try:
        built_network(cls, arguments)
    except Exception as error:  # a library may refuse a size in any way
        return error
    return None


def built_network(cls: type, arguments: dict[str, Any]) -> nn.Module:
    """A network of a class, to be looked at: without memory and initialization, where it allows that."""
    try:
        with torch.device('meta'):
            return cls(**arguments)
    except Exception:  # whatever it is, it may be due to the meta device
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter('ignore')
            return cls(**arguments)


def check_loss(report: Report, section: dict[str, Any], path: KeyPath) -> None:
    """Check a loss of `train` against the constructor of its class."""
    cls = registered_type(report, section, path, LOSS_REGISTRY, 'losses')
    if cls is not None:
        check_arguments(report, section, path, loss_options(cls))


def loss_options(cls: type) -> Accepted:
    """What the section of a loss accepts beside its type."""
    accepted = accepted_by_call(cls)
    # A reduction is to one number, as training needs it: BasicSR's `none` is none.
    known: dict[str, Any] = {'reduction': Literal['mean', 'sum'], 'gan_type': GANType}
    known |= {name: NonNegativeNumber for name in accepted.options if name.endswith('_weight')}  # else it is sought
    for name in known.keys() & accepted.options.keys():
        option = dataclasses.replace(accepted.options[name], annotation=known[name])
        accepted = accepted.with_options(**{name: option})
    return accepted


def check_metric(report: Report, section: dict[str, Any], path: KeyPath, *, crop_border_auto: bool) -> bool:
    """Check one metric of `val.metrics`.

    Args:
        crop_border_auto: Whether the model works out `crop_border: auto`.

    Returns:
        Whether the metric compares with ground truth.
    """
    function = registered_type(report, section, path, METRIC_REGISTRY, 'metrics')
    if function is None:
        return False
    accepted = metric_options(function, crop_border_auto=crop_border_auto)
    # BasicSR's metrics swallow unknown keys, so that a misspelt one would change the figure without a word.
    arguments = {key: value for key, value in section.items() if key != 'type'}
    report.check(arguments, path, Accepted(accepted.options), strict=not accepted.open_ended)
    return needs_gt(function)


def metric_options(function: Callable[..., Any], *, crop_border_auto: bool) -> Accepted:
    """What a section of `val.metrics` accepts beside its type."""
    accepted = accepted_by_call(function, leave_out=_METRIC_IMAGES)
    border = accepted.options.get('crop_border')
    if border is not None:
        annotation: Any = NonNegativeInt | Literal['auto'] if crop_border_auto else NonNegativeInt
        accepted = accepted.with_options(crop_border=dataclasses.replace(border, annotation=annotation))
    default = 'lower' if function.__name__ in _LESS_IS_BETTER else 'higher'
    own = accepted.options.get('better', Option(Literal['higher', 'lower'], default))
    return accepted.with_options(better=dataclasses.replace(own, sentence='which of two values is the better one'))


def check_optimizer(report: Report, section: dict[str, Any], path: KeyPath, model: type | None) -> None:
    """Check a `train.optim_*` section against the class of torch.optim that it names."""
    known = _optimizers(model)
    name = type_name(report, section, path, known, listed(known))
    if name is None:
        return
    cls = getattr(torch.optim, name)
    accepted = accepted_by_call(cls, leave_out=['params'])
    # BasicSR's get_optimizer takes lr as an argument of its own.
    accepted = accepted.with_options(lr=Option(float, REQUIRED, 'the learning rate'))
    if check_arguments(report, section, path, accepted):
        try:  # torch knows the ranges
            cls([torch.zeros(1)], **{key: value for key, value in section.items() if key != 'type'})
        except (TypeError, ValueError, RuntimeError) as error:
            report.error(path, f'{name} refuses this: {error}')


def check_scheduler(report: Report, section: dict[str, Any], path: KeyPath, total_iter: Any) -> None:
    """Check `train.scheduler`; `total_iter` is the option of that name, as given."""
    name = type_name(report, section, path, list(SCHEDULERS), listed(SCHEDULERS))
    if name is None:
        return
    if not check_arguments(report, section, path, accepted_by_dataclass(SCHEDULERS[name])):
        return
    weighted = 'periods' if 'periods' in section else 'restarts'
    count, weights = len(section.get(weighted, [0])), len(section.get('restart_weights', [1]))
    if count != weights:
        report.error((*path, 'restart_weights'), f'{weights} weights for {count} {weighted}', 'as many weights')
    if weighted == 'periods' and isinstance(total_iter, int | float) and sum(section['periods']) < total_iter - 1:
        fault = f'given {shown(section["periods"])}, which end before iteration {total_iter} (train.total_iter)'
        report.error((*path, 'periods'), fault, 'periods that sum to at least train.total_iter')


def check_arguments(report: Report, section: dict[str, Any], path: KeyPath, accepted: Accepted) -> bool:
    """Check the keys beside `type` against what a constructor takes: anything else would be a TypeError there.

    Returns:
        Whether they are sound.
    """
    return report.check({key: value for key, value in section.items() if key != 'type'}, path, accepted)


def registered_type(
    report: Report, section: dict[str, Any], path: KeyPath, registry: Registry, what: str, key: str = 'type'
) -> Any:
    """The class that `key` names in a registry of BasicSR's; None, with an error, where there is none."""
    names = registered_names(registry)
    known = [*names, *registry.keys()]
    name = type_name(report, section, path, known, f'{what} that are registered: {listed(names)}', key)
    return None if name is None else registered(registry, name)


def type_name(
    report: Report, section: dict[str, Any], path: KeyPath, known: Iterable[str], accepted: str, key: str = 'type'
) -> str | None:
    """The value of `key` where it is one of `known`; else None, with an error."""
    known = list(known)
    if key not in section:
        report.error((*path, key), 'missing', accepted)
        return None
    name = section[key]
    if not isinstance(name, str) or name not in known:
        report.error((*path, key), f'given {shown(name)}', accepted, closest(name, known))
        return None
    return name


def _optimizers(model: type | None) -> Sequence[str]:
    """Names of torch.optim that the model takes: it says so, or its `get_optimizer` names them, or it asks torch."""
    names = stated(model, ModelContract, 'optimizer_types')
    if names is not None:
        return names
    every = [
        name
        for name, cls in vars(torch.optim).items()
        if inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer) and cls is not torch.optim.Optimizer
    ]
    code = getattr(getattr(model, 'get_optimizer', None), '__code__', None)
    if code is None:
        return every
    named = [constant for constant in code.co_consts if isinstance(constant, str) and constant in every]
    return named or every
