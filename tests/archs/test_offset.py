"""Images on grids of their own: begun anywhere on the LR image, with any number of pixels to an LR pixel."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.completion import Completion
from gsasr_plugin.archs.gaussians import Gaussians
from gsasr_plugin.archs.rendering import render
from tests.archs.test_gsasr import WITHOUT_ATTENTION, small_gsasr

# Sums of a hundred terms in float64, and what lies beyond six standard deviations, 1e-8 of a peak.
TOLERANCE = 1e-7
SIZES, SCALES, OFFSETS = [(7, 9), (12, 5)], [(1.85, 2.37), (3.37, 1.2)], [(0.31, 0.02), (-0.4, 0.77)]


def make_net(**options: Any) -> GSASR:
    return small_gsasr(**WITHOUT_ATTENTION, support=6.0, **options).double()


def places(size: int, scale: float, offset: float) -> np.ndarray:
    """Where the pixels of an axis are, in LR pixels."""
    return np.array([offset + (i + 0.5) / scale for i in range(size)])


def summed(gaussians: Gaussians, index: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Eq. 1-4 of the paper, term by term, at any places: (3, len(y), len(x))."""
    fields = (gaussians.means, gaussians.sigmas, gaussians.rhos, gaussians.opacities, gaussians.colors)
    image = np.zeros((3, len(y), len(x)))
    for mean, sigma, rho, opacity, color in zip(*(field[index].detach().numpy() for field in fields)):
        u, v = (x - mean[0])[None, :] / sigma[0], (y - mean[1])[:, None] / sigma[1]
        image += color[:, None, None] * opacity * np.exp(-(u * u - 2 * rho * u * v + v * v) / (2 * (1 - rho * rho)))
    return image


def cubic(lq: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Keys' cubic through the last axis of (..., n), at places in pixels, the border pixels mirrored."""
    n = lq.shape[-1]
    mirrored = np.concatenate([lq[..., ::-1], lq, lq[..., ::-1]], -1)
    values = []
    for place in places - 0.5:
        first = int(np.floor(place))
        t = place - first
        weights = (
            -0.5 * t**3 + t**2 - 0.5 * t,
            1.5 * t**3 - 2.5 * t**2 + 1,
            -1.5 * t**3 + 2 * t**2 + 0.5 * t,
            0.5 * t**3 - 0.5 * t**2,
        )
        values.append(sum(w * mirrored[..., n + first - 1 + tap] for tap, w in enumerate(weights)))
    return np.stack(values, -1)


def expected(gaussians: Gaussians, lq: Tensor, index: int, *, skip: bool) -> np.ndarray:
    y, x = (places(SIZES[index][a], SCALES[index][a], OFFSETS[index][a]) for a in (0, 1))
    image = summed(gaussians, index, y, x)
    if skip:
        image = image + cubic(cubic(lq[index].detach().numpy(), x).swapaxes(1, 2), y).swapaxes(1, 2)
    return image


@pytest.mark.parametrize('skip', [False, True], ids=['sum', 'bicubic_skip'])
def test_each_image_of_a_batch_has_a_grid_of_its_own(skip: bool) -> None:
    net = make_net(bicubic_skip=skip)
    lq = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    with torch.no_grad():
        images = net(lq, SCALES, SIZES, offset=torch.tensor(OFFSETS, dtype=torch.float64))
        gaussians = net.gaussians(lq, SCALES)
        # The decoder is told the scale itself, not the ratio of the sizes.
        factors = net.gaussians(lq, [(s[0] * s[1]) ** 0.5 for s in SCALES])
        assert isinstance(images, list) and not torch.equal(gaussians.sigmas, factors.sigmas)
        for index, image in enumerate(images):
            alone = net(lq[index : index + 1], SCALES[index], SIZES[index], offset=OFFSETS[index])
            torch.testing.assert_close(alone[0], image, rtol=0, atol=1e-12)
            whole = net._gaussians(lq, _grids(), _no_tiles(), None)
            np.testing.assert_allclose(image, expected(whole, lq, index, skip=skip), rtol=0, atol=TOLERANCE)
        one_size = net(lq, SCALES, SIZES[0], offset=OFFSETS)
        assert isinstance(one_size, Tensor) and torch.equal(one_size[0], images[0])


def _grids() -> Any:
    from gsasr_plugin.sizes import output_grids

    return output_grids((4, 5), 2, SCALES, SIZES, OFFSETS)


def _no_tiles() -> Any:
    from gsasr_plugin.archs.tile_options import TileOptions

    return TileOptions()


def test_gradients() -> None:
    torch.manual_seed(0)
    B, N = 2, 6
    means = torch.rand(B, N, 2, dtype=torch.float64) * 4
    sigmas = 0.4 + torch.rand(B, N, 2, dtype=torch.float64)
    rhos = torch.rand(B, N, dtype=torch.float64) - 0.5
    opacities, colors = (torch.rand(*shape, dtype=torch.float64) for shape in ((B, N), (B, N, 3)))
    lq = torch.rand(B, 3, 4, 5, dtype=torch.float64)

    def images(means: Tensor, sigmas: Tensor, rhos: Tensor, opacities: Tensor, colors: Tensor, lq: Tensor) -> Any:
        completion = Completion(lq, bicubic_skip=True, consistency=0, level=False)
        gaussians = Gaussians(means, sigmas, rhos, opacities, colors, (4, 5), completion)
        # All of each Gaussian: a step of the numerical gradient must not move the edge of its box over a pixel.
        drawn = render(gaussians, SIZES, scale=SCALES, offset=OFFSETS, support=40.0)
        return tuple(drawn)

    inputs = tuple(tensor.requires_grad_() for tensor in (means, sigmas, rhos, opacities, colors, lq))
    assert torch.autograd.gradcheck(images, inputs)


def test_whole_pixels_of_offset_are_a_crop_and_none_changes_nothing() -> None:
    net = make_net(bicubic_skip=True)
    lq = torch.rand(2, 3, 6, 7, dtype=torch.float64)
    with torch.no_grad():
        whole = net(lq, scale=(2.5, 4))
        assert torch.equal(net(lq, (2.5, 4), (15, 28), offset=(0, 0)), whole)
        part = net(lq, (2.5, 4), (9, 20), offset=[(2 / 2.5, 3 / 4), (1 / 2.5, 0)])
    for index, (top, left) in enumerate([(2, 3), (1, 0)]):
        crop = whole[index, :, top : top + 9, left : left + 20]
        torch.testing.assert_close(part[index], crop, rtol=0, atol=1e-8)  # edges of boxes fall otherwise


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'size': (8, 8), 'offset': (0, 0)}, 'an offset needs both scale and size, got scale=None'),
        ({'scale': 2, 'offset': (0, 0)}, 'an offset needs both scale and size'),
        ({'scale': 2, 'size': (8, 8), 'offset': [(0, 0)] * 3}, r'offset must be .* or 2 such pairs'),
        ({'scale': 2, 'size': (8, 8), 'offset': (0, float('nan'))}, 'offset must be'),
        ({'scale': 2, 'size': (8, 8), 'offset': 0}, 'offset must be'),
    ],
)
def test_wrong_offsets_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_net()(torch.rand(2, 3, 4, 4, dtype=torch.float64), **arguments)


def test_consistency_excludes_offsets() -> None:
    net = make_net(consistency=1)
    lq = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match=r'does not go with consistency.*set consistency 0'):
        net(lq, 2, (7, 8), offset=(0.1, 0))
    with pytest.raises(ValueError, match='does not go with consistency'):
        net.render(dataclasses.replace(net.gaussians(lq, 2)), (7, 8), scale=2, offset=(0.1, 0))
