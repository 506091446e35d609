"""The public function `rasterize_gaussians`, and what PyTorch has to know about the operators behind it: shapes without
data (fake kernels) and derivatives.

Letters: B images, N Gaussians per image, C channels, H x W output pixels; the last dimension of coordinates is (x, y),
sizes are (H, W), pairs of scales are (rows, columns). Lengths are in LR pixels with the origin at the image's top-left
corner.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import extension
from . import reference

Size = tuple[int, int] | Sequence[tuple[int, int]]
Scale = float | tuple[float, float] | Sequence[float] | Sequence[tuple[float, float]] | Tensor

MAX_CHANNELS = 4
MAX_SIDE = 1 << 23  # as in problem.h


def rasterize_gaussians(
    means: Tensor,
    sigmas: Tensor,
    rhos: Tensor,
    opacities: Tensor,
    colors: Tensor,
    size: Size,
    scale: Scale,
    *,
    support: float = 4.5,
    window: float | None = None,
    rows: tuple[int, int] | None = None,
) -> Tensor | list[Tensor]:
    """Draw 2D Gaussians: the plain sum of Eq. 1-4 of the GSASR paper, at the centres of the output's pixels.

    Output pixel (row i, column j) samples the LR plane at x = (j + 0.5) / scale_w, y = (i + 0.5) / scale_h; its value
    is the sum over n of opacities[n] * colors[n] * exp(-q / 2) with the Gaussian's quadratic form q (Eq. 2). Nothing is
    sorted, normalised or clamped. Differentiable once with respect to all five tensors.

    Args:
        means: (B, N, 2), centres (x, y) in LR pixels, origin at the top-left corner of the image; may lie outside.
        sigmas: (B, N, 2), standard deviations (x, y) in LR pixels, positive.
        rhos: (B, N), correlations, between -1 and 1.
        opacities: (B, N).
        colors: (B, N, C), C from 1 to 4.
        size: (H, W) of all images, or a list of B such pairs.
        scale: output pixels per LR pixel: a number; a *tuple* (rows, columns) for all images; a *list* of B numbers or
            of B pairs, one per image; or a tensor on the CPU of shape (), (B,) or (B, 2). A list of two numbers is
            always one scale for each of two images and never a pair.
        support: half-width of the box within which a Gaussian is drawn, in its standard deviations. At 4.5 an image
            with values in 0..1 differs from the full sum by less than 8e-5.
        window: half-width of a square around the centre outside of which nothing is drawn either, in coordinates in
            which the image spans -1..1: the authors' `dmax`, the paper's rasterization ratio r. None: no such square.
        rows: the first row that is drawn, of every image, and the one after the last: the same bits as in the whole
            image, without the memory for it. None: all.

    Returns:
        (B, C, H, W), H being the number of `rows` where they are given; or for a list of sizes the list of B tensors
        (C, H_i, W_i). On CPUs float32 or float64 as given, on other devices float32. Under autocast half precision
        inputs are accepted and everything is computed in float32.

    A Gaussian with a sigma that is not positive or a |rho| that is not below 1 draws nothing and gets zero gradients.
    NaN in a mean, sigma or rho draws nothing, and makes all gradients of that Gaussian NaN; NaN in an opacity or a
    colour shows in the pixels of the Gaussian's box and nowhere else.

    Raises:
        ValueError: a shape, size, scale, support or window that does not fit; the message names it.
        TypeError: an argument of the wrong type or dtype.
    """
    inputs = _check_tensors(means, sigmas, rhos, opacities, colors)
    B, C = colors.shape[0], colors.shape[2]
    sizes, several = _parse_size(size, B)
    _check_cutoff(support, window)
    sizes = _with_rows(sizes, rows)
    flat = torch.ops.gsasr.rasterize_gaussians(*inputs, sizes, _parse_scale(scale, B), float(support), window)
    if not several:
        return flat.view(B, C, *_drawn_size(size, rows))
    return _images(flat, sizes, B, C)


def rasterize_gaussians_reference(
    means: Tensor,
    sigmas: Tensor,
    rhos: Tensor,
    opacities: Tensor,
    colors: Tensor,
    size: Size,
    scale: Scale,
    *,
    support: float | None = 4.5,
    window: float | None = None,
    rows: tuple[int, int] | None = None,
) -> Tensor | list[Tensor]:
    """`rasterize_gaussians` written in PyTorch alone: slow, readable, of any dtype on any device, and differentiable by
    autograd as often as you like.

    Arguments, results and errors are those of `rasterize_gaussians`. `support=None` leaves nothing out: the sum over
    all Gaussians at every pixel, to measure the cut-off against.
    """
    inputs = _check_tensors(means, sigmas, rhos, opacities, colors, any_dtype=True)
    B, C = colors.shape[0], colors.shape[2]
    sizes, several = _parse_size(size, B)
    scales = _parse_scale(scale, B)
    _check_cutoff(support, window, support_may_be_none=True)
    # Under autocast the inputs are float32 by now, and no operation below is one that autocast rounds.
    sizes = _with_rows(sizes, rows)
    flat = reference.rasterize_flat(*inputs, sizes, scales, support, window)
    if not several:
        return flat.view(B, C, *_drawn_size(size, rows))
    return _images(flat, sizes, B, C)


def _images(flat: Tensor, sizes: list[int], B: int, C: int) -> list[Tensor]:
    """The images (C, H, W) in what was drawn; one operation, whose gradient is one."""
    shapes = [(C, end - first, W) for _, W, first, end in reference.sizes_and_rows(sizes, B)]
    return [part.view(shape) for part, shape in zip(flat.split([math.prod(shape) for shape in shapes]), shapes)]


def _check_tensors(
    means: Tensor, sigmas: Tensor, rhos: Tensor, opacities: Tensor, colors: Tensor, any_dtype: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The tensors, of one dtype; errors name the argument."""
    named = {'means': means, 'sigmas': sigmas, 'rhos': rhos, 'opacities': opacities, 'colors': colors}
    for name, tensor in named.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f'{name} must be a tensor, got {type(tensor).__name__}')
        if not tensor.is_floating_point():
            raise TypeError(f'{name} must be of a floating-point dtype, got {tensor.dtype}')
        if tensor.device != means.device:
            raise ValueError(f'{name} is on {tensor.device}, but means is on {means.device}: all must be on one device')
    if means.dim() != 3 or means.shape[2] != 2:
        raise ValueError(f'means must have the shape (B, N, 2), got {tuple(means.shape)}')
    B, N = means.shape[0], means.shape[1]
    for name, shape in (('sigmas', (B, N, 2)), ('rhos', (B, N)), ('opacities', (B, N))):
        if named[name].shape != shape:
            raise ValueError(f'{name} must have the shape {shape} to match means, got {tuple(named[name].shape)}')
    if colors.dim() != 3 or colors.shape[:2] != (B, N) or not 1 <= colors.shape[2] <= MAX_CHANNELS:
        raise ValueError(
            f'colors must have the shape ({B}, {N}, C) with C from 1 to {MAX_CHANNELS}, got {tuple(colors.shape)}'
        )
    tensors = means, sigmas, rhos, opacities, colors
    device = means.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        halves = (torch.float16, torch.bfloat16)
        means, sigmas, rhos, opacities, colors = (
            tensor.float() if tensor.dtype in halves else tensor for tensor in tensors
        )
        tensors = means, sigmas, rhos, opacities, colors
    dtypes = [tensor.dtype for tensor in tensors]
    if any(dtype != dtypes[0] for dtype in dtypes):
        listed = ', '.join(f'{name} {dtype}' for name, dtype in zip(named, dtypes))
        raise TypeError(f'all tensors must be of one dtype, got {listed}')
    if any_dtype:
        return tensors
    if dtypes[0] not in (torch.float32, torch.float64):
        raise TypeError(
            f'means, sigmas, rhos, opacities and colors are {dtypes[0]}, accepted are float32 and float64 (half '
            'precision only under torch.autocast): a position in LR pixels does not fit into half precision, so call '
            '.float() before the positions are computed'
        )
    return tensors


def _parse_size(size: Any, B: int) -> tuple[list[int], bool]:
    """(H, W) of each image in one flat list, and whether several sizes were given."""
    if not isinstance(size, (tuple, list)):
        raise TypeError(f'size must be a pair (H, W) or a list of B such pairs, got {type(size).__name__}')
    several = len(size) == 0 or isinstance(size[0], (tuple, list))
    if several and len(size) != B:
        raise ValueError(f'size lists {len(size)} pairs, but means holds B = {B} images')
    sizes: list[int] = []
    for pair in size if several else [size] * B:
        sizes += _one_size(pair)
    if not several and not B:
        _one_size(size)  # checked, though nothing is drawn
    return sizes, several


def _one_size(pair: Any) -> tuple[int, int]:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ValueError(f'size must be a pair (H, W) or a list of B such pairs, got {pair!r}')
    for side in pair:
        if isinstance(side, bool) or not (isinstance(side, (int, torch.SymInt)) or hasattr(side, '__index__')):
            raise TypeError(f'size must hold integers, got {pair!r}')
        if not 1 <= side <= MAX_SIDE:
            raise ValueError(f'size must be from 1 to {MAX_SIDE} along each side, got {pair!r}')
    H, W = (side if isinstance(side, (int, torch.SymInt)) else side.__index__() for side in pair)
    return H, W  # type: ignore[return-value]  # SymInt behaves as int


def _with_rows(sizes: list[int], rows: Any) -> list[int]:
    """H, W and the rows of each image; H and W alone where there are none."""
    if rows is None:
        return sizes
    if not isinstance(rows, (tuple, list)) or len(rows) != 2 or not all(hasattr(row, '__index__') for row in rows):
        raise TypeError(f'rows must be two integers (first, end), got {rows!r}')
    first, end = rows
    least = min(sizes[::2], default=MAX_SIDE)
    if not 0 <= first < end <= least:
        raise ValueError(f'rows must be (first, end) with 0 <= first < end <= {least}, the height, got {rows!r}')
    return [number for H, W in zip(sizes[::2], sizes[1::2]) for number in (H, W, first, end)]


def _drawn_size(size: Any, rows: tuple[int, int] | None) -> tuple[int, int]:
    H, W = _one_size(size)
    return (H, W) if rows is None else (rows[1] - rows[0], W)


def _parse_scale(scale: Any, B: int) -> list[float]:
    """(rows, columns) of each image in one flat list."""
    if isinstance(scale, Tensor):
        if tuple(scale.shape) not in ((), (B,), (B, 2)):
            raise ValueError(f'scale must be of shape (), ({B},) or ({B}, 2) as a tensor, got {tuple(scale.shape)}')
        if scale.device.type != 'cpu':
            raise ValueError(
                f'scale must be on the CPU, got a tensor on {scale.device}: reading it would wait for the device'
            )
        scale = scale.tolist()
    if isinstance(scale, tuple):
        if len(scale) != 2 or isinstance(scale[0], (tuple, list)):
            raise ValueError(
                f'scale must be a number, a tuple (rows, columns) for all images or a list with one entry for each of '
                f'the B = {B} images, got the tuple {scale!r}'
            )
        return _scale_pair(scale) * B
    if isinstance(scale, list):
        if len(scale) != B:
            raise ValueError(
                f'scale lists {len(scale)} entries, but means holds B = {B} images; (rows, columns) for all images is '
                'a tuple'
            )
        scales: list[float] = []
        for entry in scale:
            scales += _scale_pair(entry if isinstance(entry, (tuple, list)) else (entry, entry))
        return scales
    return _scale_pair((scale, scale)) * B


def _scale_pair(pair: Sequence[Any]) -> list[float]:
    if len(pair) != 2:
        raise ValueError(f'scale must be a number or a pair (rows, columns) for each image, got {pair!r}')
    numbers: list[Any] = []
    for number in pair:
        if isinstance(number, (bool, str)) or not hasattr(number, '__float__'):
            raise TypeError(f'scale must hold numbers, got {number!r}')
        number = number if isinstance(number, torch.SymFloat) else float(number)
        if not (0 < number < math.inf):
            raise ValueError(f'scale must be positive and finite, got {number!r}')
        numbers.append(number)
    return numbers


def _check_cutoff(support: Any, window: Any, support_may_be_none: bool = False) -> None:
    """Both cut-offs, which are positive numbers if given."""
    accepted = 'a positive finite number'
    for name, value, may_be_none in (('support', support, support_may_be_none), ('window', window, True)):
        if value is None and may_be_none:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise ValueError(f'{name} must be {accepted}{" or None" if may_be_none else ""}, got {value!r}')


def _fake_forward(means, sigmas, rhos, opacities, colors, sizes, scales, support, window):
    pixels = 0
    for _, W, first, end in reference.sizes_and_rows(sizes, means.shape[0]):
        pixels = pixels + (end - first) * W
    return means.new_empty(colors.shape[2] * pixels)


def _fake_backward(v_images, means, sigmas, rhos, opacities, colors, sizes, scales, support, window):
    return tuple(tensor.new_empty(tensor.shape) for tensor in (means, sigmas, rhos, opacities, colors))


def _save_for_backward(ctx, inputs, output):
    *tensors, ctx.sizes, ctx.scales, ctx.support, ctx.window = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, v_images):
    gradients = torch.ops.gsasr.rasterize_gaussians_backward(
        v_images, *ctx.saved_tensors, ctx.sizes, ctx.scales, ctx.support, ctx.window
    )
    return *gradients, None, None, None, None


def _no_second_derivative(ctx, *v_gradients):
    raise NotImplementedError(
        'rasterize_gaussians can be differentiated once only; rasterize_gaussians_reference has second derivatives'
    )


extension.register(
    'rasterize_gaussians',
    twin=reference.rasterize_flat,
    fake=_fake_forward,
    backward=_backward,
    setup_context=_save_for_backward,
    draws=True,
)
extension.register(
    'rasterize_gaussians_backward',
    twin=reference.rasterize_flat_backward,
    fake=_fake_backward,
    backward=_no_second_derivative,
    draws=True,
)
