"""Hostile calls of the rasterizer, forward and backward."""

from __future__ import annotations

import contextlib
import math
import random
from typing import Any

import torch
from torch import Tensor

from gsasr_ops import rasterize_gaussians, rasterize_gaussians_reference
from tests.ops.hostile.tensors import ERRORS, STRANGE, misfit, spoil, strided

SIDES = (1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64)
BAD_SIDES = (0, -1, 1 << 23, (1 << 23) + 1, 1 << 31, 1 << 40, -(1 << 62))
# A term's relative error. In float32 the terms of Gaussians that lie far off or are strangely shaped have the largest.
ROUNDING = {torch.float32: 1e-5, torch.float64: 1e-10}
# float32 holds no sum above the one, and rounds to zero below the other.
LARGEST, TINY = 1e38, 1e-37


def call(choice: random.Random) -> str:
    """One call; returns what became of it. Raises AssertionError where the result is wrong."""
    tensors = _inputs(choice, choice.choice((torch.float32, torch.float32, torch.float64)))
    B = tensors[0].shape[0]
    sizes = [(choice.choice(SIDES), choice.choice(SIDES)) for _ in range(B)]
    size: Any = sizes if choice.random() < 0.5 else (choice.choice(SIDES), choice.choice(SIDES))
    scale: Any = choice.choice((1, 1.0, 3.7, (2.5, 4.0), [choice.uniform(0.1, 30) for _ in range(B)]))
    options: dict[str, Any] = {
        'support': choice.choice((4.5, 4.5, 3.0, 0.5)),
        'window': choice.choice((None, None, 0.1)),
    }
    if choice.random() < 0.3:
        number = choice.randrange(5)
        tensors[number] = misfit(tensors[number], choice)
    if choice.random() < 0.15:
        size = choice.choice((choice.choice(BAD_SIDES), (choice.choice(BAD_SIDES),) * 2, [*sizes, (3, 3)], 'ab'))
    if choice.random() < 0.15:
        scale = choice.choice((*STRANGE, [1.0] * (B + 1), (1.0, -2.0), 'x', None, 1e-300, 1e300))
    if choice.random() < 0.1:
        options[choice.choice(('support', 'window'))] = choice.choice((*STRANGE, 'x', 1e300))

    leaves = [t.detach().requires_grad_() if t.is_floating_point() else t for t in tensors]
    try:
        result = rasterize_gaussians(*leaves, size, scale, **options)
    except ERRORS:
        return _raw_call(tensors, choice)
    images = result if isinstance(result, list) else list(result)
    if any(image.requires_grad for image in images):
        sum(image.sum() for image in images).backward()
    # A window may cut anywhere, where rounding decides of a pixel and what it gets is large.
    if options['window'] is not None:
        return 'drawn'
    return 'compared' if _compare(images, tensors, size, scale, options['support']) else 'drawn'


def _inputs(choice: random.Random, dtype: torch.dtype) -> list[Tensor]:
    """The five tensors, in half of the calls with strange values."""
    B, N, C = choice.choice((0, 1, 1, 2, 3)), choice.choice((0, 1, 2, 17, 64)), choice.randint(1, 4)
    generator = torch.Generator().manual_seed(choice.randrange(1 << 30))

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    tensors = [
        uniform(B, N, 2) * 20 - 4,
        0.1 + uniform(B, N, 2),
        1.8 * uniform(B, N) - 0.9,
        uniform(B, N),
        uniform(B, N, C),
    ]
    if choice.random() < 0.5:
        spoil(tensors, choice)
    return [strided(tensor.to(dtype), choice) for tensor in tensors]


def _compare(images: list[Tensor], tensors: list[Tensor], size: Any, scale: Any, support: float) -> bool:
    """Compares the images of finite sums with the twin's in float64; returns whether there are any."""
    exact = [tensor.double() for tensor in tensors]
    compared = False
    expected = rasterize_gaussians_reference(*exact, size, scale, support=support)
    for b, (image, target) in enumerate(zip(images, expected, strict=True)):
        most = (exact[3][b, :, None] * exact[4][b]).abs().sum().item()  # that one pixel can get
        # Of an infinite deviation at an infinite distance nobody can say what it draws.
        if not most < LARGEST or exact[0][b].isinf().any() or image.device.type == 'meta':
            continue
        # A pixel next to the edge of a box may fall on either side of it in another order of rounding.
        tolerance = most * (ROUNDING[image.dtype] + math.exp(-0.5 * min(support, 30.0) ** 2)) + TINY
        torch.testing.assert_close(image.detach().double(), target, rtol=0, atol=tolerance)
        compared = True
    return compared


def _raw_call(tensors: list[Tensor], choice: random.Random) -> str:
    """The operators themselves, past the checks of the public function, with arguments that need not fit."""
    B = choice.randint(0, 3)
    sizes = [choice.choice((*SIDES, *BAD_SIDES)) for _ in range(2 * B + choice.choice((0, 0, 1)))]
    if any(side > 64 for side in sizes):
        sizes = [1 << 23 if side > 64 else side for side in sizes]
    # Nothing that would be drawn for hours: images are small, or too large for any memory.
    if any(1 << 10 < h * w < 1 << 44 for h, w in zip(sizes[::2], sizes[1::2])):
        sizes = [min(side, 64) for side in sizes]
    scales = [choice.choice((1.0, 2.5, *STRANGE)) for _ in range(2 * B + choice.choice((0, 0, 1)))]
    support, window = choice.choice((4.5, *STRANGE)), choice.choice((None, 0.1, *STRANGE))
    v_images = torch.ones(choice.choice((0, 1, 7, 252)))
    with contextlib.suppress(ERRORS):
        torch.ops.gsasr.rasterize_gaussians(*tensors, sizes, scales, support, window)
    try:
        torch.ops.gsasr.rasterize_gaussians_backward(v_images, *tensors, sizes, scales, support, window)
    except ERRORS:
        return 'error'
    return 'drawn'
