"""What the cut-off costs: the default support against the untruncated float64 sum, at every scale of the paper."""

import numpy as np
import pytest
import torch

from gsasr_ops import rasterize_gaussians, rasterize_gaussians_reference
from tests.ops.rasterizer.scenes import dense_sum, grid_inputs

SCALES = [1.0, 1.5, 2.0, 3.0, 4.0, 6.4, 8.0, 12.0, 18.0, 30.0]
SIGMAS = [0.1, 0.41667, 0.834, None]  # smallest in use, initial, largest, spread


@pytest.mark.parametrize('sigma', SIGMAS)
@pytest.mark.parametrize('scale', SCALES)
def test_image_within_a_fiftieth_of_a_level(scale, sigma):
    """8e-5 = 0.02 of an 8-bit level, for an image with values around 0..1: what is cut off is a part of the sum."""
    h = w = 9
    inputs = grid_inputs(h, w, sigma=sigma)
    size = round(h * scale), round(w * scale)
    images = rasterize_gaussians(*inputs, size, scale)
    rows = np.linspace(0, size[0] - 1, min(size[0], 24)).round().astype(int)
    expected = dense_sum(*inputs, size, scale, rows=rows)
    assert 0.5 < expected.max() < 3  # jitter piles up the smallest ones; brighter images would need a wider bound
    assert np.abs(images[0].numpy()[:, rows] - expected).max() <= 8e-5


@pytest.mark.parametrize('sigma', SIGMAS)
@pytest.mark.parametrize('scale', [1.0, 2.0, 4.0, 12.0])
def test_gradients_within_five_ten_thousandths(scale, sigma):
    """Against the gradients of the untruncated sum, relative to the norm of each: v_<name> as a whole, for a gradient
    of the image as a loss makes it, smooth with noise on top."""
    h = w = 6 if scale < 12 else 3
    inputs = grid_inputs(h, w, sigma=sigma)
    size = round(h * scale), round(w * scale)
    generator = torch.Generator().manual_seed(1)
    v_images = torch.randn(1, 3, *size, generator=generator) + 1
    leaves = [tensor.requires_grad_() for tensor in inputs]
    found = torch.autograd.grad(rasterize_gaussians(*leaves, size, scale), leaves, v_images)
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    expected = torch.autograd.grad(
        rasterize_gaussians_reference(*exact, size, scale, support=None), exact, v_images.double()
    )
    for v, v_expected in zip(found, expected):
        assert ((v.double() - v_expected).norm() / v_expected.norm()).item() <= 5e-4


@pytest.mark.parametrize('support, levels', [(3.0, 10.0), (4.0, 0.2), (4.5, 0.02), (5.0, 0.004)])
def test_error_falls_with_the_support(support, levels):
    """In 8-bit levels, at the largest sigma; a box of k deviations leaves out 2 * erfc(k / sqrt(2)) of the sum."""
    inputs = grid_inputs(9, 9, sigma=0.834)
    images = rasterize_gaussians(*inputs, (36, 36), 4.0, support=support)
    error = np.abs(images[0].numpy() - dense_sum(*inputs, (36, 36), 4.0)).max() * 255
    assert error < levels
    assert support > 4.5 or error > levels / 2000  # the cut-off is really there


def test_window_crops_what_the_authors_crop():
    """On a small image their square of dmax = 0.1 cuts into the Gaussians: of 10 LR pixels it leaves half a one."""
    inputs = grid_inputs(10, 10, sigma=0.41667, dtype=torch.float64)
    whole = dense_sum(*inputs, (40, 40), 4.0)
    theirs = dense_sum(*inputs, (40, 40), 4.0, window=0.1)
    ours = rasterize_gaussians(*inputs, (40, 40), 4.0, window=0.1, support=9.0)[0].numpy()
    assert np.abs(ours - theirs).max() < 1e-12
    assert np.abs(whole - theirs).max() > 0.1
