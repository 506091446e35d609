"""Arithmetic of SR factors and sizes, one rule for the whole package: what a caller's scale or size means, crops for
training, the protocol's crops, the scale of an LR and GT pair.

A scale is a pair (rows, columns) of GT pixels per LR pixel; a size is (H, W) in pixels. `ScaleLike` and `SizesLike` are
what the network accepts for a batch.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeGuard


class Array(Protocol):
    """A tensor or an array, of any library: no arithmetic here needs torch, whose import takes seconds."""

    def tolist(self) -> Any:
        """Its numbers, in lists."""


Scale = tuple[float, float]
Size = tuple[int, int]
ScaleLike = float | Sequence[float] | Sequence[Sequence[float]] | Array
SizesLike = Sequence[int] | Sequence[Sequence[int]] | Array
OffsetsLike = Sequence[float] | Sequence[Sequence[float]] | Array


class Grid(NamedTuple):
    """Where the pixels of an output image lie: (i, j) at ((j + 0.5) / s_w + x, (i + 0.5) / s_h + y) in LR pixels.

    Attributes:
        size: (H, W) of the output image.
        scale: output pixels per LR pixel.
        offset: (y, x), where the output image begins, in LR pixels from the LR image's top-left corner.
    """

    size: Size
    scale: Scale
    offset: tuple[float, float] = (0.0, 0.0)


# Relative error that h * s and H / s may have when they should be a half or a whole number: 135 / 1.08 is below 125,
# and 10 * 2.05 below 20.5, most of all where s comes from a float32 tensor (half a unit in its last place is 6e-8).
ROUNDING = 1e-7
# Surplus and missing GT pixels, exclusive, where GT has round(h * s) pixels.
EXACT = (0.5 + ROUNDING, 0.5 + ROUNDING)
# A pair may be off by one GT pixel, and not by two, whatever its factor.
ONE_PIXEL = 1.5


def as_scale(value: float | Sequence[float]) -> Scale:
    """A factor, or a pair (rows, columns), as a pair.

    Raises:
        ValueError: the value is neither, or a factor is below 1 or not finite.
    """
    pair = (value, value) if isinstance(value, int | float) else tuple(value)
    if len(pair) != 2 or not all(math.isfinite(factor) and factor >= 1 for factor in pair):
        raise ValueError(f'a scale must be a factor of at least 1 or a pair (rows, columns) of such, got {value!r}')
    return (float(pair[0]), float(pair[1]))


def format_scale(scale: Scale) -> str:
    """The scale for names and tables: '3.7', or '2x3.5' (rows x columns) where the axes differ."""
    rows, columns = (f'{factor:g}' for factor in scale)
    return rows if rows == columns else f'{rows}x{columns}'


def enlarged_size(lq_size: Size, scale: Scale) -> Size:
    """Size (H, W) of an LR image of `lq_size` enlarged by `scale`: round(h * s), halves upwards, at least 1."""
    return (_enlarged(lq_size[0], scale[0]), _enlarged(lq_size[1], scale[1]))


def _enlarged(length: int, factor: float) -> int:
    return max(min(length, 1), math.floor(length * factor * (1 + ROUNDING) + 0.5))


def protocol_sizes(gt_size: Size, scale: Scale) -> tuple[Size, Size]:
    """Sizes of the LR image and of the GT crop when LR is made from GT for validation and testing.

    h = floor(H / s) and the crop is round(h * s), per axis: for whole factors the largest multiple of s, as the paper's
    protocol has it; for others the crop whose ratio to h is nearest to s.

    Returns:
        (h, w), (H, W): of LR and of the crop, which starts at the top-left corner. h or w is 0 where the image is
        smaller than s.
    """
    lq_size = (
        math.floor(gt_size[0] / scale[0] * (1 + ROUNDING)),
        math.floor(gt_size[1] / scale[1] * (1 + ROUNDING)),
    )
    return lq_size, enlarged_size(lq_size, scale)


def paired_gt_size(gt_size: Size, lq_size: Size, scale: Scale) -> Size | None:
    """The part of a GT image that its LR image shows, as a size (H, W) from the top-left corner.

    LR images come from GT cropped to round(h * s), while the GT files are often kept whole, with a surplus of less than
    s pixels: it is cut off. MATLAB's imresize(GT, 1 / s) rounds h up instead: GT then has up to s pixels less than h *
    s and is kept. A pixel more or less fits any factor, x1 too.

    Returns:
        The size, or None where the two sizes do not fit the scale.
    """
    sizes = []
    for gt_length, lq_length, factor in zip(gt_size, lq_size, scale):
        if abs(gt_length - lq_length * factor) >= max(factor, ONE_PIXEL):
            return None
        sizes.append(min(gt_length, _enlarged(lq_length, factor)))
    return (sizes[0], sizes[1])


def nominal_scale(pairs: Iterable[tuple[Size, Size]]) -> Scale | None:
    """The scale under which a set of (GT size, LR size) pairs is known: the roundest factor that all pairs fit.

    Ratios of sizes are seldom exact: 481 / 120 is x4 with an uncropped GT image. A whole factor may leave surplus
    pixels or lack some (see `paired_gt_size`), and x1 a pixel; others count where GT has round(h * s) pixels, with as
    few decimals as that takes. Only sets that no factor fits so are taken for uncropped images of a factor with one or
    two decimals. One factor for both axes is preferred. A set of LR images of less than about 40 pixels can be
    ambiguous: then its scale should be given.

    Returns:
        (rows, columns), or None where no factor of at least 1 fits all pairs.
    """
    pairs = list(pairs)
    rows, columns = ([(gt[axis], lq[axis]) for gt, lq in pairs] for axis in (0, 1))
    common = _nominal_factor(rows + columns)
    factors = (common, common) if common else (_nominal_factor(rows), _nominal_factor(columns))
    return None if factors[0] is None or factors[1] is None else (factors[0], factors[1])


def _nominal_factor(lengths: list[tuple[int, int]]) -> float | None:
    """The roundest factor that all (GT length, LR length) fit."""
    gt_length, lq_length = max(lengths)  # the longest determines its ratio best
    whole, tenths, hundredths, *finer = (round(gt_length / lq_length, decimals) for decimals in range(7))
    # (factor, most surplus GT pixels, most missing ones), both exclusive: in order of preference.
    attempts = [(whole, 1.0, 1.0), (whole, whole, 1.0), (tenths, *EXACT), (whole, 1.0, whole)]
    attempts += [(1.0, ONE_PIXEL, ONE_PIXEL), *((factor, *EXACT) for factor in (hundredths, *finer))]
    attempts += [(tenths, tenths, 1.0), (tenths, 1.0, tenths), (hundredths, hundredths, hundredths)]
    for factor, surplus, missing in attempts:
        if factor >= 1 and all(-missing < gt - lq * factor < surplus for gt, lq in lengths):
            return float(factor)
    return None


def scales_per_image(scale: ScaleLike, batch: int) -> list[Scale]:
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


def output_sizes(lq_size: Size, batch: int, scale: ScaleLike | None, size: SizesLike | None) -> list[Size]:
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
        return [enlarged_size(lq_size, pair) for pair in scales_per_image(scale, batch)]
    assert size is not None
    given: Any = size.tolist() if hasattr(size, 'tolist') else size
    sizes: list[Any] = [given] * batch if is_pair(given) else list(given)
    if len(sizes) != batch or not all(
        is_pair(pair) and all(isinstance(n, int) and n > 0 for n in pair) for pair in sizes
    ):
        raise ValueError(f'size must be (H, W), positive integers, or {batch} such pairs (one per image); got {size}')
    return [(int(H), int(W)) for H, W in sizes]


def output_grids(
    lq_size: Size, batch: int, scale: ScaleLike | None, size: SizesLike | None, offset: OffsetsLike | None
) -> list[Grid]:
    """Where the output pixels of each image lie.

    Without an offset output and LR image show the same, and one of scale and size is given: see `output_sizes`. With
    one, both are.

    Args:
        lq_size: (h, w).
        batch: B.
        scale: see `scales_per_image`.
        size: (H, W) for all images, or B pairs.
        offset: (y, x) for all images, or B pairs, in LR pixels; see `Grid`.

    Raises:
        ValueError: as above, or a wrong number or form of one of them.
    """
    if offset is None:
        h, w = lq_size
        return [Grid((H, W), (H / h, W / w)) for H, W in output_sizes(lq_size, batch, scale, size)]
    if scale is None or size is None:
        raise ValueError(f'an offset needs both scale and size, got scale={scale} and size={size}')
    given: Any = offset.tolist() if hasattr(offset, 'tolist') else offset
    offsets: Any = [given] * batch if is_pair(given) else given
    if (
        not isinstance(offsets, Sequence)
        or len(offsets) != batch
        or not all(
            is_pair(pair) and all(isinstance(n, int | float) and math.isfinite(n) for n in pair) for pair in offsets
        )
    ):
        raise ValueError(f'offset must be (rows, columns) in LR pixels, or {batch} such pairs, got {offset}')
    sizes, scales = output_sizes(lq_size, batch, None, size), scales_per_image(scale, batch)
    return [Grid(*grid) for grid in zip(sizes, scales, ((float(y), float(x)) for y, x in offsets), strict=True)]


def is_pair(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether this is one (rows, columns) or (H, W) pair, and not a list of pairs."""
    return isinstance(value, Sequence) and len(value) == 2 and not any(isinstance(v, Sequence) for v in value)
