"""Tiles: the Gaussians of a large LR image, from a network that sees one overlapping part of it at a time.

A tile's Gaussians are moved to where the tile lies in the whole image, and their opacities multiplied by weights that
sum to one over all tiles at each reference point. Rendering is linear in the opacities, so drawing all Gaussians
together, once, cross-fades the tiles' images, at any scale and without a seam.

Letters: B images, h x w LR size, k * k Gaussians per LR pixel.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gsasr_plugin.archs.gaussians import Gaussians
from gsasr_plugin.archs.transfer import to_device

# The tiles fade into each other over this part of the overlap, around its middle. What lies outside it is context only,
# half of it on either side: the outermost LR pixels of a tile, which miss what lies beyond, are never seen.
FADING_PART = 1 / 3


Progress = Callable[[int, int], None]  # (tiles done, tiles in all)


@dataclass(frozen=True)
class Part:
    """What one tile covers of one axis.

    Attributes:
        start: its first LR pixel in the whole image.
        length: its LR pixels.
        kept: the columns (rows) of its Gaussians whose weight is not zero.
        weights: of these, (kept,), in (0, 1], float64.
    """

    start: int
    length: int
    kept: slice
    weights: Tensor


def cut_axis(length: int, tile: int, overlap: int, multiple: int, density_per_axis: int) -> list[Part]:
    """Cuts an axis into equally long tiles, spread evenly, so that some overlap by more than they have to.

    Args:
        length: LR pixels of the padded image; a multiple of `multiple`.
        tile: LR pixels of a tile, a multiple of `multiple`; the whole length if that is less.
        overlap: LR pixels that neighbours share at least, a multiple of `multiple`, less than `tile`.
        multiple: tiles start at multiples of it, so that all attention windows are those of the whole image.
        density_per_axis: k.
    """
    tile = min(tile, length)
    steps = -(-(length - tile) // (tile - overlap)) if tile < length else 0
    starts = [i * (length - tile) // (steps * multiple) * multiple for i in range(steps)] + [length - tile]
    points = (np.arange(length * density_per_axis) + 0.5) / density_per_axis  # reference points, LR pixels
    # How much of each point is drawn by tile i and those after it: 1 for the first, 0 beyond the last.
    seams = [(before + tile + after) / 2 for before, after in itertools.pairwise(starts)]
    drawn = [np.ones_like(points), *(_rise(points - seam, FADING_PART * overlap) for seam in seams), 0 * points]
    parts = []
    for start, here, beyond in zip(starts, drawn, drawn[1:]):
        first = start * density_per_axis
        weights = (here - beyond)[first : first + tile * density_per_axis]
        (seen,) = weights.nonzero()
        kept = slice(int(seen[0]), int(seen[-1]) + 1)
        parts.append(Part(start, tile, kept, torch.from_numpy(weights[kept])))
    return parts


def _rise(distance: np.ndarray, width: float) -> np.ndarray:
    """From 0 to 1, smoothly, over `width` around distance 0 (at once if that is 0)."""
    t = np.clip(distance / width + 0.5, 0, 1) if width else (distance > 0).astype(float)
    return t * t * (3 - 2 * t)


def gaussians_by_tiles(
    network: Callable[[Tensor, Tensor | None], Gaussians],
    image: Tensor,
    base: Tensor | None,
    rows: Sequence[Part],
    columns: Sequence[Part],
    density_per_axis: int,
    progress: Progress | None = None,
) -> Gaussians:
    """The Gaussians of an image, tile by tile.

    Args:
        network: maps a part of the image (B, 3, h', w'), and of what its colours are relative to (B, k h' k w', C), to
            its Gaussians in raster order, with positions relative to the part.
        image: padded LR images, (B, 3, h, w).
        base: (B, k h k w, C) in raster order, or None.
        rows: the parts of h, see `cut_axis`.
        columns: the parts of w.
        density_per_axis: k.
        progress: called with (tiles done, tiles in all) after each tile.

    Returns:
        Gaussians of the image, in raster order within each tile: k * k for an LR pixel that one tile shows, and as many
        for each tile that shows it where several fade.
    """
    B, _, h, w = image.shape
    k = density_per_axis
    tiles = list(itertools.product(rows, columns))
    total = sum(len(row.weights) * len(column.weights) for row, column in tiles)
    joined: dict[str, Any] = {}
    filled = 0
    for done, (row, column) in enumerate(tiles, 1):
        y, x = row.start, column.start
        bottom, right = y + row.length, x + column.length
        base_part = None
        if base is not None:
            grid = base.unflatten(1, (k * h, k * w))
            base_part = grid[:, k * y : k * bottom, k * x : k * right].flatten(1, 2)
        part = network(image[:, :, y:bottom, x:right], base_part)
        weights = torch.outer(row.weights, column.weights).flatten()
        weights = to_device(weights, image.device, part.opacities.dtype)
        # Field by field into tensors of the final size: joining a list would hold all Gaussians twice.
        for name in ('means', 'sigmas', 'rhos', 'opacities', 'colors'):
            grid = getattr(part, name).unflatten(1, (k * row.length, k * column.length))
            values = grid[:, row.kept, column.kept].flatten(1, 2)
            if name == 'means':
                values = torch.stack((values[..., 0] + x, values[..., 1] + y), -1)
            elif name == 'opacities':
                values = values * weights
            if name not in joined:
                joined[name] = values.new_empty(B, total, *values.shape[2:])
            joined[name][:, filled : filled + len(weights)] = values
        filled += len(weights)
        if progress is not None:
            progress(done, len(tiles))
    return Gaussians(**joined, lq_size=(h, w))
