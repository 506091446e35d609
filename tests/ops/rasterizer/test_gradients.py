"""Gradients: against numerical differences in float64, against autograd of the twin, and at the edges of the domain."""

import pytest
import torch

from gsasr_ops import rasterize_gaussians, rasterize_gaussians_reference
from gsasr_ops.rasterizer.reference import rasterize_flat_backward
from tests.ops.rasterizer.scenes import sample_inputs

NAMES = ['means', 'sigmas', 'rhos', 'opacities', 'colors']


def gradients(draw, inputs, size, scale, v_images, **options):
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    return torch.autograd.grad((draw(*inputs, size, scale, **options) * v_images).sum(), inputs)


def relative_error(found, expected):
    """Of one Gaussian against the largest gradient of its kind in the scene."""
    return ((found.double() - expected).abs().max() / expected.abs().max()).item()


# A step of a numerical difference that moves a pixel across the edge of a box changes the image by exp(-support^2 / 2):
# at 9 standard deviations that is 3e-18, at the default 4e-5, more than gradcheck's steps can tell apart from a slope.
@pytest.mark.parametrize('draw', [rasterize_gaussians, rasterize_gaussians_reference], ids=['native', 'reference'])
@pytest.mark.parametrize('C', [1, 4])
def test_gradcheck(draw, C):
    inputs = sample_inputs(dtype=torch.float64, N=5, C=C, h=2, w=3, requires_grad=True)

    def images(*tensors):
        several = draw(*tensors, [(3, 5), (4, 2)], [1.5, (2.0, 0.7)], support=9.0)
        return tuple(several)

    assert torch.autograd.gradcheck(images, inputs)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=['float32', 'float64'])
@pytest.mark.parametrize('C', [1, 2, 3, 4])
@pytest.mark.parametrize('scale', [1.0, 4.6, (9.0, 0.8)])
def test_equal_those_of_the_twin(dtype, C, scale):
    rows, columns = scale if isinstance(scale, tuple) else (scale, scale)
    size = max(1, round(6 * rows)), max(1, round(7 * columns))
    inputs = sample_inputs(dtype=dtype, C=C)
    v_images = torch.randn(2, C, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = gradients(rasterize_gaussians_reference, [t.double() for t in inputs], size, scale, v_images)
    found = gradients(rasterize_gaussians, inputs, size, scale, v_images.to(dtype))
    # float32: terms right to 1e-6 with either sign, up to some thousand of them, cancel in part.
    tolerance = 2e-5 if dtype == torch.float32 else 1e-12
    for name, v, v_expected in zip(NAMES, found, expected):
        assert v.dtype == dtype
        assert relative_error(v, v_expected) < tolerance, name


def test_formulas_of_the_fallback_equal_autograd():
    inputs = sample_inputs(dtype=torch.float64)
    sizes, scales = [40, 37, 5, 90], [5.0, 4.5, 0.9, 12.0]
    v_images = torch.randn(3 * (40 * 37 + 5 * 90), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = rasterize_flat_backward(v_images, *inputs, sizes, scales, 4.5, 0.9)
    parts = v_images.split([3 * 40 * 37, 3 * 5 * 90])
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    images = rasterize_gaussians_reference(
        *leaves, [(40, 37), (5, 90)], [(5.0, 4.5), (0.9, 12.0)], support=4.5, window=0.9
    )
    loss = sum((image.flatten() * part).sum() for image, part in zip(images, parts))
    for name, v, v_expected in zip(NAMES, found, torch.autograd.grad(loss, leaves)):
        assert relative_error(v, v_expected) < 1e-12, name


@pytest.mark.parametrize('options', [{'support': 2.0}, {'window': 0.4}, {'support': 9.0, 'window': 0.2}])
def test_cut_off_like_the_image(options):
    """The gradient is that of what was drawn: terms outside of the box are missing in both."""
    inputs = sample_inputs(dtype=torch.float64)
    v_images = torch.randn(2, 3, 18, 21, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = gradients(rasterize_gaussians_reference, inputs, (18, 21), 3.0, v_images, **options)
    for name, v, v_expected in zip(
        NAMES, gradients(rasterize_gaussians, inputs, (18, 21), 3.0, v_images, **options), expected
    ):
        assert relative_error(v, v_expected) < 1e-12, name


def test_boxes_taller_than_a_band_and_wider_than_a_vector():
    inputs = sample_inputs(N=6, h=4, w=4)
    v_images = torch.randn(2, 3, 120, 120, generator=torch.Generator().manual_seed(1))
    expected = gradients(
        rasterize_gaussians_reference, [t.double() for t in inputs], (120, 120), 30.0, v_images.double()
    )
    for name, v, v_expected in zip(NAMES, gradients(rasterize_gaussians, inputs, (120, 120), 30.0, v_images), expected):
        assert relative_error(v, v_expected) < 2e-5, name


@pytest.mark.parametrize('rho', [0.0, 0.999999, -0.999999])
@pytest.mark.parametrize('sigma', [1e-6, 0.3])
def test_finite_at_the_ends_of_the_domain(sigma, rho):
    means, sigmas, rhos, opacities, colors = sample_inputs(N=20, h=4, w=4)
    means[:, :4] = 0.5  # right on a pixel's centre
    inputs = means, torch.full_like(sigmas, sigma), torch.full_like(rhos, rho), opacities, colors
    for v in gradients(rasterize_gaussians, inputs, (8, 8), 2.0, torch.ones(2, 3, 8, 8)):
        assert v.isfinite().all()


@pytest.mark.parametrize('rho', [0.9, -0.995])
def test_strongly_tilted(rho):
    means, sigmas, rhos, opacities, colors = sample_inputs(N=12)
    inputs = means, sigmas, torch.full_like(rhos, rho), opacities, colors
    v_images = torch.randn(2, 3, 60, 70, generator=torch.Generator().manual_seed(1))
    expected = gradients(rasterize_gaussians_reference, [t.double() for t in inputs], (60, 70), 10.0, v_images.double())
    # 1 / (1 - rho^2) = 100 at -0.995 magnifies the rounding of the terms.
    for name, v, v_expected in zip(NAMES, gradients(rasterize_gaussians, inputs, (60, 70), 10.0, v_images), expected):
        assert relative_error(v, v_expected) < 2e-4, name


@pytest.mark.parametrize('compute', ['native', 'formulas'])
def test_what_is_no_gaussian_has_no_gradient_or_nan(compute):
    means, sigmas, rhos, opacities, colors = sample_inputs(B=1, N=8)
    sigmas[0, 0, 0], rhos[0, 1] = 0, -1
    means[0, 2, 0], sigmas[0, 3, 1], rhos[0, 4] = float('nan'), float('nan'), float('nan')
    inputs = means, sigmas, rhos, opacities, colors
    if compute == 'native':
        found = gradients(rasterize_gaussians, inputs, (9, 9), 1.5, torch.ones(1, 3, 9, 9))
    else:
        found = rasterize_flat_backward(torch.ones(3 * 81), *inputs, [9, 9], [1.5, 1.5], 4.5, None)
    for v in found:
        assert not v[0, :2].any()
        assert v[0, 2:5].isnan().all()
        assert v[0, 5:].isfinite().all() and v[0, 5:].any()


def test_nan_in_one_gaussians_colour_leaves_the_others_alone():
    means, sigmas, rhos, opacities, colors = sample_inputs(B=1, N=8)
    v_images = torch.ones(1, 3, 9, 9)
    expected = gradients(rasterize_gaussians, (means, sigmas, rhos, opacities, colors), (9, 9), 1.5, v_images)
    colors[0, 2, 1] = float('nan')
    found = gradients(rasterize_gaussians, (means, sigmas, rhos, opacities, colors), (9, 9), 1.5, v_images)
    others = [0, 1, 3, 4, 5, 6, 7]
    for v, v_expected in zip(found, expected):
        assert torch.equal(v[0, others], v_expected[0, others])
    assert found[0][0, 2].isnan().all() and found[3][0, 2].isnan()


def test_gradient_of_an_expanded_tensor():
    """sum().backward() hands over a gradient without strides."""
    inputs = sample_inputs(requires_grad=True)
    rasterize_gaussians(*inputs, (6, 7), 1.0).sum().backward()
    ones = gradients(rasterize_gaussians, inputs, (6, 7), 1.0, torch.ones(2, 3, 6, 7))
    for tensor, v in zip(inputs, ones):
        assert torch.equal(tensor.grad, v)


def test_gradients_of_some_inputs_only():
    means, sigmas, rhos, opacities, colors = sample_inputs()
    colors.requires_grad_()
    rasterize_gaussians(means, sigmas, rhos, opacities, colors, (6, 7), 1.0).sum().backward()
    assert colors.grad.any()


def test_empty():
    for inputs in (sample_inputs(N=0, requires_grad=True), sample_inputs(B=0, requires_grad=True)):
        rasterize_gaussians(*inputs, (6, 7), 1.0).sum().backward()
        assert all(tensor.grad.shape == tensor.shape for tensor in inputs)


@pytest.mark.slow
def test_second_derivatives():
    inputs = sample_inputs(dtype=torch.float64, N=3, h=2, w=2, requires_grad=True)
    v = torch.autograd.grad(rasterize_gaussians(*inputs, (3, 3), 1.5).square().sum(), inputs[0], create_graph=True)[0]
    with pytest.raises(NotImplementedError, match='differentiated once only'):
        v.sum().backward()

    def images(*tensors):
        return rasterize_gaussians_reference(*tensors, (2, 2), 1.0, support=9.0)

    assert torch.autograd.gradgradcheck(images, inputs)
