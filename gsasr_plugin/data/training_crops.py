"""Random training samples of a GT image: scale, crop, flips and LR patch (paper, Section 4.1)."""

import math
from functools import cached_property
from typing import NamedTuple

import numpy as np

from gsasr_plugin.data.arbitrary_scale_paired_options import ArbitraryScalePairedDatasetOptions
from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.data.crop_place import CropPlace
from gsasr_plugin.data.degradation.options import DegradationOptions
from gsasr_plugin.data.degradation.process import Degradation
from gsasr_plugin.data.degradation.samples import degraded_patch
from gsasr_plugin.data.eight_bit import to_float
from gsasr_plugin.data.pairs import Pair
from gsasr_plugin.sizes import Scale, Size, as_scale, enlarged_size

PAPERS_RANGE = (1.0, 4.0)  # of factors
# GT pixels by which rounding may miss an edge that they share with LR pixels.
SHARED_EDGE = 1e-6


class PairPlace(NamedTuple):
    """Where a training sample of a pair lies, both patches being turned alike.

    Attributes:
        scale: GT pixels per LR pixel, of the patches as they are turned: rows, columns.
        offset: where the GT patch begins, in LR pixels from the LR patch's edge: rows, columns.
    """

    gt: CropPlace
    lq: CropPlace
    scale: Scale
    offset: tuple[float, float]


class TrainingCrops:
    """Draws samples as the section of an option file says; see `ArbitraryScalePairedDatasetOptions`."""

    def __init__(self, options: ArbitraryScalePairedDatasetOptions) -> None:
        self.options = options
        self.lq_size = options.lq_size
        lowest, highest = options.scale_range or PAPERS_RANGE
        self.scale_range = (lowest, highest)
        self.degradation = None
        if options.degradation is not None:
            self.degradation = Degradation(DegradationOptions.of(options.degradation))
        self.scales = None if options.scales is None else [as_scale(scale) for scale in options.scales]

    @cached_property
    def largest(self) -> Size:
        """Size (H, W) that a GT image must have for every scale that can be drawn, in GT pixels."""
        sizes = [self._crop_size(scale) for scale in self.scales or [(self.scale_range[1], self.scale_range[1])]]
        return (max(height for height, _ in sizes), max(width for _, width in sizes))

    def place(self, rng: np.random.Generator, image_size: Size) -> CropPlace:
        """Draws a crop and flips.

        The numbers are drawn in the same order whatever the options are, so that turning flips on or off keeps scales
        and crops.

        Args:
            image_size: (H, W), at least as large as `largest` says.

        Returns:
            A place of round(lq_size * s) pixels along each axis, halves upwards; where the factors are unequal they
            belong to the rows and columns before the crop is transposed.
        """
        height, width = self._crop_size(self._draw_scale(rng))
        top = int(rng.integers(image_size[0] - height + 1))
        left = int(rng.integers(image_size[1] - width + 1))
        return CropPlace(top, left, height, width, *self._flips(rng))

    def pair(self, rng: np.random.Generator, image: np.ndarray, place: CropPlace) -> tuple[np.ndarray, np.ndarray]:
        """The GT patch at a place, and its LR patch: degraded, or its bicubic reduction.

        Args:
            rng: draws what the degradation needs.
            image: (H, W, 3), uint8 or uint16, RGB.

        Returns:
            GT, (H, W, 3) as the place says, and LR (lq_size, lq_size, 3), float32. GT is in 0..1, and so is a degraded
            LR; a bicubic reduction overshoots a little at sharp edges.
        """
        if self.degradation is not None:
            return degraded_patch(self.degradation, rng, image, place, self.lq_size)
        gt = to_float(place.cut(image))
        return gt, resize_bicubic(gt, (self.lq_size, self.lq_size))

    def place_pair(self, rng: np.random.Generator, pair: Pair) -> PairPlace:
        """Draws an LR patch, and flips, of a pair.

        Returns:
            The LR patch, and the whole GT pixels within it: where they begin is the rest that makes the offset.
        """
        self._draw_scale(rng)  # as for images whose LR is made, so that the same numbers are drawn
        n = self.lq_size
        top, left = (int(rng.integers(length - n + 1)) for length in pair.lq_size)
        flips = self._flips(rng)
        rows, columns = (
            _within(start, n, factor, length) for start, factor, length in zip((top, left), pair.scale, pair.gt_size)
        )
        lq, gt = CropPlace(top, left, n, n, *flips), CropPlace(rows[0], columns[0], rows[1], columns[1], *flips)
        # From the edge that is the first when the patch has been turned.
        offset = [
            start + n - (first + count) / factor if flipped else first / factor - start
            for start, (first, count), factor, flipped in zip(
                (top, left), (rows, columns), pair.scale, (gt.flip_y, gt.flip_x)
            )
        ]
        turn = -1 if gt.transpose else 1
        (y, x), (by_row, by_column) = offset[::turn], pair.scale[::turn]
        return PairPlace(gt, lq, (by_row, by_column), (y, x))

    def _flips(self, rng: np.random.Generator) -> tuple[bool, bool, bool]:
        """Left to right, upside down, and transposed."""
        flip_x, flip_y, transpose = (bool(drawn) for drawn in rng.random(3) < 0.5)
        use_hflip, use_rot = self.options.use_hflip, self.options.use_rot
        return flip_x and use_hflip, flip_y and use_rot, transpose and use_rot

    def _draw_scale(self, rng: np.random.Generator) -> Scale:
        rows, columns = (float(factor) for factor in rng.uniform(*self.scale_range, size=2))
        choice = rng.random()
        if self.scales is not None:
            return self.scales[int(choice * len(self.scales))]
        return (rows, columns if self.options.unequal_scales else rows)

    def _crop_size(self, scale: Scale) -> Size:
        return enlarged_size((self.lq_size, self.lq_size), scale)


def _within(start: int, count: int, factor: float, length: int) -> tuple[int, int]:
    """The whole GT pixels that lie within LR pixels of an axis: the first of them, and how many there are.

    Args:
        start, count: the LR pixels.
        factor: GT pixels per LR pixel.
        length: GT pixels of the axis.
    """
    first = math.ceil(start * factor - SHARED_EDGE)
    end = min(math.floor((start + count) * factor + SHARED_EDGE), length)
    return first, end - first
