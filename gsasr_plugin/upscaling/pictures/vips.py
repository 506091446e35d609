"""The pixels of PNG and TIFF files of all kinds, by libvips."""

import itertools
import logging
import mmap
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyvips

from gsasr_plugin.upscaling.pictures.picture import ACCEPTED, PictureError
from gsasr_plugin.upscaling.pictures.waiting import waiting_rows

pyvips.cache_set_max(0)  # it would keep pictures in memory
logging.getLogger('pyvips').setLevel(logging.ERROR)  # its warnings name no file

# What libvips calls the colours of a file -> channels of colour.
CHANNELS = {'b-w': 1, 'grey16': 1, 'srgb': 3, 'rgb16': 3, 'rgb': 3, 'cmyk': 4, 'lab': 3, 'labs': 3}
RELEASED_BYTES = 1 << 18  # of a file, after which the rows that wait are released
BITS = {'uchar': 8, 'ushort': 16}
COMPRESSION = 4  # of PNG files, 0 to 9: half the time of the usual 6, of which files are 3 % smaller


def decoded(content: bytes, *, whole: bool = True) -> pyvips.Image:
    """Decodes a PNG or TIFF file: its first picture, as it lies in the file.

    Args:
        whole: whether it must be; else what can be decoded is given.

    Raises:
        PictureError: it is damaged, or of a kind that is not known.
    """
    load = pyvips.Image.pngload_buffer if content[:1] == b'\x89' else pyvips.Image.tiffload_buffer
    try:
        return load(content, fail_on='error' if whole else 'none', unlimited=True).copy_memory()
    except pyvips.Error as error:
        raise PictureError(f'is damaged, or of a kind that cannot be read: {_reason(error)}') from None


def levels_of(image: pyvips.Image, *, alpha_at: int | None) -> tuple[np.ndarray, np.ndarray | None, int]:
    """Colour (H, W, 1 or 3) and alpha (H, W), float32 in 0..1, and the bits per channel.

    Args:
        alpha_at: which channel behind those of the colours is alpha.

    Raises:
        PictureError: its numbers are of another kind, or its channels are not known.
    """
    channels = CHANNELS.get(image.interpretation, 0)
    if channels == 0 or image.bands < channels or (image.format not in BITS and not image.interpretation == 'labs'):
        raise PictureError(
            f'holds {image.bands} channels of another kind ({image.interpretation}, {image.format}); {ACCEPTED}'
        )
    bits = BITS.get(image.format, 16)
    top = np.float32(2**bits - 1)
    alpha = None if alpha_at is None else np.float32(image.extract_band(channels + alpha_at).numpy()) / top
    color = image.extract_band(0, n=channels) if image.bands > channels else image
    if image.interpretation in ('lab', 'labs', 'cmyk'):
        return _as_rgb(color, bits), alpha, bits
    pixels = np.float32(color.numpy()) / top
    return pixels.reshape(*pixels.shape[:2], -1), alpha, bits


def _as_rgb(image: pyvips.Image, bits: int) -> np.ndarray:
    """CMYK and Lab as sRGB: by the profile of the file, where it has one that fits."""
    top = np.float32(2**bits - 1)
    if image.interpretation != 'cmyk':
        return np.float32(image.colourspace('rgb16' if bits == 16 else 'srgb').numpy()) / top
    if image.get_typeof('icc-profile-data'):
        try:
            converted = image.icc_transform('srgb', embedded=True, depth=bits)
            return np.float32(converted.numpy()) / top
        except pyvips.Error:
            pass  # a profile that is damaged or of another kind of picture
    inks = np.float32(image.numpy()) / top
    return (1 - inks[..., :3]) * (1 - inks[..., 3:])


def encode_png(write: Callable[[bytes], object], bands: Iterator[np.ndarray], height: int, folder: Path | None) -> None:
    """Encodes rows as a PNG file of pixels only.

    Args:
        write: called with part after part of the file.
        bands: (rows, W, channels) uint8 or uint16, from the top; alpha is the last of 2 or 4 channels.
        height: of the picture.
        folder: where the rows may wait in a file without a name, as large as they are, unless there is one band.

    Raises:
        OSError: `write` does, or the folder is full.
    """
    first = next(bands)
    problems: list[OSError] = []
    waiting: mmap.mmap | None = None
    since = 0  # bytes written

    def written(data: bytes) -> int:
        nonlocal since
        since += len(data)
        if waiting is not None and since >= RELEASED_BYTES and hasattr(mmap, 'MADV_DONTNEED'):
            waiting.madvise(mmap.MADV_DONTNEED)  # rows that were read count as the process's memory until then
            since = 0
        try:
            write(bytes(data))
        except OSError as error:
            problems.append(error)
            return -1
        return len(data)

    target = pyvips.TargetCustom()
    target.on_write(written)
    with ExitStack() as stack:
        if len(first) == height:
            image = _image(first)
        else:
            file = stack.enter_context(waiting_rows(itertools.chain((first,), bands), folder))
            waiting = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            image = _image(np.frombuffer(waiting, first.dtype).reshape(height, *first.shape[1:]))
        try:
            image.pngsave_target(target, compression=COMPRESSION, filter='all', keep='none')
        except pyvips.Error:
            raise (problems[0] if problems else sys.exc_info()[1]) from None  # type: ignore[misc]


def _image(levels: np.ndarray) -> pyvips.Image:
    height, width, channels = levels.shape
    data: Any = np.ascontiguousarray(levels)
    kind, interpretation = _kind(levels)
    return pyvips.Image.new_from_memory(data, width, height, channels, kind).copy(interpretation=interpretation)


def _kind(levels: np.ndarray) -> tuple[str, str]:
    """libvips' names of the numbers and of what they mean."""
    deep, grey = levels.dtype == np.uint16, levels.shape[2] < 3
    return ('ushort', 'grey16' if grey else 'rgb16') if deep else ('uchar', 'b-w' if grey else 'srgb')


def _reason(error: pyvips.Error) -> str:
    lines = [line.strip() for line in str(error.detail or error.message).splitlines() if line.strip()]
    return lines[0] if lines else 'libvips gives no reason'
