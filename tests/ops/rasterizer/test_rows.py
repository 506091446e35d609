"""Rows of an image, drawn without the others: the same bits, and gradients as if nobody saw the others."""

import pytest
import torch

from gsasr_ops import rasterize_gaussians, rasterize_gaussians_reference
from tests.ops.rasterizer.scenes import grid_inputs, sample_inputs

SCALES = [1.0, 1.3, 4.0, pytest.param(12.0, marks=pytest.mark.slow), (2.0, 5.3)]
# Sums of some hundred products of float64, in another order.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-3}


def scenes(dtype: torch.dtype) -> list:
    """A jittered grid; and Gaussians anywhere, some strongly tilted, some that reach over many bands of 16 rows."""
    anywhere = sample_inputs(B=1, N=500, h=30, w=20, dtype=dtype)
    sigmas = anywhere[1].clone()
    sigmas[:, ::50] *= 9
    return [grid_inputs(30, 20, sigma=None, dtype=dtype), (anywhere[0], sigmas, *anywhere[2:])]


@pytest.mark.parametrize('draw', [rasterize_gaussians, rasterize_gaussians_reference], ids=['native', 'reference'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=['float32', 'float64'])
@pytest.mark.parametrize('scale', SCALES)
def test_rows_are_those_of_the_whole(draw, dtype, scale):
    rows, columns = scale if isinstance(scale, tuple) else (scale, scale)
    H, W = round(30 * rows), round(20 * columns)
    for inputs in scenes(dtype):
        whole = draw(*inputs, (H, W), scale, window=0.9)
        for first, end in ((0, H), (0, 1), (5, 7), (15, 33 if H > 33 else H), (16, 30), (24, H), (H - 1, H)):
            part = draw(*inputs, (H, W), scale, window=0.9, rows=(first, end))
            assert torch.equal(part, whole[:, :, first:end]), (first, end)


@pytest.mark.parametrize('draw', [rasterize_gaussians, rasterize_gaussians_reference], ids=['native', 'reference'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=['float32', 'float64'])
@pytest.mark.parametrize('rows', [(0, 3), (5, 21), (17, 18)])
def test_gradients_are_those_of_the_rows(draw, dtype, rows):
    inputs = sample_inputs(dtype=dtype, requires_grad=True)
    v_whole = torch.randn(2, 3, 22, 26, dtype=dtype, generator=torch.Generator().manual_seed(0))
    v_whole[:, :, : rows[0]] = v_whole[:, :, rows[1] :] = 0
    expected = torch.autograd.grad(draw(*inputs, (22, 26), 3.7), inputs, v_whole)
    found = torch.autograd.grad(draw(*inputs, (22, 26), 3.7, rows=rows), inputs, v_whole[:, :, slice(*rows)])
    for gradient, other in zip(found, expected):
        torch.testing.assert_close(gradient, other, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def test_several_sizes_and_the_operator():
    inputs = sample_inputs()
    sizes = [(18, 21), (23, 15)]
    whole = rasterize_gaussians(*inputs, sizes, 3.0)
    for image, expected in zip(rasterize_gaussians(*inputs, sizes, 3.0, rows=(4, 18)), whole):
        assert torch.equal(image, expected[:, 4:18])
    torch.library.opcheck(
        torch.ops.gsasr.rasterize_gaussians,
        (*sample_inputs(requires_grad=True), [18, 21, 4, 17, 18, 21, 4, 17], [3.0] * 4, 4.5, None),
    )


@pytest.mark.parametrize('rows', [(0, 19), (4, 4), (-1, 4), (5, 3)])
def test_rows_that_are_none_of_the_image_are_named(rows):
    with pytest.raises(ValueError, match=r'rows must be .* 18, the height'):
        rasterize_gaussians(*sample_inputs(), (18, 21), 3.0, rows=rows)
    with pytest.raises(RuntimeError, match='rows must be some of the 18 of image 0'):
        torch.ops.gsasr.rasterize_gaussians(*sample_inputs(), [18, 21, *rows] * 2, [3.0] * 4, 4.5, None)
    with pytest.raises(TypeError, match='rows must be two integers'):
        rasterize_gaussians(*sample_inputs(), (18, 21), 3.0, rows=3)
