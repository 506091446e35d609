"""Whether an image goes through the network in tiles, and in which: the options, and what follows from them.

Tile sizes and overlaps are in LR pixels, and come as whole windows (multiples of the padding multiple).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from gsasr_plugin.archs.padding import up_to_multiple
from gsasr_plugin.archs.tile_memory import free_budget, largest_side
from gsasr_plugin.archs.tiles import Part, cut_axis
from gsasr_plugin.free_memory import held_bytes
from gsasr_plugin.option_types import NonNegativeInt, PositiveInt, PositiveNumber, check_fields

# What neighbouring tiles share by default, before rounding up to whole windows. Measured on a photograph at x2 beside a
# seam (tests/benchmarks/measure_tile_borders.py), the largest difference of tiled and whole in levels of 8 bits: of a
# small network with windows of 8, 114 without overlap, 0.006 at 24; of the paper's size with initial weights, EDSR 31,
# 0.036, 0.007 at 48, RDN 35, 0.030, 0.009, SwinIR 44, 0.010, 0.008; HAT with the enhanced decoder 0.011 even without.
# Large random weights make a chaotic network, of which single Gaussians differ even at 96.
# At the image's own border no overlap helps: shifted windows go on cyclically, as the authors have it, so the outermost
# window of pixels sees the opposite border, which in a tile is another one. There that small network differs by up to
# 0.5 levels on the photograph (elsewhere by 0.006), by 1.6 on a page of text and by 11 on noise. The paper's blocks,
# with initial weights, carry it inwards: EDSR 0.12 there, 0.08 elsewhere.
TILE_OVERLAP = 48
# Sides of tiles that nobody has asked for, where neither window nor overlap bounds them.
LEAST_TILE = 12


@dataclass(kw_only=True)
class TileOptions:
    """Tiled inference: keywords of `GSASR.forward` and `GSASR.gaussians`, and of `val` in option files.

    Seams cannot be seen, but the image's outermost window of pixels differs a little from the whole image's: shifted
    windows go on cyclically, so that it sees the opposite border, of a tile another one than of the image.

    Attributes:
        tile: side of the tiles in LR pixels, their overlaps included, rounded down to whole windows, one at least;
            of an image that is narrower they are as much longer. 'auto': the whole image where it keeps within the
            memory budget, else the largest tiles that do; None: the whole image.
        tile_overlap: LR pixels that neighbouring tiles share at least, rounded up to whole windows, and then less than
            `tile`. None: 48, or half of what `tile` says where that is less.
        memory_budget: GiB that 'auto' lets the network take. None: half of what is free on the device.

    Raises:
        ValueError: an option out of its range; the message names it.
    """

    tile: PositiveInt | Literal['auto'] | None = 'auto'
    tile_overlap: NonNegativeInt | None = None
    memory_budget: PositiveNumber | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    def parts(
        self, lq_size: Sequence[int], *, multiple: int, density_per_axis: int, **memory: Any
    ) -> tuple[list[Part], list[Part]] | None:
        """The parts of a padded image's rows and columns, or None for the whole image at once.

        Args:
            lq_size: (h, w), multiples of `multiple`.
            multiple: the padding multiple.
            density_per_axis: k, of k * k Gaussians per LR pixel.
            memory: `pixel_bytes`, `joined_bytes` and `device`, as for `tile_size`.
        """
        h, w = lq_size
        size = self.tile_size(h, w, multiple=multiple, **memory)
        if size is None:
            return None
        rows, columns = (cut_axis(length, *size, multiple, density_per_axis) for length in (h, w))
        return rows, columns

    def tile_size(
        self, h: int, w: int, *, multiple: int, pixel_bytes: int, joined_bytes: int, device: torch.device
    ) -> tuple[int, int] | None:
        """Side and overlap of the tiles of a padded image of h x w LR pixels; None for the whole image at once.

        Args:
            h: LR rows, like w a multiple of `multiple`.
            w: LR columns.
            multiple: the padding multiple.
            pixel_bytes: the network's peak memory per LR pixel.
            joined_bytes: memory per LR pixel of the whole image that tiles do not spare.
            device: where the network runs.

        Raises:
            ValueError: tile_overlap leaves nothing of the tile.
        """
        if self.tile is None:
            return None
        overlap = up_to_multiple(TILE_OVERLAP if self.tile_overlap is None else self.tile_overlap, multiple)
        if self.tile == 'auto':
            # With tiles of twice the overlap the network sees each pixel four times; smaller ones cost far more.
            least = max(2 * overlap, up_to_multiple(LEAST_TILE, multiple))
            # What is free is asked for only if it matters: the question takes its time on GPUs.
            if least >= max(h, w) or (self.memory_budget is None and pixel_bytes * h * w <= held_bytes(device)):
                return None
            budget = free_budget(device) if self.memory_budget is None else self.memory_budget * 2**30
            if pixel_bytes * h * w <= budget:
                return None
            side = largest_side((budget - joined_bytes * h * w) / pixel_bytes, h, w, multiple, least)
        else:
            side = max(self.tile // multiple, 1) * multiple
            if self.tile_overlap is None:
                overlap = min(overlap, side // 2 // multiple * multiple)
            if overlap >= side:
                raise ValueError(
                    f'tile_overlap must be less than tile, both in windows of {multiple} LR pixels: got tile_overlap '
                    f'{self.tile_overlap}, which makes {overlap}, and tile {self.tile}, which makes {side}'
                )
            # A strip in squares as narrow as it is would take many calls, each of which takes its time.
            side = side * side // min(h, w, side) // multiple * multiple
        return (side, overlap) if side < max(h, w) else None
