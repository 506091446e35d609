"""The terms of a training's loss: their sum, their names, and perceptual ones against float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gsasr_plugin.metrics.weights import Convolution, Net
from gsasr_plugin.models import perceptual_losses
from gsasr_plugin.models.criterion import Criterion
from gsasr_plugin.models.perceptual_losses import DISTSLoss, LPIPSLoss, mirrored
from tests.metrics.test_perceptual import pair
from tests.models.test_gsasr_model import batch, make_model

L1 = {'type': 'L1Loss', 'loss_weight': 0.5}
MSE = {'type': 'MSELoss', 'loss_weight': 3.0}


@pytest.mark.parametrize(
    ('train', 'names'),
    [
        ({'pixel_opt': L1, 'losses': {'square': MSE}}, ['l_pix', 'l_square']),
        ({'pixel_opt': None, 'losses': {'pix': L1, 'square': MSE}}, ['l_pix', 'l_square']),
    ],
)
def test_terms_add_up_wherever_they_stand(tmp_path: Path, train: dict[str, Any], names: list[str]) -> None:
    """Values and gradient are those of half the absolute and three times the squared error, by float64."""
    model = make_model(tmp_path, **train)
    data = batch()
    output = model.net_g(data['lq'], size=[gt.shape[1:] for gt in data['gt']])
    errors = [(sr - gt).double() for sr, gt in zip(output, data['gt'], strict=True)]
    expected = [
        torch.stack([0.5 * error.abs().mean() for error in errors]).mean(),
        torch.stack([3 * error.square().mean() for error in errors]).mean(),
    ]
    gradient = torch.autograd.grad(sum(expected), list(model.net_g.parameters()))
    model.feed_data(data)
    model.optimize_parameters(1)
    assert list(model.log_dict) == names
    # Float32 means of up to 2,304 values.
    assert list(model.log_dict.values()) == pytest.approx([value.item() for value in expected], rel=1e-5)
    for ours, theirs in zip(model.net_g.parameters(), gradient, strict=True):
        torch.testing.assert_close(ours.grad, theirs, rtol=1e-4, atol=1e-6)


def test_what_makes_no_loss_is_named() -> None:
    with pytest.raises(ValueError, match='neither losses nor pixel_opt'):
        Criterion({'pixel_opt': None}, torch.device('cpu'))
    gan = {'type': 'GANLoss', 'gan_type': 'hinge'}
    with pytest.raises(ValueError, match='2 adversarial losses: at most one'):
        Criterion({'gan_opt': gan, 'losses': {'gan': gan}}, torch.device('cpu'))


@pytest.fixture
def random_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks without the packages that carry their weights, of He's initial ones."""
    torch.manual_seed(0)
    vgg = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), *[(256, 256)] * 2, (256, 512), *[(512, 512)] * 5]
    kernels = {
        'alex': [(64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3)],
        'vgg': [(after, before, 3) for before, after in vgg],
    }

    def backbone(net: Net, _: str | None) -> list[Convolution]:
        sizes = ((after, before, side, side) for after, before, side in kernels[net])
        return [Convolution(nn.init.kaiming_normal_(torch.empty(size)), torch.zeros(size[0])) for size in sizes]

    monkeypatch.setattr(perceptual_losses, 'backbone_weights', backbone)
    heads = [torch.rand(channels) for channels, *_ in kernels['alex']]
    monkeypatch.setattr(perceptual_losses, 'lpips_heads', lambda *_: heads)
    monkeypatch.setattr(perceptual_losses, 'dists_heads', lambda _: (torch.rand(1475), torch.rand(1475)))


@pytest.mark.parametrize(
    ('cls', 'size'),
    [(LPIPSLoss, (40, 33)), (LPIPSLoss, (9, 33)), pytest.param(DISTSLoss, (9, 12), marks=pytest.mark.slow)],
)
def test_perceptual_losses_and_their_gradients(random_weights: None, cls: Any, size: tuple[int, int]) -> None:
    """The value is the metric's, weighted, the mean over the pairs; the gradient is its central difference, float64."""
    loss = cls(loss_weight=0.25, **({'net': 'alex'} if cls is LPIPSLoss else {})).double()
    other, image = pair(size)
    pred = torch.cat([image + 0.03 * (other[:1] - image), image]).requires_grad_()
    target = image.expand(2, -1, -1, -1)
    value = loss(pred, target)
    (gradient,) = torch.autograd.grad(value, pred)
    with torch.no_grad():
        shown = (pred, target)
        if cls is LPIPSLoss:
            shown = tuple(images[:, :, mirrored(0, max(31, size[0]), size[0])] for images in shown)
        alone = [loss.network(one[None], two[None]).item() for one, two in zip(*shown, strict=True)]
        assert value.item() == pytest.approx(0.25 * sum(alone) / 2, rel=1e-9) and value.item() > 0
        direction = torch.randn(pred.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        direction[1] = 0  # equal images lie at the minimum, where LPIPS's curvature is all that there is
        step = 1e-6
        difference = (loss(pred + step * direction, target) - loss(pred - step * direction, target)) / (2 * step)
    # Kinks of the ReLUs within the step are few, its curvature is of 1e-6: far below the part in a thousand asked for.
    assert (gradient * direction).sum().item() == pytest.approx(difference.item(), rel=1e-3)
    assert loss(target, target).item() == pytest.approx(0, abs=1e-12)
    assert not any(parameter.requires_grad for parameter in loss.parameters())


@pytest.mark.parametrize(
    ('start', 'count', 'size', 'expected'),
    [
        (0, 3, 5, [0, 1, 2]),
        (2, 3, 5, [2, 3, 4]),
        (0, 8, 3, [0, 1, 2, 2, 1, 0, 0, 1]),
        (1, 4, 3, [1, 2, 2, 1]),
        (0, 3, 1, [0, 0, 0]),
    ],
)
def test_mirrored(start: int, count: int, size: int, expected: list[int]) -> None:
    found: Tensor = mirrored(start, count, size)
    assert found.tolist() == expected
