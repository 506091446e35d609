"""What the LR image itself gives to an image drawn of Gaussians, as a record that completes the drawing.

Letters: B images, h x w LR size, H x W output size.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gsasr_plugin.archs.consistency import BLOCK, consistent, drawn_on, levelled, whole
from gsasr_plugin.precision import each_within, exact
from gsasr_plugin.sizes import Grid, Size

# Large images are completed in bands of about so many pixels; smaller ones in one. Whoever draws only parts of an image
# draws these: products of matrices have other last bits in bands of another height.
BAND_PIXELS = 1 << 22


def band_rows(width: int) -> int:
    """The height of a band."""
    return max(1, BAND_PIXELS // width // BLOCK) * BLOCK


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
        completed = list(self.bands((drawn,), (drawn.shape[2], drawn.shape[3]), grid))
        return completed[0] if len(completed) == 1 else torch.cat(completed, 2)

    def bands(self, drawn: Iterable[Tensor], size: Size, grid: Grid | None = None) -> Iterator[Tensor]:
        """Completes drawings whose bands of rows come one after another.

        Args:
            drawn: (B, 3, rows, W), from the top, each of `band_rows` but the last; or all rows at once.
            size: (H, W).
            grid: as above.

        Returns:
            Bands of other heights, none higher than `band_rows`, but that images which wrap come in one.
        """
        rows = band_rows(size[1])
        if self.wraps and self.consistency:  # the first rows need the last
            drawn, rows = (torch.cat(list(drawn), 2),), size[0]
        bands = _cut(drawn, rows)
        first = next(bands)
        lq = self.lq.to(first)
        bands = itertools.chain((first,), bands)
        if self.bicubic_skip:
            bands = _on_enlarged(bands, lq, grid or whole((lq.shape[2], lq.shape[3]), size), self.wraps)
        for step in range(self.consistency):
            bands = consistent(bands, lq, size, wraps=self.wraps)
            if self.level or step + 1 < self.consistency:
                # As it will be where it is shown: what clipping takes is given back elsewhere. In their own memory.
                bands = (band.clamp_(0, 1) for band in bands)
            bands = _cut(bands, rows)
        if self.consistency and self.level:
            bands = _cut(levelled(bands, lq, size, wraps=self.wraps), rows)
        return each_within(lambda: exact(lq.device), bands)

    def crop(self, rows: slice, columns: slice) -> Completion:
        """That of a part of the LR images; near the part's borders it lacks what lies beyond."""
        return dataclasses.replace(self, lq=self.lq[..., rows, columns])

    def of(self, index: int) -> Completion:
        """That of one of the images, (1, 3, h, w)."""
        return dataclasses.replace(self, lq=self.lq[index : index + 1])


def _on_enlarged(bands: Iterable[Tensor], lq: Tensor, grid: Grid, wraps: bool) -> Iterator[Tensor]:
    """The drawings, added to the LR images, enlarged."""
    (y, x), (_, W) = grid.offset, grid.size
    for band in bands:
        rows = band.shape[2]
        yield drawn_on(lq, Grid((rows, W), grid.scale, (y, x)), wraps=wraps).add_(band)
        y += rows / grid.scale[0]


def _cut(bands: Iterable[Tensor], rows: int) -> Iterator[Tensor]:
    """Bands of so many rows at most."""
    for band in bands:
        yield from band.split(rows, 2) if band.shape[2] > rows else (band,)
