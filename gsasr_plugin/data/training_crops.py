"""Random training samples of a GT image: scale, crop, flips and LR patch (paper, Section 4.1)."""

from functools import cached_property

import cv2
import numpy as np

from gsasr_plugin.data.arbitrary_scale_paired_options import ArbitraryScalePairedDatasetOptions
from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.sizes import Scale, Size, as_scale, enlarged_size

PAPERS_RANGE = (1.0, 4.0)  # of factors


class TrainingCrops:
    """Draws samples as the section of an option file says; see `ArbitraryScalePairedDatasetOptions`."""

    def __init__(self, options: ArbitraryScalePairedDatasetOptions) -> None:
        self.options = options
        self.lq_size = options.lq_size
        lowest, highest = options.scale_range or PAPERS_RANGE
        self.scale_range = (lowest, highest)
        self.scales = None if options.scales is None else [as_scale(scale) for scale in options.scales]

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
        if self.options.use_hflip and flip_x:
            crop = cv2.flip(crop, 1)
        if self.options.use_rot and flip_y:
            crop = cv2.flip(crop, 0)
        if self.options.use_rot and transpose:
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
        return (rows, columns if self.options.unequal_scales else rows)

    def _crop_size(self, scale: Scale) -> Size:
        return enlarged_size((self.lq_size, self.lq_size), scale)
