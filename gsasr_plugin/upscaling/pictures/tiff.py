"""TIFF files of 8 and 16 bits, with all of the EXIF data in the picture's own directory.

No library at hand writes 16 bits together with EXIF's sub-directories byte for byte: so the directory is ours, and here
come the pixels behind it.
"""

import zlib
from typing import Any

import numpy as np
from PIL.ExifTags import Base

from gsasr_plugin.upscaling.pictures.exif import BYTE, LONG, SHORT, UNDEFINED, Entry
from gsasr_plugin.upscaling.pictures.metadata import ICC_TAG, IPTC_TAG, XMP_TAG, Metadata, resolution_entries
from gsasr_plugin.upscaling.pictures.picture import PictureError

STRIP_BYTES = 1 << 18  # of pixels, in each of the parts that readers read one by one
MOST_BYTES = (1 << 32) - (1 << 24)  # what offsets of 32 bits reach, less the directory
GREY, RGB = 1, 2  # of PhotometricInterpretation
DEFLATE = 8
HORIZONTAL_DIFFERENCES = 2
UNASSOCIATED_ALPHA = 2


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
    exif = metadata.parsed_exif()
    strips = [_compressed(levels[top : top + rows], exif.order) for top in range(0, height, rows)]
    lengths = [len(strip) for strip in strips]
    if sum(lengths) > MOST_BYTES:
        raise PictureError('TIFF files hold at most 4 GiB: choose PNG')
    entries = exif.main.entries
    entries |= {
        Base.ImageWidth: exif.entry(LONG, width),
        Base.ImageLength: exif.entry(LONG, height),
        Base.BitsPerSample: exif.entry(SHORT, *(8 * levels.itemsize,) * channels),
        Base.Compression: exif.entry(SHORT, DEFLATE),
        Base.PhotometricInterpretation: exif.entry(SHORT, GREY if channels - alpha == 1 else RGB),
        Base.StripOffsets: exif.entry(LONG, *lengths),  # of this length; the numbers follow
        Base.SamplesPerPixel: exif.entry(SHORT, channels),
        Base.RowsPerStrip: exif.entry(LONG, rows),
        Base.StripByteCounts: exif.entry(LONG, *lengths),
        Base.Predictor: exif.entry(SHORT, HORIZONTAL_DIFFERENCES),
    }
    if alpha:
        entries[Base.ExtraSamples] = exif.entry(SHORT, UNASSOCIATED_ALPHA)
    if metadata.dpi:
        entries |= resolution_entries(exif, metadata.dpi)
    for tag, kind, data in (
        (XMP_TAG, BYTE, metadata.xmp),
        (ICC_TAG, UNDEFINED, metadata.icc),
        (IPTC_TAG, UNDEFINED, metadata.iptc),
    ):
        if data:
            entries[tag] = Entry(kind, len(data), data)
    start = len(exif.file_start())
    offsets: Any = np.cumsum([start, *lengths[:-1]])
    entries[Base.StripOffsets] = exif.entry(LONG, *offsets.tolist())
    return b''.join([exif.file_start(), *strips])


def _compressed(rows: np.ndarray, order: str) -> bytes:
    """(rows, W, channels) as differences to the left neighbours, deflated."""
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]
    return zlib.compress(differences.astype(rows.dtype.newbyteorder(order)).tobytes())  # type: ignore[arg-type]
