"""Random training samples of a GT image: scale, crop, flips and LR patch (paper, Section 4.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from gsasr_plugin.data.arbitrary_scale_paired_options import ArbitraryScalePairedDatasetOptions
from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.sizes import Scale, Size, as_scale, enlarged_size

PAPERS_RANGE = (1.0, 4.0)  # of factors


@dataclass(frozen=True, kw_only=True)
class TrainingCrops:
    """Draws samples of `lq_size` x `lq_size` LR pixels.

    Attributes:
        lq_size: side of the LR patch, LR pixels.
        scale_range: (lowest, highest) factor s, drawn uniformly; used when `scales` is None.
        scales: scales to choose from, or None.
        unequal_scales: draw the factors of rows and columns independently from `scale_range`.
        use_hflip: flip left-right in half of the samples.
        use_rot: flip upside down in half of the samples and transpose in half of them.
    """

    lq_size: int
    scale_range: tuple[float, float]
    scales: Sequence[Scale] | None
    unequal_scales: bool
    use_hflip: bool
    use_rot: bool

    @classmethod
    def from_options(cls, options: ArbitraryScalePairedDatasetOptions) -> 'TrainingCrops':
        """As the section of an option file says."""
        low, high = options.scale_range or PAPERS_RANGE
        return cls(
            lq_size=options.lq_size,
            scale_range=(float(low), float(high)),
            scales=None if options.scales is None else [as_scale(scale) for scale in options.scales],
            unequal_scales=options.unequal_scales,
            use_hflip=options.use_hflip,
            use_rot=options.use_rot,
        )

    @cached_property
    def largest(self) -> Size:
        """Size (H, W) that a GT image must have for every scale that can be drawn, in GT pixels."""
        sizes = [self._crop_size(scale) for scale in self.scales or [(self.scale_range[1], self.scale_range[1])]]
        return (max(height for height, _ in sizes), max(width for _, width in sizes))

    def draw(self, rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
        """Crop and flip a GT image at random.

        The numbers are drawn in the same order whatever the options are, so that turning flips on or off keeps scales
        and crops.

        Args:
            image: (H, W, 3), at least as large as `largest` says.

        Returns:
            The GT crop, a copy, of round(lq_size * s) pixels along each axis, halves upwards; where the
            factors are unequal they belong to the rows and columns before the crop is transposed.
        """
        height, width = self._crop_size(self._draw_scale(rng))
        top = int(rng.integers(image.shape[0] - height + 1))
        left = int(rng.integers(image.shape[1] - width + 1))
        flip_x, flip_y, transpose = rng.random(3) < 0.5
        crop = np.ascontiguousarray(image[top : top + height, left : left + width])  # (H, W, 3)
        # Several times as fast as NumPy's, which goes through reversed views number by number.
        if self.use_hflip and flip_x:
            crop = cv2.flip(crop, 1)
        if self.use_rot and flip_y:
            crop = cv2.flip(crop, 0)
        if self.use_rot and transpose:
            crop = cv2.transpose(crop)
        return crop

    def make_lq(self, crop: np.ndarray) -> tuple[np.ndarray, Scale]:
        """The LR patch of a GT crop, and the scale as it has become: crop / lq_size.

        Args:
            crop: (H, W, 3), float, 0..1.

        Returns:
            LR (lq_size, lq_size, 3), which overshoots 0..1 a little at sharp edges, and (rows, columns).
        """
        scale = (crop.shape[0] / self.lq_size, crop.shape[1] / self.lq_size)
        return resize_bicubic(crop, (self.lq_size, self.lq_size)), scale

    def _draw_scale(self, rng: np.random.Generator) -> Scale:
        rows, columns = (float(factor) for factor in rng.uniform(*self.scale_range, size=2))
        choice = rng.random()
        if self.scales is not None:
            return self.scales[int(choice * len(self.scales))]
        return (rows, columns if self.unequal_scales else rows)

    def _crop_size(self, scale: Scale) -> Size:
        return enlarged_size((self.lq_size, self.lq_size), scale)
