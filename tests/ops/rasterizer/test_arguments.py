"""Errors name the argument, what was given and what is accepted."""

import pytest
import torch

from gsasr_ops import rasterize_gaussians, rasterize_gaussians_reference
from tests.ops.rasterizer.scenes import sample_inputs

NAMES = ['means', 'sigmas', 'rhos', 'opacities', 'colors']


def draw_with(draw, change, *, size=(6, 7), scale=1.0, **options):
    tensors = dict(zip(NAMES, sample_inputs()))
    tensors.update({name: make(tensors[name]) for name, make in change.items()})
    return draw(*tensors.values(), size, scale, **options)


@pytest.mark.parametrize('draw', [rasterize_gaussians, rasterize_gaussians_reference], ids=['native', 'reference'])
@pytest.mark.parametrize(
    'change, message',
    [
        ({'means': lambda t: t[0]}, r'means must have the shape \(B, N, 2\), got \(40, 2\)'),
        ({'means': lambda t: t.repeat(1, 1, 2)}, r'means must have the shape \(B, N, 2\), got \(2, 40, 4\)'),
        ({'sigmas': lambda t: t[..., 0]}, r'sigmas must have the shape \(2, 40, 2\) to match means, got \(2, 40\)'),
        ({'rhos': lambda t: t[:, :7]}, r'rhos must have the shape \(2, 40\) to match means, got \(2, 7\)'),
        ({'opacities': lambda t: t[..., None]}, r'opacities must have the shape \(2, 40\).* got \(2, 40, 1\)'),
        ({'colors': lambda t: t.repeat(1, 1, 2)}, r'colors must have .* C from 1 to 4, got \(2, 40, 6\)'),
        ({'colors': lambda t: t[..., :0]}, r'colors must have .* C from 1 to 4, got \(2, 40, 0\)'),
        ({'colors': lambda t: t[:1]}, r'colors must have the shape \(2, 40, C\).* got \(1, 40, 3\)'),
        ({'rhos': lambda t: t.to('meta')}, 'rhos is on meta, but means is on cpu'),
    ],
)
def test_shapes_and_devices(draw, change, message):
    with pytest.raises(ValueError, match=message):
        draw_with(draw, change)


@pytest.mark.parametrize('draw', [rasterize_gaussians, rasterize_gaussians_reference], ids=['native', 'reference'])
@pytest.mark.parametrize(
    'change, message',
    [
        ({'colors': lambda t: t.double()}, 'one dtype, got .* colors torch.float64'),
        ({'rhos': lambda t: t.long()}, 'rhos must be of a floating-point dtype, got torch.int64'),
        ({'sigmas': lambda t: t.tolist()}, 'sigmas must be a tensor, got list'),
    ],
)
def test_types(draw, change, message):
    with pytest.raises(TypeError, match=message):
        draw_with(draw, change)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_outside_of_autocast(dtype):
    with pytest.raises(TypeError, match=r'half precision only under torch\.autocast'):
        draw_with(rasterize_gaussians, dict.fromkeys(NAMES, lambda t: t.to(dtype)))


@pytest.mark.parametrize('draw', [rasterize_gaussians, rasterize_gaussians_reference], ids=['native', 'reference'])
@pytest.mark.parametrize(
    'error, given, message',
    [
        (ValueError, {'size': (0, 7)}, r'size must be from 1 to 8388608 along each side, got \(0, 7\)'),
        (ValueError, {'size': (6, 1 << 24)}, 'size must be from 1'),
        (ValueError, {'size': (6, 7, 3)}, r'size must be a pair .* got \(6, 7, 3\)'),
        (ValueError, {'size': [(6, 7)]}, 'size lists 1 pairs, but means holds B = 2'),
        (TypeError, {'size': (6.0, 7)}, 'size must hold integers'),
        (TypeError, {'size': 6}, r'size must be a pair \(H, W\) or a list of B such pairs, got int'),
        (ValueError, {'scale': 0.0}, 'scale must be positive and finite, got 0.0'),
        (ValueError, {'scale': float('inf')}, 'scale must be positive and finite, got inf'),
        (ValueError, {'scale': [1.0, float('nan')]}, 'scale must be positive and finite, got nan'),
        (ValueError, {'scale': (1.0, 2.0, 3.0)}, r'scale must be a number, a tuple \(rows, columns\)'),
        (ValueError, {'scale': ((1.0, 2.0), (3.0, 4.0))}, r'scale must be a number, a tuple \(rows, columns\)'),
        (ValueError, {'scale': [1.0, 2.0, 3.0]}, 'scale lists 3 entries, but means holds B = 2'),
        (
            ValueError,
            {'scale': torch.ones(3)},
            r'scale must be of shape \(\), \(2,\) or \(2, 2\) as a tensor, got \(3,\)',
        ),
        (ValueError, {'scale': torch.ones(2, device='meta')}, 'scale must be on the CPU'),
        (TypeError, {'scale': '2'}, "scale must hold numbers, got '2'"),
        (TypeError, {'scale': None}, 'scale must hold numbers, got None'),
        (ValueError, {'support': 0}, 'support must be a positive finite number'),
        (ValueError, {'support': float('nan')}, 'support must be a positive finite number'),
        (ValueError, {'window': -0.1}, 'window must be a positive finite number or None, got -0.1'),
    ],
)
def test_sizes_scales_and_cut_offs(draw, error, given, message):
    with pytest.raises(error, match=message):
        draw_with(draw, {}, **given)


def test_only_the_twin_draws_without_a_cut_off():
    with pytest.raises(ValueError, match='support must be a positive finite number, got None'):
        draw_with(rasterize_gaussians, {}, support=None)
    draw_with(rasterize_gaussians_reference, {}, support=None)


@pytest.mark.parametrize(
    'change, message',
    [
        ({'sigmas': lambda t: t[..., :1]}, r'sigmas must have the shape \(2, 40, 2\), got \(2, 40, 1\)'),
        ({'rhos': lambda t: t.double()}, 'rhos must have the dtype and the device of means'),
        ({'colors': lambda t: t.repeat(1, 1, 2)}, r'colors must have the shape \(B, N, C\) with C from 1 to 4'),
    ],
)
def test_the_operator_itself_checks_too(change, message):
    """Compiled graphs and other callers reach it without the public function."""
    tensors = dict(zip(NAMES, sample_inputs()))
    tensors.update({name: make(tensors[name]) for name, make in change.items()})
    with pytest.raises(RuntimeError, match=message):
        torch.ops.gsasr.rasterize_gaussians(*tensors.values(), [6, 7] * 2, [1.0] * 4, 4.5, None)


def test_the_operator_checks_sizes_scales_and_gradients():
    inputs = sample_inputs()
    forward, backward = torch.ops.gsasr.rasterize_gaussians, torch.ops.gsasr.rasterize_gaussians_backward
    with pytest.raises(RuntimeError, match='sizes must hold H and W, or H, W and two rows, for each of the 2 images'):
        forward(*inputs, [6, 7], [1.0] * 4, 4.5, None)
    with pytest.raises(RuntimeError, match='sizes must be from 1'):
        forward(*inputs, [6, 7, 0, 7], [1.0] * 4, 4.5, None)
    with pytest.raises(RuntimeError, match='scales must be positive and finite'):
        forward(*inputs, [6, 7] * 2, [1.0, 1.0, -1.0, 1.0], 4.5, None)
    with pytest.raises(RuntimeError, match=r'v_images must have the shape \(252\), got \(7\)'):
        backward(torch.ones(7), *inputs, [6, 7] * 2, [1.0] * 4, 4.5, None)
