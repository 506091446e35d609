"""What the LR image itself gives to an image drawn of Gaussians, as a record that completes the drawing.

Letters: B images, h x w LR size, H x W output size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gsasr_plugin.archs.consistency import consistent, resized


@dataclass(frozen=True)
class Completion:
    """How the sum of the Gaussians becomes the image; all of it in the dtype of the sum, under autocast too.

    Attributes:
        lq: the LR images, (B, 3, h, w), RGB in 0..1.
        bicubic_skip, consistency: see `GSASR`.
    """

    lq: Tensor
    bicubic_skip: bool
    consistency: int

    def __call__(self, drawn: Tensor) -> Tensor:
        """Completes the drawings of the B images, (B, 3, H, W); nothing is clipped to 0..1."""
        with torch.autocast(drawn.device.type, enabled=False):  # these are the picture: half precision would show
            lq = self.lq.to(drawn)
            image = drawn + resized(lq, (drawn.shape[2], drawn.shape[3])) if self.bicubic_skip else drawn
            return consistent(image, lq, self.consistency) if self.consistency else image

    def of(self, index: int) -> Completion:
        """That of one of the images, (1, 3, h, w)."""
        return Completion(self.lq[index : index + 1], self.bicubic_skip, self.consistency)
