"""What the LR image itself gives to an image drawn of Gaussians, as a record that completes the drawing.

Letters: B images, h x w LR size, H x W output size.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from torch import Tensor

from gsasr_plugin.archs.consistency import consistent, drawn_on, levelled, resized
from gsasr_plugin.precision import exact
from gsasr_plugin.sizes import Grid


@dataclass(frozen=True)
class Completion:
    """How the sum of the Gaussians becomes the image; all of it in the dtype of the sum, under autocast too.

    Attributes:
        lq: the LR images, (B, 3, h, w), RGB in 0..1.
        bicubic_skip, consistency: see `GSASR`.
        level: with `consistency`, end within 0..1, without a loss of brightness. Not in training, where the loss pulls
            back what is beyond 0..1.
        wraps: whether images go on at their opposite borders, as textures do that repeat.
    """

    lq: Tensor
    bicubic_skip: bool
    consistency: int
    level: bool
    wraps: bool = False

    def __call__(self, drawn: Tensor, grid: Grid | None = None) -> Tensor:
        """Completes the drawings of the B images, (B, 3, H, W).

        Args:
            grid: their pixels; None where they show the same as the LR images, as with `consistency` they have to.
        """
        with exact(drawn.device):
            lq = self.lq.to(drawn)
            image = drawn
            if self.bicubic_skip:
                size = (drawn.shape[2], drawn.shape[3])
                enlarged = resized(lq, size, wraps=self.wraps) if grid is None else drawn_on(lq, grid, wraps=self.wraps)
                image = drawn + enlarged
            if self.consistency:
                image = consistent(image, lq, self.consistency, wraps=self.wraps)
            return levelled(image, lq, wraps=self.wraps) if self.consistency and self.level else image

    def crop(self, rows: slice, columns: slice) -> Completion:
        """That of a part of the LR images; near the part's borders it lacks what lies beyond."""
        return dataclasses.replace(self, lq=self.lq[..., rows, columns])

    def of(self, index: int) -> Completion:
        """That of one of the images, (1, 3, h, w)."""
        return dataclasses.replace(self, lq=self.lq[index : index + 1])
