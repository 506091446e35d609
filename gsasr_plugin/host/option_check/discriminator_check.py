"""The discriminator of a GSASR: whether there is one where it is needed, and whether it takes its crops."""

from typing import Any

import torch
from basicsr.losses.gan_loss import GANLoss
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY
from torch import Tensor, nn

from gsasr_plugin.host.option_check.registered import registered
from gsasr_plugin.host.option_check.report import Report
from gsasr_plugin.host.option_check.training_check import reads_terms
from gsasr_plugin.models.adversarial import crop_side
from gsasr_plugin.models.criterion import terms_of
from gsasr_plugin.models.model_contract import ModelContract, stated
from gsasr_plugin.option_types import dotted

_KNOWN = 'a section with type: UNetDiscriminatorSN or VGGStyleDiscriminator, and num_in_ch: 3'


def check_discriminator(report: Report, root: dict[str, Any], model: type | None) -> None:
    """Note an adversarial loss without a discriminator, and the reverse, of a model that reads `train.losses`."""
    if model is None or not reads_terms(model):
        return
    terms = [term for term in terms_of(root['train']) if isinstance(term.section, dict)]
    classes = {('train', *term.path): registered(LOSS_REGISTRY, term.section.get('type')) for term in terms}
    adversarial = [path for path, cls in classes.items() if isinstance(cls, type) and issubclass(cls, GANLoss)]
    if not stated(model, ModelContract, 'has_discriminator'):
        for path in adversarial:
            report.error(path, f'needs a discriminator, and {model.__name__} has none', 'model_type: GSASRGANModel')
        return
    if not adversarial:
        report.error(
            ('train', 'gan_opt'), 'missing, and no term of losses is a GANLoss', 'a section with type: GANLoss'
        )
    for path in adversarial[1:]:
        report.error(path, f'a second adversarial loss, beside {dotted(adversarial[0])}', 'one')
    if 'network_d' not in root:
        report.error(('network_d',), 'missing: the discriminator', _KNOWN)


def check_crops(report: Report, root: dict[str, Any]) -> None:
    """Build the discriminator of a sound file, and show it crops as the training will."""
    section, side = root['network_d'], root['train'].get('net_d_crop')
    cls, arguments = registered(ARCH_REGISTRY, section['type']), {k: v for k, v in section.items() if k != 'type'}
    try:
        try:
            with torch.device('meta'):  # without memory, where the network allows that
                _judge(cls(**arguments), side)
        except (NotImplementedError, RuntimeError):
            with torch.random.fork_rng(devices=[]):
                _judge(cls(**arguments), side)
    except _OtherSizeError as error:
        report.error(('train', 'net_d_crop'), str(error))
    except Exception as error:  # a network may refuse a size in any way
        crops = 'images' if side is None else f'crops of {side} x {side} (train.net_d_crop)'
        report.error(('network_d',), f'{section["type"]} cannot judge {crops}: {str(error) or type(error).__name__}')


class _OtherSizeError(Exception):
    """The option asks for other crops than the network takes."""


def _judge(net: nn.Module, given: int | None) -> None:
    try:
        side = crop_side(net, given)
    except ValueError as error:
        raise _OtherSizeError(str(error)) from error
    with torch.no_grad():
        said = net(torch.zeros(2, 3, side, side))
    if not isinstance(said, Tensor):
        raise TypeError(f'it gives a {type(said).__name__}, not a tensor of verdicts')
    if said.shape[:1] != (2,) or said.shape[1:2] not in ((), (1,)):
        raise TypeError(f'it makes {_form(said)} of two images, and not one verdict, or map of verdicts, of each')


def _form(tensor: Tensor) -> str:
    return ' x '.join(map(str, tensor.shape)) or 'a number'
