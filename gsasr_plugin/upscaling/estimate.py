"""What pictures take of the memory, by the estimates of `gsasr_plugin.archs.tile_memory`, and of the disk."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from gsasr_plugin.archs.completion import BAND_PIXELS
from gsasr_plugin.archs.tile_memory import JOINED_BYTES, free_bytes, network_bytes
from gsasr_plugin.sizes import Size
from gsasr_plugin.upscaling.pictures.formats import FORMATS
from gsasr_plugin.upscaling.pictures.opened import READING_BYTES
from gsasr_plugin.upscaling.upscaler import Upscaler
from gsasr_plugin.whole_file import existing_folder

# Bytes per output pixel of what is in memory at once: bands as they are drawn, completed with the LR image and written.
# Measured: 194 to 225, with consistency.
BAND_BYTES = 200
# And of a result that is whole in memory: while it is completed, summed over turns, or shown. An estimate.
RESULT_BYTES = 120
OUT_OF_MEMORY = 'it does not fit into memory'


def beyond_memory(
    results: Sequence[tuple[Size, str]], *, lq_size: Size = (0, 0), gaussians: int = 0, whole: bool = False
) -> str | None:
    """Why results do not fit into memory, None where they do.

    Args:
        results: (H, W) and the format of each; they are made one after another.
        lq_size: (h, w) of the picture that is read.
        gaussians: how many there are.
        whole: whether the results are whole in memory before they are written.
    """
    needed = _result_bytes(results, whole) + READING_BYTES * lq_size[0] * lq_size[1] + JOINED_BYTES // 2 * gaussians
    free = free_bytes(torch.device('cpu'))
    if needed <= free:
        return None
    return f'{OUT_OF_MEMORY}: picture and result take {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free'


def beyond_disk(size: Size, format: str, path: Path | None) -> str | None:
    """Why the rows of a result of (H, W) cannot wait beside it, as those of PNG files do; None where they can.

    Args:
        path: of the result, None for the standard output, whose rows wait in the folder of temporary files.
    """
    needed = 3 * size[0] * size[1]  # RGB in 8 bits; 16 take twice as much, and are found while they are written
    if format != 'PNG' or size[0] * size[1] <= BAND_PIXELS:
        return None
    folder = existing_folder(Path(tempfile.gettempdir()) if path is None else path.parent)
    free = shutil.disk_usage(folder).free
    if needed <= free:
        return None
    return (
        f'it does not fit onto the disk: its rows take {needed / 2**30:.1f} GiB in {folder}, and '
        f'{free / 2**30:.1f} GiB are free'
    )


def needed_bytes(upscaler: Upscaler, lq_size: Size, results: Sequence[tuple[Size, str]]) -> int:
    """Memory at most for one picture beside the network: of encoder and decoder in a tile, its Gaussians, its results.

    Args:
        lq_size: (h, w) of the picture.
        results: (H, W) and the format of each.
    """
    options = upscaler.net.options
    pixel_bytes = network_bytes(upscaler.net.encoder.type_name, options['embed_dim'], options['gaussian_density'])
    tile = max(h * w for h, w in upscaler.tiles(lq_size))
    gaussians = JOINED_BYTES * gaussians_of(upscaler, lq_size)
    return pixel_bytes * tile + gaussians + _result_bytes(results, is_whole(upscaler))


def gaussians_of(upscaler: Upscaler, lq_size: Size) -> int:
    """How many Gaussians a picture of (h, w) has, where no tiles overlap."""
    h, w = (length + 2 * upscaler.margin for length in lq_size)
    return upscaler.net.options['gaussian_density'] * h * w


def is_whole(upscaler: Upscaler) -> bool:
    """Whether results are whole in memory, and not drawn in bands: averages, and what is completed as it repeats."""
    return upscaler.self_ensemble or (upscaler.margin > 0 and upscaler.net.consistency > 0)


def _result_bytes(results: Sequence[tuple[Size, str]], whole: bool) -> int:
    def of(size: Size, format: str) -> int:
        pixels = size[0] * size[1]
        held = FORMATS[format].held_bytes + (RESULT_BYTES if whole else 0)
        return held * pixels + BAND_BYTES * min(pixels, max(BAND_PIXELS, 64 * size[1]))

    return max(of(*result) for result in results)
