"""The losses of `train`: their sections and, of a sound file, whether they can be built, weights and all."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.registry import LOSS_REGISTRY

from gsasr_plugin.host.option_check.problems import KeyPath
from gsasr_plugin.host.option_check.registered import registered
from gsasr_plugin.host.option_check.report import Report
from gsasr_plugin.host.option_check.type_check import check_loss
from gsasr_plugin.metrics.weights import WeightsNotFoundError
from gsasr_plugin.models.criterion import LOSSES, OF_DISCRIMINATOR, terms_of
from gsasr_plugin.option_types import dotted


def check_losses(report: Report, train: dict[str, Any], *, has_terms: bool) -> None:
    """Check the sections of `train` that are losses.

    Args:
        has_terms: Whether the model reads `losses`.
    """
    for path, section in _sections(train, has_terms=has_terms):
        check_loss(report, section, path)
    terms = terms_of(train) if has_terms and isinstance(train.get(LOSSES), dict) else []
    taken = {name: dotted(term.path) for term in terms if term.path[0] != LOSSES for name in term.names}
    taken |= dict.fromkeys(OF_DISCRIMINATOR, "the discriminator's own loss")
    for term in terms:
        name = term.names[0]
        if term.path[0] == LOSSES and name in taken:
            report.error(('train', *term.path), f'would be {name} in the log, as is {taken[name]}', 'another name')


def check_losses_build(report: Report, train: dict[str, Any], *, has_terms: bool) -> None:
    """Build each loss of a sound file once, as the training will: arguments may not go together, weights be missing.

    BasicSR would find out later, when it has renamed the folders of an earlier run. May fetch weights of torchvision's.
    """
    for path, section in _sections(train, has_terms=has_terms):
        arguments = {key: value for key, value in section.items() if key != 'type'}
        fault = _building_fault(registered(LOSS_REGISTRY, section['type']), arguments)
        if fault is not None:
            report.error(path, fault)


def _sections(train: dict[str, Any], *, has_terms: bool) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """The losses that are sections at all, each with its place."""
    paths: dict[KeyPath, Any] = {('train', str(key)): train[key] for key in train if str(key).endswith('_opt')}
    named = train.get(LOSSES) if has_terms else None
    if isinstance(named, dict):
        paths |= {('train', LOSSES, str(key)): section for key, section in named.items()}
    for path, section in paths.items():
        if isinstance(section, dict):
            yield path, section


def _building_fault(cls: type, arguments: dict[str, Any]) -> str | None:
    """What the constructor of a loss says against its arguments, if anything."""
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter('ignore')  # they are not about options
            cls(**arguments)
        return None
    except WeightsNotFoundError as error:
        return str(error)
    except OSError as error:
        of_vgg = cls.__name__ == 'PerceptualLoss'
        return _where_to_put(arguments.get('vgg_type', 'vgg19'), error) if of_vgg else str(error)
    except Exception as error:  # a library may refuse its arguments in any way
        return f'{cls.__name__} cannot be built: {str(error) or type(error).__name__}'


def _where_to_put(vgg_type: str, error: OSError) -> str:
    """Which file BasicSR's PerceptualLoss needs."""
    from torchvision.models import get_model_weights

    url = get_model_weights(vgg_type)['IMAGENET1K_V1'].url
    file = Path(torch.hub.get_dir(), 'checkpoints', url.rsplit('/', 1)[1])
    return (
        f"the weights of torchvision's {vgg_type} are not there and cannot be fetched ({error}): put {url} there as "
        f'{file}; or take LPIPSLoss in place of PerceptualLoss, whose weights come in a package'
    )
