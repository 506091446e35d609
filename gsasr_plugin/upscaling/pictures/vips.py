"""The pixels of PNG and TIFF files of all kinds, by libvips."""

import logging
from typing import Any

import numpy as np
import pyvips

from gsasr_plugin.upscaling.pictures.picture import ACCEPTED, PictureError

pyvips.cache_set_max(0)  # it would keep pictures in memory
logging.getLogger('pyvips').setLevel(logging.ERROR)  # its warnings name no file

# What libvips calls the colours of a file -> channels of colour.
CHANNELS = {'b-w': 1, 'grey16': 1, 'srgb': 3, 'rgb16': 3, 'rgb': 3, 'cmyk': 4, 'lab': 3, 'labs': 3}
BITS = {'uchar': 8, 'ushort': 16}


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


def encoded_png(levels: np.ndarray) -> bytes:
    """A PNG file of (H, W, channels) uint8 or uint16; alpha is the last of 2 or 4."""
    height, width, channels = levels.shape
    deep = levels.dtype == np.uint16
    interpretation = ('grey16' if deep else 'b-w') if channels < 3 else ('rgb16' if deep else 'srgb')
    data: Any = np.ascontiguousarray(levels)
    image = pyvips.Image.new_from_memory(data, width, height, channels, 'ushort' if deep else 'uchar')
    image = image.copy(interpretation=interpretation)
    return image.pngsave_buffer(compression=6, filter='all', keep='none')


def _reason(error: pyvips.Error) -> str:
    lines = [line.strip() for line in str(error.detail or error.message).splitlines() if line.strip()]
    return lines[0] if lines else 'libvips gives no reason'
