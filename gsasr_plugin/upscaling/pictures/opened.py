"""What is common to files of all kinds: what a header says, limits, and how decoded pixels become a picture."""

from typing import NamedTuple

import numpy as np
import torch

from gsasr_plugin.archs.tile_memory import free_bytes
from gsasr_plugin.upscaling.pictures.formats import FORMATS
from gsasr_plugin.upscaling.pictures.metadata import Metadata, settled
from gsasr_plugin.upscaling.pictures.picture import Picture, PictureError

# EXIF orientation -> (transposed first, rows reversed, columns reversed) makes the picture upright.
UPRIGHT = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
# Bytes per pixel while a picture is read: as decoded, as floats, turned upright, and as the network's input.
READING_BYTES = 8 + 3 * 16


class StoredFile(NamedTuple):
    """What a header says: the size (H, W) as it lies in the file, Pillow's name of the format, alpha, metadata; and,
    at least, how many channels its colours have and of how many bits, 8 or 16."""

    size: tuple[int, int]
    format: str
    alpha: bool
    stored: Metadata
    channels: int = 1
    bits: int = 8


def as_picture(file: StoredFile, color: np.ndarray, alpha: np.ndarray | None, bits: int, remarks: list[str]) -> Picture:
    """Pixels as they lie in the file, turned upright."""
    metadata, orientation, more = settled(file.stored)
    return Picture(
        color=_upright(color, orientation),
        alpha=None if alpha is None else _upright(alpha, orientation),
        bits=bits,
        format=result_format(file.format, alpha=alpha is not None),
        metadata=metadata,
        remarks=(*remarks, *more),
    )


def result_format(name: str, *, alpha: bool) -> str:
    """The name in `FORMATS` of results of a file of that format: its own, or one that holds them without loss."""
    name = {'MPO': 'JPEG', 'DIB': 'BMP', 'GIF': 'PNG'}.get(name, name)
    return name if name in FORMATS and (FORMATS[name].alpha or not alpha) else 'PNG'


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns (H, W, ...) pixels as EXIF says."""
    transposed, rows, columns = UPRIGHT.get(orientation, (False, False, False))
    pixels = pixels.swapaxes(0, 1) if transposed else pixels
    return np.ascontiguousarray(pixels[:: -1 if rows else 1, :: -1 if columns else 1])


def check_size(size: tuple[int, int], max_pixels: float | None) -> None:
    """Raises PictureError for a picture of (H, W) that is too large, see `read_picture`."""
    count = size[0] * size[1]
    what = f'holds {size[1]} x {size[0]} = {_pixels(count)}'
    if max_pixels is not None and count > max_pixels:
        raise PictureError(f'{what}, and {_pixels(max_pixels)} are allowed (--max-input-pixels)')
    needed, free = READING_BYTES * count, free_bytes(torch.device('cpu'))
    if max_pixels is None and needed > free:
        raise PictureError(f'{what}, which take {needed / 2**30:.1f} GiB to read; {free / 2**30:.1f} GiB are free')


def _pixels(count: float) -> str:
    return f'{count / 1e6:.1f} million pixels' if count >= 1e6 else f'{count:.0f} pixels'


def only_the_first(count: int) -> list[str]:
    """A remark about a file of several pictures."""
    return [f'only the first of its {count} pictures is used'] if count > 1 else []
