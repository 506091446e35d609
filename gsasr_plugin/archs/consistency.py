"""Consistency with the LR image: what an enlarged image lacks of it is given back (iterative back-projection).

Letters: B images, C channels, h x w LR size, H x W output size.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from gsasr_plugin.bicubic_weights import axis_taps
from gsasr_plugin.sizes import Size

# Output pixels of an axis that one matrix product makes: few of their matrix's numbers are then zeros.
BLOCK = 64


def consistent(image: Tensor, lq: Tensor, steps: int) -> Tensor:
    """Adds the enlarged difference between the LR image and the reduced image, `steps` times.

    Enlarged and reduced by MATLAB's bicubic, with which LR images are made (Sec. 4.1). Before each step but the first
    the image is clipped to 0..1, as it will be where it is shown: what clipping takes is given back elsewhere.

    Args:
        image: (B, C, H, W), 0..1.
        lq: (B, C, h, w), 0..1.
        steps: at least 1.

    Returns:
        (B, C, H, W), not clipped.
    """
    lq_size, size = (lq.shape[-2], lq.shape[-1]), (image.shape[-2], image.shape[-1])
    for step in range(steps):
        if step:
            image = image.clamp(0, 1)
        image = image + resized(lq - resized(image, lq_size), size)
    return image


def resized(image: Tensor, size: Size) -> Tensor:
    """Resizes (B, C, h, w) to (B, C, H, W) as `gsasr_plugin.data.bicubic.resize_bicubic` does, differentiably."""
    # The axis that shrinks most goes first, the one that grows most last.
    h, w = image.shape[-2:]
    H, W = size
    if H * w <= W * h:
        return _along_columns(_along_rows(image, H), W)
    return _along_rows(_along_columns(image, W), H)


def _along_rows(image: Tensor, length: int) -> Tensor:
    blocks = _blocks(image.shape[-2], length, image.dtype, image.device)
    parts = [weights @ image[..., first : first + weights.shape[1], :] for first, weights in blocks]
    return parts[0] if len(parts) == 1 else torch.cat(parts, -2)


def _along_columns(image: Tensor, length: int) -> Tensor:
    blocks = _blocks(image.shape[-1], length, image.dtype, image.device)
    parts = [image[..., first : first + weights.shape[1]] @ weights.t() for first, weights in blocks]
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


# Small ones in training, of 145 sizes; of both axes of a photograph, both ways, 2 MB.
@functools.lru_cache(maxsize=512)
def _blocks(in_length: int, out_length: int, dtype: torch.dtype, device: torch.device) -> list[tuple[int, Tensor]]:
    """The resampling of an axis as the matrices of some output pixels each: (first input pixel, weights)."""
    pixels, weights = axis_taps(in_length, out_length, out_length / in_length, 'float64')
    # Of an axis that shrinks, as many output pixels as BLOCK input pixels make.
    count = max(8, min(BLOCK, BLOCK * out_length // in_length))
    blocks = []
    for start in range(0, out_length, count):
        rows = slice(start, start + count)
        used = pixels[rows][weights[rows] != 0]
        first, last = int(used.min()), int(used.max())
        matrix = np.zeros((len(pixels[rows]), last - first + 1))
        inside = weights[rows] != 0
        row_numbers = np.broadcast_to(np.arange(len(matrix))[:, None], inside.shape)
        np.add.at(matrix, (row_numbers[inside], used - first), weights[rows][inside])
        with torch.inference_mode(False):  # training may use what an evaluation has made
            blocks.append((first, torch.from_numpy(matrix).to(dtype).to(device)))
    return blocks
