"""What size to draw: turns the `scale` or `size` that a caller gives into the output size of each image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

from torch import Tensor

Size = tuple[int, int]  # (H, W)
Scale = float | Sequence[float] | Sequence[Sequence[float]] | Tensor
Sizes = Sequence[int] | Sequence[Sequence[int]] | Tensor


def scales_per_image(scale: Scale, batch: int) -> list[tuple[float, float]]:
    """The (rows, columns) factors of each image.

    Args:
        scale: a number for all images; a tuple (rows, columns) for all images; or a list, a tensor or an array of B
            numbers or B (rows, columns) pairs, one per image, or of one for all. A list of two numbers is always one
            scale for each of two images and never a pair, as for `gsasr_ops.rasterize_gaussians`.
        batch: B.

    Raises:
        ValueError: another shape, or a factor that is not a positive finite number.
    """
    given: Any = scale.tolist() if hasattr(scale, 'tolist') else scale
    given = [given] if isinstance(given, tuple) and is_pair(given) else given
    rows = list(given) if isinstance(given, Sequence) else [given] * batch
    rows = rows * batch if len(rows) == 1 else rows
    pairs = [tuple(row) if is_pair(row) else (row, row) for row in rows]
    if len(pairs) != batch or not all(isinstance(s, int | float) for pair in pairs for s in pair):
        raise ValueError(
            f'scale must be a number or a tuple (rows, columns) for all images, or a list of {batch} numbers or '
            f'{batch} pairs, one per image; got {scale}'
        )
    if not all(math.isfinite(s) and s > 0 for pair in pairs for s in pair):
        raise ValueError(f'scale must be positive and finite, got {scale}')
    return [(float(s_h), float(s_w)) for s_h, s_w in pairs]


def output_sizes(lq_size: Size, batch: int, scale: Scale | None, size: Sizes | None) -> list[Size]:
    """The output size (H, W) of each image, `round(s * h)` (half up) where a scale is given.

    Args:
        lq_size: (h, w).
        batch: B.
        scale: see `scales_per_image`; None if `size` is given.
        size: (H, W) for all images, or B pairs; None if `scale` is given.

    Raises:
        ValueError: both or neither given, or a size that is not a pair of positive integers.
    """
    if (scale is None) == (size is None):
        raise ValueError(f'give either scale or size, got scale={scale} and size={size}')
    if scale is not None:
        h, w = lq_size
        return [(_enlarged(h, s_h), _enlarged(w, s_w)) for s_h, s_w in scales_per_image(scale, batch)]
    assert size is not None
    given = size.tolist() if isinstance(size, Tensor) else size
    sizes: list[Any] = [given] * batch if is_pair(given) else list(given)
    if len(sizes) != batch or not all(
        is_pair(pair) and all(isinstance(n, int) and n > 0 for n in pair) for pair in sizes
    ):
        raise ValueError(f'size must be (H, W), positive integers, or {batch} such pairs (one per image); got {size}')
    return [(int(H), int(W)) for H, W in sizes]


def _enlarged(length: int, scale: float) -> int:
    # 10 * 2.05 is half a pixel above 20, in float32 too.
    return max(1, math.floor(round(length * scale, 4) + 0.5))


def is_pair(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether this is one (rows, columns) or (H, W) pair, and not a list of pairs."""
    return isinstance(value, Sequence) and len(value) == 2 and not any(isinstance(v, Sequence) for v in value)
