"""Where a training sample lies in its GT image, and how it is turned."""

from typing import NamedTuple

import cv2
import numpy as np

from gsasr_plugin.sizes import Size

Margins = tuple[tuple[int, int], tuple[int, int]]  # pixels above and below, left and right
NO_MARGINS: Margins = ((0, 0), (0, 0))


class CropPlace(NamedTuple):
    """A part of a GT image, by its top-left corner and its size, which is flipped and then transposed."""

    top: int
    left: int
    height: int
    width: int
    flip_x: bool
    flip_y: bool
    transpose: bool

    @property
    def size(self) -> Size:
        """(H, W) of what is cut out."""
        return (self.width, self.height) if self.transpose else (self.height, self.width)

    def cut(self, image: np.ndarray, margins: Margins = NO_MARGINS) -> np.ndarray:
        """The part, a copy, C-contiguous.

        Args:
            image: (H, W, 3), uint8 or uint16.
            margins: pixels around the part, as it is turned, that come with it; beyond the image it is mirrored.
        """
        rows, columns = margins[::-1] if self.transpose else margins
        (above, below), (before, after) = rows[:: -1 if self.flip_y else 1], columns[:: -1 if self.flip_x else 1]
        top, bottom = self.top - above, self.top + self.height + below
        left, right = self.left - before, self.left + self.width + after
        height, width = image.shape[:2]
        part = np.ascontiguousarray(image[max(top, 0) : bottom, max(left, 0) : right])  # (H, W, 3)
        beyond = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
        if any(beyond):
            part = cv2.copyMakeBorder(part, *beyond, cv2.BORDER_REFLECT_101)
        # Several times as fast as NumPy's, which goes through reversed views number by number.
        if self.flip_x:
            part = cv2.flip(part, 1)
        if self.flip_y:
            part = cv2.flip(part, 0)
        return cv2.transpose(part) if self.transpose else part
