"""How much memory the network takes, and may take: from this follows how large a tile may be.

All constants of the estimate stand here. They are of float32 on a CPU: the peak of the process while encoder or decoder
ran on 96 x 96 LR pixels, less what it held before (`python tests/benchmarks/measure_tile_memory.py` prints it beside
the estimate). Measure again when the decoder's or an encoder's memory changes.
"""

from __future__ import annotations

import torch

from gsasr_plugin.free_memory import free_bytes

# The part of what is free that the network may take where no budget is given. The rest is for the rendering of the
# result, for copies of it, and for others.
FREE_PART = 0.5

# The decoder's bytes per LR pixel: 4 * embed_dim * max(MAP_WIDTHS, GAUSSIAN_WIDTHS * density) + GAUSSIAN_BYTES *
# density. The widths say how many embeddings live at once: for each LR pixel in the attention layers, for each Gaussian
# in the primary head.
MAP_WIDTHS = 20
GAUSSIAN_WIDTHS = 3
GAUSSIAN_BYTES = 512
# An encoder's bytes per LR pixel, at the default sizes of its class.
ENCODER_BYTES = {'EDSR': 4_000, 'RDN': 28_000, 'SwinIR': 24_000, 'HAT': 20_000}
# Bytes of one Gaussian of the whole image: nine float32, up to twice where tiles overlap.
JOINED_BYTES = 72


def network_bytes(encoder_type: str, embed_dim: int, gaussian_density: int) -> int:
    """Peak memory of encoder and decoder per LR pixel; they run one after the other.

    Encoders that are not listed are taken for the largest of those that are.
    """
    encoder = ENCODER_BYTES.get(encoder_type, max(ENCODER_BYTES.values()))
    return max(encoder, decoder_bytes(embed_dim, gaussian_density))


def decoder_bytes(embed_dim: int, gaussian_density: int) -> int:
    """Peak memory of the decoder per LR pixel."""
    widths = max(MAP_WIDTHS, GAUSSIAN_WIDTHS * gaussian_density)
    return 4 * embed_dim * widths + GAUSSIAN_BYTES * gaussian_density


def largest_side(pixels: float, h: int, w: int, multiple: int, least: int) -> int:
    """The side of the largest tile of an h x w image with at most so many pixels.

    Args:
        pixels: LR pixels that a tile may have.
        h: LR rows of the image; tiles are not longer.
        w: LR columns.
        multiple: of the side.
        least: side, a multiple of `multiple`, below which it does not go however few pixels are allowed.
    """
    side = least
    while side < max(h, w) and min(side + multiple, h) * min(side + multiple, w) <= pixels:
        side += multiple
    return side


def free_budget(device: torch.device) -> float:
    """Bytes that the network may take on a device where no budget is given."""
    return FREE_PART * free_bytes(device)
