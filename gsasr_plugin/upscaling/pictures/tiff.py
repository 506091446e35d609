"""TIFF files of 8 and 16 bits, with all of the EXIF data in the picture's own directory.

No library at hand writes 16 bits together with EXIF's sub-directories: tifffile leaves these out, Pillow knows no 16
bits of colour, and OpenCV writes no metadata. So Pillow writes the directory, and here come the pixels behind it.
"""

import zlib
from typing import Any, Literal

import numpy as np
from PIL.ExifTags import Base

from gsasr_plugin.upscaling.pictures.metadata import Metadata
from gsasr_plugin.upscaling.pictures.picture import PictureError

STRIP_BYTES = 1 << 18  # of pixels, in each of the parts that readers read one by one
MOST_BYTES = (1 << 32) - (1 << 24)  # what offsets of 32 bits reach, less the directory
EXIF_HEADER = b'Exif\0\0'
GREY, RGB = 1, 2  # of PhotometricInterpretation
DEFLATE = 8
HORIZONTAL_DIFFERENCES = 2
UNASSOCIATED_ALPHA = 2
INCHES = 2
XMP_TAG, ICC_TAG = 700, 34675


def tiff_content(levels: np.ndarray, metadata: Metadata, *, alpha: bool) -> bytes:
    """The content of a file, compressed without loss.

    Args:
        levels: (H, W, channels), uint8 or uint16.
        alpha: whether the last channel is one.

    Raises:
        PictureError: it is too large for the format.
    """
    height, width, channels = levels.shape
    rows = max(1, STRIP_BYTES // (width * channels * levels.itemsize))
    exif = metadata.exif_data()
    order: Literal['<', '>'] = '<' if exif.endian == '<' else '>'  # as Pillow writes the directory
    strips = [_compressed(levels[top : top + rows], order) for top in range(0, height, rows)]
    lengths = [len(strip) for strip in strips]
    if sum(lengths) > MOST_BYTES:
        raise PictureError('TIFF files hold at most 4 GiB: choose PNG')
    tags: dict[int, Any] = {
        Base.ImageWidth: width,
        Base.ImageLength: height,
        Base.BitsPerSample: (8 * levels.itemsize,) * channels,
        Base.Compression: DEFLATE,
        Base.PhotometricInterpretation: GREY if channels - alpha == 1 else RGB,
        # Pillow adds the length of the directory.
        Base.StripOffsets: tuple(int(start) for start in np.cumsum([0, *lengths[:-1]])),
        Base.SamplesPerPixel: channels,
        Base.RowsPerStrip: rows,
        Base.StripByteCounts: tuple(lengths),
        Base.Predictor: HORIZONTAL_DIFFERENCES,
    }
    if alpha:
        tags[Base.ExtraSamples] = UNASSOCIATED_ALPHA
    if metadata.dpi:
        tags |= {Base.XResolution: metadata.dpi[0], Base.YResolution: metadata.dpi[1], Base.ResolutionUnit: INCHES}
    if metadata.xmp:
        tags[XMP_TAG] = metadata.xmp
    if metadata.icc:
        tags[ICC_TAG] = metadata.icc
    for tag, value in tags.items():
        exif[tag] = value
    return b''.join([exif.tobytes().removeprefix(EXIF_HEADER), *strips])


def _compressed(rows: np.ndarray, order: Literal['<', '>']) -> bytes:
    """(rows, W, channels) as differences to the left neighbours, deflated."""
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]
    return zlib.compress(differences.astype(rows.dtype.newbyteorder(order)).tobytes())
