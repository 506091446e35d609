"""GSASRGANModel: its steps are those of BasicSR's SRGANModel, whatever the batch is made of."""

from __future__ import annotations

import copy
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.models import build_model
from basicsr.models.srgan_model import SRGANModel
from torch import Tensor, nn

from gsasr_plugin.checkpoints.training_pairs import read_pair
from gsasr_plugin.models.adversarial import crop_corners, crops
from gsasr_plugin.run_errors import RunError
from tests.models.test_gsasr_model import batch, options
from tests.models.test_training_steps import drawn_batch, step

UNET = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4}
VGG = {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 2}
SGD = {'type': 'SGD', 'lr': 0.1}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_model(folder: Path, network_d: dict[str, Any] = UNET, path: dict[str, Any] | None = None, **train: Any) -> Any:
    gan = {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1}
    adam = {'type': 'Adam', 'lr': 1e-3}
    opt = options(folder, **{'optim_d': adam, 'gan_opt': gan, 'net_d_crop': None, **train})
    opt['path'] |= path or {}
    torch.manual_seed(0)
    return build_model(copy.deepcopy({**opt, 'model_type': 'GSASRGANModel', 'network_d': network_d}))


def states(model: Any) -> list[Tensor]:
    """All that a step may change."""
    nets = [net.state_dict().values() for net in (model.net_g, model.net_g_ema, model.net_d)]
    moments = [state.values() for optimizer in model.optimizers for state in optimizer.state_dict()['state'].values()]
    return [tensor.clone() for tensors in (*nets, *moments) for tensor in tensors if isinstance(tensor, Tensor)]


class OfOneSize(nn.Module):
    """A GSASR as BasicSR's models call a network."""

    def __init__(self, net: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.net, self.size = net, size

    def forward(self, lq: Tensor) -> Tensor:
        return torch.stack(list(self.net(lq, size=[self.size] * len(lq))))


@pytest.mark.parametrize(('network_d', 'side'), [(UNET, 16), (VGG, 128)])
def test_its_steps_are_those_of_basicsrs_model(tmp_path: Path, network_d: dict[str, Any], side: int) -> None:
    """Of a batch of one size, which the discriminator sees whole; GSASR is trained in the third and the fourth only."""
    train = {'optim_g': SGD, 'optim_d': SGD, 'net_d_iters': 1, 'net_d_init_iters': 2, 'ema_decay': 0.9}
    crop = None if network_d is VGG else side
    model = make_model(tmp_path, network_d, net_d_crop=crop, **train)
    model.gan_loss.loss_weight = 1.0
    net_g, net_d = copy.deepcopy(model.net_g), copy.deepcopy(model.net_d)
    theirs: Any = types.SimpleNamespace(
        net_g=OfOneSize(net_g, (side, side)),
        net_d=net_d,
        net_d_iters=1,
        net_d_init_iters=2,
        cri_pix=build_loss({'type': 'L1Loss'}),
        cri_perceptual=None,
        cri_gan=build_loss({'type': 'GANLoss', 'gan_type': 'vanilla'}),
        optimizer_g=torch.optim.SGD(net_g.parameters(), lr=0.1),
        optimizer_d=torch.optim.SGD(net_d.parameters(), lr=0.1),
        reduce_loss_dict=lambda losses: {name: value.item() for name, value in losses.items()},
        ema_decay=0,
    )
    generator = torch.Generator().manual_seed(5)
    for iteration in range(1, 5):
        theirs.lq = torch.rand(2, 3, 8, 8, generator=generator)
        theirs.gt = torch.rand(2, 3, side, side, generator=generator)
        SRGANModel.optimize_parameters(theirs, iteration)
        step(model, iteration, {'lq': theirs.lq, 'gt': list(theirs.gt)})
        expected = {name.replace('l_g_pix', 'l_pix'): value for name, value in theirs.log_dict.items()}
        assert len(expected) == (4 if iteration < 3 else 6)
        # Float32 means of up to 100,000 values, after some steps by them.
        assert {name: model.log_dict[name] for name in expected} == pytest.approx(expected, rel=1e-4, abs=1e-6)
    for ours, net in ((model.net_g, net_g), (model.net_d, net_d)):
        for (name, one), other in zip(ours.state_dict().items(), net.state_dict().values(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f'{name}: {text}')


def test_crops_are_parts_at_one_place_and_small_images_are_mirrored() -> None:
    images = [torch.arange(3 * h * w).reshape(3, h, w).float() for h, w in ((9, 7), (4, 3), (4, 9))]
    found = crops(images, np.array([[0.99, 0.0], [0.5, 0.5], [0.3, 0.99]]), 4)
    assert torch.equal(found[0], images[0][:, 5:9, :4])
    assert torch.equal(found[1], images[1][:, :, [0, 1, 2, 2]])
    assert torch.equal(found[2], images[2][:, :, 5:9])
    assert torch.equal(crops(images, np.zeros((3, 2)), 1), torch.stack([image[:, :1, :1] for image in images]))


def test_the_place_is_the_samples_own() -> None:
    """Whichever process has it, in whichever step; and all places come up."""
    drawn = torch.tensor([[index, 1, 0, index] for index in range(400)])
    corners = crop_corners({'drawn': drawn}, 400, 7)
    assert np.array_equal(crop_corners({'drawn': drawn[3::5]}, 80, 8), corners[3::5])
    assert corners.shape == (400, 2) and 0 <= corners.min() < 0.02 and 0.98 < corners.max() < 1
    assert not np.array_equal(crop_corners({}, 3, 7), crop_corners({}, 3, 8))


def test_parts_of_a_batch_make_the_same_step(tmp_path: Path) -> None:
    """Spectral normalization would improve with each part, and judge the next one by other weights."""
    found = {}
    for parts in (1, 3):
        model = make_model(tmp_path, accumulate=parts, optim_g=SGD, optim_d=SGD)
        for iteration in (1, 2):
            step(model, iteration, drawn_batch())
        found[parts] = [*model.net_g.state_dict().values(), *model.net_d.state_dict().values()]
    for whole, in_parts in zip(found[1], found[3], strict=True):
        # Sums of a few thousand float32 gradients in another order, times a tenth.
        torch.testing.assert_close(in_parts, whole, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(('network_d', 'spoilt'), [(UNET, 'lq'), pytest.param(VGG, 'gt', marks=pytest.mark.slow)])
def test_a_bad_step_changes_neither_network(tmp_path: Path, network_d: dict[str, Any], spoilt: str) -> None:
    model = make_model(tmp_path, network_d)
    step(model, 1, drawn_batch())
    before = states(model)
    step(model, 2, drawn_batch(spoilt=spoilt))
    assert all(torch.equal(a, b) for a, b in zip(before, states(model), strict=True))
    kept = torch.load(tmp_path / 'bad_steps' / '2_rank0.pth', weights_only=True)
    assert kept['params_d'].keys() == model.net_d.state_dict().keys()
    assert {'l_g_gan', 'l_d_real', 'grad_norm', 'grad_norm_d'} <= kept['losses'].keys()
    step(model, 3, drawn_batch())
    assert not all(torch.equal(a, b) for a, b in zip(before, states(model), strict=True))
    assert all(tensor.isfinite().all() for tensor in states(model))


def test_a_bad_gradient_of_the_discriminator_alone_is_left_out(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    before = states(model)
    hook = next(model.net_d.parameters()).register_hook(lambda gradient: gradient * torch.inf)
    step(model, 1, drawn_batch())
    hook.remove()
    assert all(torch.equal(a, b) for a, b in zip(before, states(model), strict=True)) and model.bad_steps == 1


def test_clipping_is_of_each_network(tmp_path: Path) -> None:
    model = make_model(tmp_path, grad_clip=1e-3)
    step(model, 1, batch())
    for net, name in ((model.net_g, 'grad_norm'), (model.net_d, 'grad_norm_d')):
        norm = torch.stack([p.grad.norm() for p in net.parameters()]).norm().item()
        assert norm == pytest.approx(1e-3, rel=1e-3) and model.log_dict[name] > 1e-3


def test_gsasr_rests_while_the_discriminator_begins_and_in_between(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """Without a warning of PyTorch's that the schedule goes on."""
    model = make_model(tmp_path, net_d_iters=2, net_d_init_iters=3)
    for iteration in range(1, 7):
        before = [p.clone() for p in model.net_g.parameters()], [p.clone() for p in model.net_d.parameters()]
        model.update_learning_rate(iteration)
        step(model, iteration, batch())
        moved = [
            not all(torch.equal(a, b) for a, b in zip(old, net.parameters(), strict=True))
            for old, net in zip(before, (model.net_g, model.net_d), strict=True)
        ]
        assert moved == [iteration in (4, 6), True], iteration
        assert ('l_pix' in model.log_dict) == (iteration in (4, 6))
    assert not [str(warning.message) for warning in recwarn if 'lr_scheduler' in str(warning.message)]


def test_pairs_are_drawn_on_their_grids_while_the_discriminator_is_alone(tmp_path: Path) -> None:
    """The results of a first step are the same, whether or not GSASR learns from them."""
    grids = torch.tensor([[[1, 1], [0.2, 0.7]], [[1.9, 2], [0.3, 0]], [[4, 2.9], [0, 0.1]]], dtype=torch.float64)
    outputs = []
    for alone in (0, 1):
        model = make_model(tmp_path, net_d_init_iters=alone)
        step(model, 1, batch() | {'grid': grids})
        assert ('l_pix' in model.log_dict) == (alone == 0)
        outputs.append(model.output)
    for learning, resting in zip(*outputs, strict=True):
        # Float32, with and without gradients: the order of sums.
        torch.testing.assert_close(resting, learning, rtol=1e-5, atol=1e-5)


def test_what_is_frozen_of_the_discriminator_stays_so(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    frozen = model.net_d.conv0.weight.requires_grad_(False)
    before, others = frozen.clone(), sum(p.requires_grad for p in model.net_d.parameters())
    step(model, 1, batch())
    assert not frozen.requires_grad and torch.equal(frozen, before)
    assert sum(p.requires_grad for p in model.net_d.parameters()) == others > 0


def test_in_half_precision(tmp_path: Path) -> None:
    """Verdicts and losses of the first step are those of float32 to bfloat16's three digits."""
    logs = []
    for autocast in (None, 'bf16'):
        model = make_model(tmp_path, autocast=autocast)
        step(model, 1, batch())
        logs.append({name: float(value) for name, value in model.log_dict.items()})
        step(model, 2, batch())
        assert all(tensor.isfinite().all() for tensor in states(model))
    assert logs[1] == pytest.approx(logs[0], rel=0.02, abs=0.005)
    assert logs[1] != logs[0]


def test_a_checkpoint_holds_both_networks_and_goes_on_exactly(tmp_path: Path) -> None:
    model = make_model(tmp_path, net_d_iters=2)
    for iteration in (1, 2):
        step(model, iteration, drawn_batch())
    model.save(0, 2)
    for iteration in (3, 4):
        step(model, iteration, drawn_batch())
    assert {path.name for path in (tmp_path / 'models').iterdir()} == {'net_g_2.pth', 'net_d_2.pth'}
    state = read_pair(tmp_path / 'training_states' / '2.state', tmp_path / 'models', ['g', 'd'])
    assert len(state['optimizers']) == len(state['schedulers']) == 2
    other = make_model(tmp_path, net_d_iters=2)
    for net, label in ((other.net_g, 'g'), (other.net_d, 'd')):
        other.load_network(net, str(tmp_path / 'models' / f'net_{label}_2.pth'))
    other.load_network(other.net_g_ema, str(tmp_path / 'models' / 'net_g_2.pth'), param_key='params_ema')
    other.resume_training(state)
    for iteration in (3, 4):
        step(other, iteration, drawn_batch())
    assert all(torch.equal(a, b) for a, b in zip(states(model), states(other), strict=True))
    assert model.log_dict == other.log_dict
    with pytest.raises(RunError, match=r'net_d_2\.pth is no file of this VGGStyleDiscriminator'):
        other = make_model(tmp_path, VGG)
        other.load_network(other.net_d, str(tmp_path / 'models' / 'net_d_2.pth'))


def test_the_discriminator_starts_from_given_weights(tmp_path: Path) -> None:
    """Whole, under the key that is asked for, and what fits where the rest may be missing."""
    torch.manual_seed(5)
    params, average = (build_network(dict(UNET)).state_dict() for _ in range(2))
    part = {name: tensor for name, tensor in average.items() if not name.startswith('conv9')}
    file = str(tmp_path / 'd.pth')
    torch.save({'params': params, 'params_ema': average, 'part': part}, file)
    other = make_model(tmp_path).net_d.state_dict()
    found = {
        key: make_model(tmp_path, path={'pretrain_network_d': file, 'param_key_d': key, 'strict_load_d': key != 'part'})
        for key in ('params', 'params_ema', 'part')
    }
    for key, expected in (('params', params), ('params_ema', average), ('part', {**other, **part})):
        loaded = found[key].net_d.state_dict()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items()), key
    assert not torch.equal(other['conv0.weight'], params['conv0.weight'])
    with pytest.raises(RunError, match=r'd\.pth is no file of this VGGStyleDiscriminator'):
        make_model(tmp_path, VGG, path={'pretrain_network_d': file})


def test_a_loss_without_the_discriminators_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='no adversarial loss: gan_opt'):
        make_model(tmp_path, gan_opt=None)
    with pytest.raises(ValueError, match='given 64, but network_d takes images of 128 x 128'):
        make_model(tmp_path, VGG, net_d_crop=64)
