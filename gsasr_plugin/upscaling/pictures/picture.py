"""A picture in memory."""

from dataclasses import dataclass, field

import numpy as np

from gsasr_plugin.upscaling.pictures.metadata import Metadata

Pixels = tuple[np.ndarray, np.ndarray | None]  # colour (H, W, 1 or 3) and alpha (H, W), as in a picture

# For messages about files that hold other numbers.
ACCEPTED = 'accepted are 8 and 16 bits per channel, without sign'
DAMAGED = 'is damaged: its data make no sense'


class PictureError(ValueError):
    """A file that cannot be read as a picture, or a picture that a format cannot hold; the message says why."""


@dataclass(frozen=True)
class Picture:
    """Pixels, and what their file said of them.

    Attributes:
        color: (H, W, 3) RGB or (H, W, 1) grey, float32, 0..1 (beyond it is cut off when written), in the colour space
            of the ICC profile, upright.
        alpha: (H, W), float32, 0 (transparent) to 1, not multiplied into `color`; None where the picture has none.
        bits: per channel, 8 or 16.
        format: a name of `FORMATS`.
        lossless: whether its file lost nothing where others of the format do (WebP).
        remarks: what could not be kept as it was.
    """

    color: np.ndarray
    alpha: np.ndarray | None = None
    bits: int = 8
    format: str = 'PNG'
    metadata: Metadata = field(default_factory=Metadata)
    remarks: tuple[str, ...] = ()
    lossless: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.color.shape[0], self.color.shape[1]
