"""Consistency with the LR image: what an enlarged image lacks of it is given back.

Back-projection gives back what the network has lost, and levelling what clipping to 0..1 takes: isolated white pixels
on black, enlarged, are a seventh too bright without their negative surroundings, twice that after back-projection.

Images come in bands of rows, from the top: each step gives the rows that those so far determine. So it takes the memory
of some bands, and where all rows come at once, there is one band.

Letters: B images, C channels, h x w LR size, H x W output size.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gsasr_plugin.archs.transfer import to_device
from gsasr_plugin.bicubic_weights import axis_taps
from gsasr_plugin.sizes import Grid, Size

# Output pixels of an axis that one matrix product makes: few of their matrix's numbers are then zeros.
BLOCK = 64
# On other devices than CPUs, where zeros cost less than starting a product.
BLOCK_GPU = 256
# A quarter of an 8-bit level: in what is darker than that there is nothing to darken.
LEAST_ROOM = 1e-3


def consistent(bands: Iterable[Tensor], lq: Tensor, size: Size, *, wraps: bool = False) -> Iterator[Tensor]:
    """Adds the enlarged difference between the LR image and the reduced image.

    Enlarged and reduced by MATLAB's bicubic, with which LR images are made (Sec. 4.1).

    Args:
        bands: the rows of the image (B, C, H, W), 0..1, from the top, as many at a time as one likes.
        lq: (B, C, h, w), 0..1.
        size: (H, W).
        wraps: see `Resizer`; all rows have to come at once then.

    Returns:
        The rows of the result, other bands of them, not clipped.
    """
    lq_size = (lq.shape[-2], lq.shape[-1])
    reduced = Resizer(size, whole(size, lq_size), wraps=wraps)
    enlarged = Resizer(lq_size, whole(lq_size, size), wraps=wraps)
    waiting, seen = None, 0
    for band in bands:
        waiting = _joined(waiting, band)
        small = reduced(band)
        lack = lq[..., seen : seen + small.shape[-2], :] - small
        seen += small.shape[-2]
        large = enlarged(lack)
        known = large.shape[-2]
        if known:
            yield large.add_(waiting[..., :known, :])
        waiting = waiting[..., known:, :]


def levelled(bands: Iterable[Tensor], lq: Tensor, size: Size, *, wraps: bool = False) -> Iterator[Tensor]:
    """Gives back the brightness that clipping to 0..1 has taken, where it took any.

    Where the image, reduced, is brighter than the LR image in the mean of a neighbourhood, it is darkened in proportion
    to its values, and where it is darker, lightened in proportion to what they lack of 1. Each neighbourhood's surplus
    is taken off with the weights with which it was found, so that all of it is taken off wherever the values stand.

    Args:
        bands, lq, size, wraps: as for `consistent`; the bands have been clipped.

    Returns:
        The rows of the result, 0..1.
    """
    h, w = lq.shape[-2:]
    reduced = Resizer(size, whole(size, (h, w)), wraps=wraps)
    mean_of_lq, mean_of_image = _LocalMean(h, wraps), _LocalMean(h, wraps)
    spread = [(_LocalMean(h, wraps), Resizer((h, w), whole((h, w), size), wraps=wraps)) for _ in range(2)]
    waiting, seen = None, 0
    for band in bands:
        waiting = _joined(waiting, band)
        small = reduced(band)
        mean = mean_of_image(small)
        lack = mean_of_lq(lq[..., seen : seen + small.shape[-2], :]) - mean
        seen += small.shape[-2]
        lighter, darker = (
            enlarged(mean_of((part / room.clamp(min=LEAST_ROOM)).clamp(0, 1))).clamp_(0, 1)
            for (mean_of, enlarged), part, room in zip(spread, (lack, -lack), (1 - mean, mean))
        )
        known = lighter.shape[-2]
        if known:
            kept = (1 - lighter).sub_(darker)
            yield lighter.addcmul_(waiting[..., :known, :], kept).clamp_(0, 1)
        waiting = waiting[..., known:, :]


class _LocalMean:
    """Over 3 x 3 pixels, weighted 1 2 1 along each axis, which removes the negative weights of the bicubic.

    Takes the rows of an image some at a time, and gives those of the result that they determine.
    """

    def __init__(self, height: int, wraps: bool) -> None:
        self.missing = height
        self.mode = 'circular' if wraps else 'replicate'
        self.kept: Tensor | None = None

    def __call__(self, rows: Tensor) -> Tensor:
        if not rows.shape[-2]:
            return rows
        self.missing -= rows.shape[-2]
        rows = F.pad(rows, (1, 1, int(self.kept is None), int(self.missing == 0)), mode=self.mode)
        rows = _joined(self.kept, rows)
        self.kept = rows[..., -2:, :]
        if rows.shape[-2] < 3:
            return rows[..., :0, 1:-1]
        return F.avg_pool2d(F.avg_pool2d(rows, 2, stride=1), 2, stride=1)


def whole(in_size: Size, size: Size) -> Grid:
    """The pixels of an image of `size` that shows what an image of `in_size` shows."""
    return Grid(size, (size[0] / in_size[0], size[1] / in_size[1]))


def resized(image: Tensor, size: Size, *, wraps: bool = False) -> Tensor:
    """Resizes (B, C, h, w) to (B, C, H, W) as `gsasr_plugin.data.bicubic.resize_bicubic` does, differentiably."""
    return drawn_on(image, whole((image.shape[-2], image.shape[-1]), size), wraps=wraps)


def drawn_on(image: Tensor, grid: Grid, *, wraps: bool = False) -> Tensor:
    """Resizes (B, C, h, w) to the pixels of a grid, (B, C, H, W). For `wraps` see `Resizer`."""
    return Resizer((image.shape[-2], image.shape[-1]), grid, wraps=wraps)(image)


class Resizer:
    """Resizes an image that comes some rows at a time, and gives those of the result that they determine.

    Args:
        in_size: (h, w) of the image.
        grid: the pixels of the result.
        wraps: whether the image goes on at its opposite border, for which all rows have to come at once; else it is
            continued mirrored.
    """

    def __init__(self, in_size: Size, grid: Grid, *, wraps: bool = False) -> None:
        (h, w), (H, W) = in_size, grid.size
        self.rows = (h, H, grid.scale[0], grid.offset[0], wraps)
        self.columns = (W, grid.scale[1], grid.offset[1], wraps)
        # The axis that shrinks most goes first, the one that grows most last.
        self.rows_first = H * w <= W * h
        self.blocks: deque[tuple[int, Tensor]] | None = None
        self.kept: Tensor | None = None
        self.first = 0  # row of the image, of what is kept

    def __call__(self, rows: Tensor) -> Tensor:
        """(B, C, some rows, w) -> (B, C, some rows or none, W)."""
        if self.blocks is None:
            self.blocks = deque(_blocks(*self.rows, rows.dtype, rows.device))
        if not self.rows_first:
            rows = _along_columns(rows, *self.columns)
        rows = _joined(self.kept, rows)
        end = self.first + rows.shape[-2]
        parts = []
        while self.blocks and self.blocks[0][0] + self.blocks[0][1].shape[1] <= end:
            first, weights = self.blocks.popleft()
            first -= self.first
            parts.append(weights @ rows[..., first : first + weights.shape[1], :])
        needed = min((first for first, _ in self.blocks), default=end)
        self.kept = rows[..., needed - self.first :, :].clone()  # and not all of the memory beside it
        self.first = needed
        made = _joined(*parts) if parts else rows[..., :0, :]
        return _along_columns(made, *self.columns) if self.rows_first else made


def _joined(*parts: Tensor | None) -> Tensor:
    """Rows above one another."""
    given = [part for part in parts if part is not None]
    filled = [part for part in given if part.shape[-2]] or given[:1]
    return filled[0] if len(filled) == 1 else torch.cat(filled, -2)


def _along_columns(image: Tensor, length: int, ratio: float, start: float, wraps: bool) -> Tensor:
    blocks = _blocks(image.shape[-1], length, ratio, start, wraps, image.dtype, image.device)
    parts = [image[..., first : first + weights.shape[1]] @ weights.t() for first, weights in blocks]
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


# Small ones in training, of 145 sizes; of both axes of a photograph, both ways, 2 MB.
@functools.lru_cache(maxsize=512)
def _blocks(
    in_length: int,
    out_length: int,
    ratio: float,
    start: float,
    wraps: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> list[tuple[int, Tensor]]:
    """The resampling of an axis as the matrices of some output pixels each: (first input pixel, weights)."""
    pixels, weights = axis_taps(in_length, out_length, ratio, 'float64', start, wraps=wraps)
    block = BLOCK if device.type == 'cpu' else BLOCK_GPU
    # Of an axis that shrinks, as many output pixels as a block of input pixels makes.
    count = max(8, min(block, block * out_length // in_length))
    blocks = []
    for number in range(0, out_length, count):
        here = slice(number, number + count)
        rows, taps = weights[here].nonzero()
        used = pixels[here][rows, taps]
        first = int(used.min())
        matrix = np.zeros((len(pixels[here]), int(used.max()) - first + 1))
        np.add.at(matrix, (rows, used - first), weights[here][rows, taps])
        with torch.inference_mode(False):  # training may use what an evaluation has made
            blocks.append((first, to_device(torch.from_numpy(matrix), device, dtype)))
    return blocks
