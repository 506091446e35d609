"""What pictures take of the memory, by the estimates of `gsasr_plugin.archs.tile_memory`."""

from collections.abc import Sequence

import torch

from gsasr_plugin.archs.completion import BAND_PIXELS
from gsasr_plugin.archs.consistency import BLOCK
from gsasr_plugin.archs.tile_memory import JOINED_BYTES, free_bytes, network_bytes
from gsasr_plugin.sizes import Size
from gsasr_plugin.upscaling.pictures.formats import FORMATS
from gsasr_plugin.upscaling.pictures.opened import READING_BYTES
from gsasr_plugin.upscaling.upscaler import Upscaler

# Bytes per output pixel of what is in memory at once: bands as they are drawn, completed with the LR image and written.
# Measured: 194 to 251, with consistency (`tests.benchmarks.measure_result_memory`, as are the others).
BAND_BYTES = 250
# Where the scale is large, consistency waits for more rows than a band has: those of so many LR rows. Then a band takes
# less, and each pixel that waits takes so much, and more for each step.
WAITING_LQ_ROWS = BLOCK + 4
WAITING_BAND_BYTES, WAITING_BYTES, STEP_BYTES = 100, 40, 23
# And of a result that is whole in memory: while it is summed over turns, shown, or encoded as one of several; and while
# it is completed as it repeats.
RESULT_BYTES = 80
WRAPPED_BYTES = 190
OUT_OF_MEMORY = 'it does not fit into memory'


def beyond_memory(
    results: Sequence[tuple[Size, str]],
    *,
    lq_size: Size = (0, 0),
    read: bool = False,
    gaussians: int = 0,
    steps: int = 0,
    whole: int = 0,
    lossless: bool = False,
) -> str | None:
    """Why results do not fit into memory, None where they do.

    Args:
        results: (H, W) and the format of each; they are made one after another.
        lq_size: (h, w) of the picture.
        read: whether the picture is to be read, too.
        gaussians: how many there are.
        steps: of consistency, see `GSASR`.
        whole: see `whole_bytes`.
        lossless: see `Format.held`.
    """
    needed = result_bytes(results, lq_size, steps, whole, lossless=lossless) + JOINED_BYTES // 2 * gaussians
    needed += READING_BYTES * lq_size[0] * lq_size[1] if read else 0
    free = free_bytes(torch.device('cpu'))
    if needed <= free:
        return None
    return f'{OUT_OF_MEMORY}: picture and result take {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free'


def results_beyond_memory(
    upscaler: Upscaler,
    lq_size: Size,
    results: Sequence[tuple[Size, str]],
    *,
    read: bool = False,
    frames: int = 1,
    kept: bool = False,
    lossless: bool = False,
) -> str | None:
    """`beyond_memory` of what an upscaler makes of one picture.

    Args:
        lq_size: (h, w) of the picture.
        results: (H, W) and the format of each.
        read: whether the picture is to be read, too.
        frames: see `whole_bytes`.
        kept: whether each result is wanted whole in memory.
        lossless: see `Format.held`.
    """
    return beyond_memory(
        results,
        lq_size=lq_size,
        read=read,
        gaussians=gaussians_of(upscaler, lq_size),
        steps=upscaler.net.consistency,
        whole=max(whole_bytes(upscaler, frames=frames), RESULT_BYTES if kept else 0),
        lossless=lossless,
    )


def needed_bytes(
    upscaler: Upscaler, lq_size: Size, results: Sequence[tuple[Size, str]], *, frames: int = 1, lossless: bool = False
) -> int:
    """Memory at most for one picture beside the network: of encoder and decoder in a tile, its Gaussians, its results.

    Args:
        lq_size: (h, w) of the picture.
        results: (H, W) and the format of each.
        frames: see `whole_bytes`.
        lossless: see `Format.held`.
    """
    options = upscaler.net.options
    pixel_bytes = network_bytes(upscaler.net.encoder.type_name, options['embed_dim'], options['gaussian_density'])
    tile = max(h * w for h, w in upscaler.tiles(lq_size))
    gaussians = JOINED_BYTES * gaussians_of(upscaler, lq_size)
    whole = whole_bytes(upscaler, frames=frames)
    results_and_files = result_bytes(results, lq_size, upscaler.net.consistency, whole, lossless=lossless)
    return pixel_bytes * tile + gaussians + results_and_files


def gaussians_of(upscaler: Upscaler, lq_size: Size) -> int:
    """How many Gaussians a picture of (h, w) has, where no tiles overlap."""
    h, w = (length + 2 * upscaler.margin for length in lq_size)
    return upscaler.net.options['gaussian_density'] * h * w


def whole_bytes(upscaler: Upscaler, *, frames: int = 1) -> int:
    """Per pixel of results that are whole in memory, and not drawn in bands: averages, what is completed as it repeats,
    and files of several pictures; 0 for others.

    Args:
        frames: how many pictures of the file are enlarged.
    """
    if upscaler.margin > 0 and upscaler.net.consistency > 0:
        return WRAPPED_BYTES
    return RESULT_BYTES if upscaler.self_ensemble or frames > 1 else 0


def result_bytes(
    results: Sequence[tuple[Size, str]], lq_size: Size, steps: int, whole: int, *, lossless: bool = False
) -> int:
    """Memory of the one that takes most while it is drawn and written; for the arguments see `beyond_memory`."""

    def of(size: Size, format: str) -> int:
        pixels = size[0] * size[1]
        band = min(pixels, max(BAND_PIXELS, BLOCK * size[1]))
        drawn = BAND_BYTES * band
        if steps:
            waiting = min(pixels, WAITING_LQ_ROWS * pixels // lq_size[0])
            drawn = max(drawn, WAITING_BAND_BYTES * band + (WAITING_BYTES + STEP_BYTES * steps) * waiting)
        return FORMATS[format].held(pixels, lossless=lossless) + whole * pixels + drawn

    return max(of(*result) for result in results)
