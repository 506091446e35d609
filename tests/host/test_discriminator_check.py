"""The check of a GSASR's discriminator: it is there where it is needed, and takes the crops that it will get."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.archs import build_network

from gsasr_plugin.option_types import dotted
from tests.host.test_option_check import MISSING, changed, check, errors

Options = dict[str, Any]
UNET = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4}
VGG = {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 4}
SMALL_GSASR = {'type': 'GSASR', 'encoder_opt': {'type': 'EDSR', 'num_feat': 4, 'num_block': 1}}
GAN = {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1}
L1 = {'type': 'L1Loss'}


@pytest.fixture
def gan_options(gsasr_options: Options) -> Options:
    options = changed(gsasr_options, model_type='GSASRGANModel', network_d=UNET)
    options['train'] |= {'optim_d': {'type': 'Adam', 'lr': 1e-4}, 'gan_opt': GAN}
    return options


@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'train__gan_opt': MISSING, 'train__losses': {'eye': GAN}},
        {'network_d': VGG},
        {'network_d': {**VGG, 'input_size': 256}},
        {'network_d': VGG, 'train__net_d_crop': 128},
        {'train__net_d_iters': 2, 'train__net_d_init_iters': 10, 'train__net_d_crop': 8},
    ],
)
def test_sound_options_pass(project: Path, gan_options: Options, changes: dict[str, Any]) -> None:
    assert not check(changed(gan_options, **changes), project)


@pytest.mark.parametrize(
    ('changes', 'place', 'said', 'accepted'),
    [
        ({'network_d': MISSING}, 'network_d', 'missing', 'UNetDiscriminatorSN or VGGStyleDiscriminator'),
        ({'train__gan_opt': MISSING}, 'train.gan_opt', 'no term of losses is a GANLoss', 'type: GANLoss'),
        ({'train__optim_d': MISSING}, 'train.optim_d', 'missing', 'a mapping'),
        ({'train__optim_d__tipe': 1}, 'train.optim_d.tipe', 'unknown key', 'betas'),
        ({'train__losses': {'eye': GAN}}, 'train.losses.eye', 'a second adversarial loss, beside train.gan_opt', 'one'),
        ({'train__gan_opt__gan_type': 'vanila'}, 'train.gan_opt.gan_type', "given 'vanila'", 'vanilla or lsgan'),
        ({'train__net_d_iter': 2}, 'train.net_d_iter', 'unknown key', 'net_d_iters'),
        ({'train__net_d_iters': 0}, 'train.net_d_iters', 'given 0', 'at least 1'),
        ({'train__net_d_init_iters': -1}, 'train.net_d_init_iters', 'given -1', 'at least 0'),
        ({'train__net_d_crop': 20}, 'network_d', 'cannot judge crops of 20 x 20 (train.net_d_crop)', ''),
        ({'network_d__num_in_ch': 1}, 'network_d', 'cannot judge images', ''),
        ({'network_d': {**VGG, 'input_size': 100}}, 'network_d', 'input size must be 128 or 256', ''),
        ({'network_d': VGG, 'train__net_d_crop': 64}, 'train.net_d_crop', 'takes images of 128 x 128', ''),
        # A generator makes an image of an image.
        (
            {'network_d': {'type': 'MSRResNet', 'num_block': 1}},
            'network_d',
            '2 x 3 x 256 x 256 of two images, and not',
            '',
        ),
        ({'network_d': SMALL_GSASR}, 'network_d', 'GSASR cannot judge images: give either scale or size', ''),
        ({'train__net_d_crop': 1025}, 'train.net_d_crop', 'given 1025', 'at least 1, at most 1024'),
        ({'network_d__num_feet': 1}, 'network_d.num_feet', 'unknown key', 'num_feat'),
        ({'model_type': 'GSASRModel'}, 'train.gan_opt', 'needs a discriminator', 'model_type: GSASRGANModel'),
    ],
)
def test_faults(
    project: Path, gan_options: Options, changes: dict[str, Any], place: str, said: str, accepted: str
) -> None:
    problems = errors(changed(gan_options, **changes), project)
    found = [problem for problem in problems if dotted(problem.path) == place]
    assert found and said in found[0].fault and accepted in found[0].accepted, [p.message('f') for p in problems]


def test_an_adversarial_term_needs_a_model_with_a_discriminator(project: Path, gsasr_options: Options) -> None:
    (problem,) = errors(changed(gsasr_options, train__losses={'eye': GAN}), project)
    assert dotted(problem.path) == 'train.losses.eye' and problem.accepted == 'model_type: GSASRGANModel'
    assert problem.fault == 'needs a discriminator, and GSASRModel has none'


def weights(section: Options = UNET) -> dict[str, torch.Tensor]:
    return build_network(dict(section)).state_dict()


HELD: dict[str, Callable[[], Any]] = {
    'whole': lambda: {'params': weights()},
    'average': lambda: {'params_ema': weights()},
    'bare': weights,
    'wider': lambda: {'params': weights({**UNET, 'num_feat': 6})},
    'another': lambda: {'params': weights(VGG)},
}


@pytest.mark.parametrize(
    ('held', 'path', 'option', 'said'),
    [
        ('whole', {}, None, ''),
        ('average', {'param_key_d': 'params_ema'}, None, ''),
        ('bare', {'param_key_d': None}, None, ''),
        ('another', {'strict_load_d': False}, None, ''),
        ('absent', {}, 'pretrain_network_d', "there is no file 'd.pth'"),
        ('whole', {'pretrain_network_d': 'gsasr-small'}, 'pretrain_network_d', "there is no file 'gsasr-small'"),
        ('whole', {'pretrain_network_d': ['d.pth', 'd.pth']}, 'pretrain_network_d', "given ['d.pth'"),
        ('text', {}, 'pretrain_network_d', 'd.pth'),
        ('wider', {}, 'pretrain_network_d', 'd.pth [params] does not fit the network:\n  is of another size in: conv0'),
        ('another', {}, 'pretrain_network_d', 'd.pth [params] does not fit the network:\n  lacks: conv0'),
        ('average', {}, 'param_key_d', 'params, but d.pth holds its weights under params_ema'),
        ('bare', {}, 'param_key_d', 'params, but d.pth holds its weights at the top'),
        ('whole', {'param_key_e': 'params'}, 'param_key_e', 'unknown key'),
        ('whole', {'strict_load_d': 'yes'}, 'strict_load_d', "given 'yes'"),
    ],
)
def test_weights_to_start_from(
    project: Path, gan_options: Options, held: str, path: Options, option: str | None, said: str
) -> None:
    if held == 'text':
        Path('d.pth').write_text('weights')
    elif held != 'absent':
        torch.save(HELD[held](), 'd.pth')
    gan_options['path'] |= {'pretrain_network_d': 'd.pth', **path}
    if option is None:
        assert not check(gan_options, project)
        return
    (problem,) = errors(gan_options, project)
    assert problem.path == ('path', option) and said in problem.fault, problem.message('f')
