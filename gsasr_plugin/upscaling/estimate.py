"""What pictures take of the memory, by the estimates of `gsasr_plugin.archs.tile_memory`."""

from collections.abc import Sequence

import torch

from gsasr_plugin.archs.tile_memory import JOINED_BYTES, free_bytes, network_bytes
from gsasr_plugin.sizes import Size
from gsasr_plugin.upscaling.pictures.opened import READING_BYTES
from gsasr_plugin.upscaling.upscaler import Upscaler

# Bytes per output pixel beside the drawing: the sum over turns, and the pixels as floats and as levels when written.
RESULT_BYTES = 3 * (4 + 4 + 4 + 2)
# And while a drawing of Gaussians is completed with the LR image (measured: 15 without consistency, 81 with it).
COMPLETION_BYTES = 81
OUT_OF_MEMORY = 'it does not fit into memory'


def beyond_memory(sizes: Sequence[Size], *, lq_size: Size = (0, 0), completed: bool = False) -> str | None:
    """Why results of these sizes (H, W) do not fit into memory together, None where they do.

    Args:
        lq_size: (h, w) of the picture that is read.
        completed: whether drawings are completed with the LR image, see `Completion`.
    """
    needed = _result_bytes(sizes, completed) + READING_BYTES * lq_size[0] * lq_size[1]
    free = free_bytes(torch.device('cpu'))
    if needed <= free:
        return None
    return f'{OUT_OF_MEMORY}: picture and result take {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free'


def needed_bytes(upscaler: Upscaler, lq_size: Size, sizes: Sequence[Size]) -> int:
    """Memory at most for one picture beside the network: of encoder and decoder in a tile, its Gaussians, its results.

    Args:
        lq_size: (h, w) of the picture.
        sizes: (H, W) of the results.
    """
    options = upscaler.net.options
    density = options['gaussian_density']
    pixel_bytes = network_bytes(upscaler.net.encoder.type_name, options['embed_dim'], density)
    tile = max(h * w for h, w in upscaler.tiles(lq_size))
    gaussians = density * (lq_size[0] + 2 * upscaler.margin) * (lq_size[1] + 2 * upscaler.margin)
    return pixel_bytes * tile + JOINED_BYTES * gaussians + _result_bytes(sizes, completes(upscaler))


def completes(upscaler: Upscaler) -> bool:
    """Whether the drawings of a network are completed with the LR image."""
    return upscaler.net.bicubic_skip or upscaler.net.consistency > 0


def _result_bytes(sizes: Sequence[Size], completed: bool) -> int:
    pixels = [H * W for H, W in sizes]  # drawn one after the other
    return RESULT_BYTES * sum(pixels) + (COMPLETION_BYTES * max(pixels) if completed else 0)
