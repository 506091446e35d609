"""Consistency with the LR image: what an enlarged image lacks of it is given back.

Back-projection gives back what the network has lost, and levelling what clipping to 0..1 takes: isolated white pixels
on black, enlarged, are a seventh too bright without their negative surroundings, twice that after back-projection.

Letters: B images, C channels, h x w LR size, H x W output size.
"""

from __future__ import annotations

import functools

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


def consistent(image: Tensor, lq: Tensor, steps: int, *, wraps: bool = False) -> Tensor:
    """Adds the enlarged difference between the LR image and the reduced image, `steps` times.

    Enlarged and reduced by MATLAB's bicubic, with which LR images are made (Sec. 4.1). Before each step but the first
    the image is clipped to 0..1, as it will be where it is shown: what clipping takes is given back elsewhere.

    Args:
        image: (B, C, H, W), 0..1.
        lq: (B, C, h, w), 0..1.
        steps: at least 1.
        wraps: see `drawn_on`.

    Returns:
        (B, C, H, W), not clipped.
    """
    lq_size, size = (lq.shape[-2], lq.shape[-1]), (image.shape[-2], image.shape[-1])
    for step in range(steps):
        if step:
            image = image.clamp(0, 1)
        image = image + resized(lq - resized(image, lq_size, wraps=wraps), size, wraps=wraps)
    return image


def levelled(image: Tensor, lq: Tensor, *, wraps: bool = False) -> Tensor:
    """Clips to 0..1 and gives back the brightness that clipping takes, where it takes any.

    Where the image, reduced, is brighter than the LR image in the mean of a neighbourhood, it is darkened in proportion
    to its values, and where it is darker, lightened in proportion to what they lack of 1. Each neighbourhood's surplus
    is taken off with the weights with which it was found, so that all of it is taken off wherever the values stand.

    Args:
        image: (B, C, H, W).
        lq: (B, C, h, w), 0..1.
        wraps: see `drawn_on`.

    Returns:
        (B, C, H, W), 0..1.
    """
    lq_size, size = (lq.shape[-2], lq.shape[-1]), (image.shape[-2], image.shape[-1])
    image = image.clamp(0, 1)
    mean = _local_mean(resized(image, lq_size, wraps=wraps), wraps)
    lack = _local_mean(lq, wraps) - mean
    lighter, darker = (
        resized(_local_mean((part / room.clamp(min=LEAST_ROOM)).clamp(0, 1), wraps), size, wraps=wraps).clamp(0, 1)
        for part, room in ((lack, 1 - mean), (-lack, mean))
    )
    return torch.addcmul(lighter, image, 1 - lighter - darker).clamp(0, 1)


def _local_mean(image: Tensor, wraps: bool) -> Tensor:
    """Over 3 x 3 pixels, weighted 1 2 1 along each axis, which removes the negative weights of the bicubic."""
    image = F.pad(image, (1, 1, 1, 1), mode='circular' if wraps else 'replicate')
    return F.avg_pool2d(F.avg_pool2d(image, 2, stride=1), 2, stride=1)


def resized(image: Tensor, size: Size, *, wraps: bool = False) -> Tensor:
    """Resizes (B, C, h, w) to (B, C, H, W) as `gsasr_plugin.data.bicubic.resize_bicubic` does, differentiably."""
    h, w = image.shape[-2:]
    return drawn_on(image, Grid(size, (size[0] / h, size[1] / w)), wraps=wraps)


def drawn_on(image: Tensor, grid: Grid, *, wraps: bool = False) -> Tensor:
    """Resizes (B, C, h, w) to the pixels of a grid, (B, C, H, W).

    Args:
        wraps: whether the image goes on at its opposite border; else it is continued mirrored.
    """
    # The axis that shrinks most goes first, the one that grows most last.
    h, w = image.shape[-2:]
    (H, W), scale, offset = grid
    rows, columns = (H, scale[0], offset[0], wraps), (W, scale[1], offset[1], wraps)
    if H * w <= W * h:
        return _along_columns(_along_rows(image, *rows), *columns)
    return _along_rows(_along_columns(image, *columns), *rows)


def _along_rows(image: Tensor, length: int, ratio: float, start: float, wraps: bool) -> Tensor:
    blocks = _blocks(image.shape[-2], length, ratio, start, wraps, image.dtype, image.device)
    parts = [weights @ image[..., first : first + weights.shape[1], :] for first, weights in blocks]
    return parts[0] if len(parts) == 1 else torch.cat(parts, -2)


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
