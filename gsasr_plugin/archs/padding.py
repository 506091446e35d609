"""Padding of the LR image: to the multiple that encoder and decoder need, and of textures that repeat."""

from __future__ import annotations

import torch
from torch import Tensor


def up_to_multiple(length: int, multiple: int) -> int:
    """The least multiple that is not less than a length."""
    return -(-length // multiple) * multiple


def _reflected(length: int, padded: int, device: torch.device) -> Tensor:
    """Indices 0 .. length - 1, bounced off both ends as often as it takes to fill `padded`."""
    if length == 1:
        return torch.zeros(padded, dtype=torch.long, device=device)
    period = 2 * (length - 1)
    index = torch.arange(padded, device=device) % period
    return torch.minimum(index, period - index)


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Pads at the right and at the bottom by reflection (about the last pixel's centre, repeatedly if need be).

    Args:
        image: (B, 3, h, w), of any size from 1 x 1.
        multiple: both sides of the result are multiples of it.
    """
    for axis in (-2, -1):
        length = image.shape[axis]
        padded = up_to_multiple(length, multiple)
        if padded != length:
            image = image.index_select(axis, _reflected(length, padded, image.device))
    return image


def wrapped(image: Tensor, margin: int) -> Tensor:
    """Continues an image at its opposite borders, as often as it takes.

    Args:
        image: (B, C, h, w).
        margin: pixels on each side.
    """
    for axis in (-2, -1):
        length = image.shape[axis]
        index = torch.arange(-margin, length + margin, device=image.device) % length
        image = image.index_select(axis, index)
    return image
