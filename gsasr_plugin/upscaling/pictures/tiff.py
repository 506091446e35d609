"""TIFF files of 8 and 16 bits, with all of the EXIF data in the picture's own directory.

No library at hand writes 16 bits together with EXIF's sub-directories byte for byte: so the directory is ours, and here
come the pixels behind it.
"""

import itertools
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
from PIL.ExifTags import Base

from gsasr_plugin.upscaling.pictures.exif import BYTE, LONG, SHORT, UNDEFINED, Entry, Exif
from gsasr_plugin.upscaling.pictures.metadata import ICC_TAG, IPTC_TAG, XMP_TAG, Metadata, resolution_entries
from gsasr_plugin.upscaling.pictures.picture import PictureError

STRIP_BYTES = 1 << 18  # of pixels, in each of the parts that readers read one by one
MOST_BYTES = (1 << 32) - (1 << 24)  # what offsets of 32 bits reach, less the directory
GREY, RGB = 1, 2  # of PhotometricInterpretation
DEFLATE = 8
HORIZONTAL_DIFFERENCES = 2
UNASSOCIATED_ALPHA = 2


def write_tiff(file: BinaryIO, bands: Iterator[np.ndarray], height: int, metadata: Metadata, *, alpha: bool) -> None:
    """Writes a file, compressed without loss.

    Args:
        file: empty.
        bands: (rows, W, channels) uint8 or uint16, from the top.
        height: of the picture.
        alpha: whether the last channel is one.

    Raises:
        PictureError: it is too large for the format.
    """
    first = next(bands)
    _, width, channels = first.shape
    rows = max(1, STRIP_BYTES // (width * channels * first.itemsize))
    exif = metadata.parsed_exif()
    # The directory, which comes first, is as long whatever its numbers: it is written when they are known.
    lengths = [0] * -(-height // rows)
    _complete(exif, metadata, lengths, rows, (height, *first.shape[1:]), first.itemsize, alpha=alpha)
    file.seek(len(exif.file_start()))
    for number, strip in enumerate(_strips(itertools.chain((first,), bands), rows)):
        lengths[number] = file.write(_compressed(strip, exif.order))
        if file.tell() > MOST_BYTES:
            raise PictureError('TIFF files hold at most 4 GiB: choose PNG')
    _complete(exif, metadata, lengths, rows, (height, *first.shape[1:]), first.itemsize, alpha=alpha)
    file.seek(0)
    file.write(exif.file_start())


def _strips(bands: Iterable[np.ndarray], rows: int) -> Iterator[np.ndarray]:
    """The same rows, so many at a time."""
    rest: np.ndarray | None = None
    for band in bands:
        band = band if rest is None else np.concatenate([rest, band])
        end = len(band) // rows * rows
        yield from (band[top : top + rows] for top in range(0, end, rows))
        rest = band[end:]
    if rest is not None and len(rest):
        yield rest


def _complete(
    exif: Exif,
    metadata: Metadata,
    lengths: list[int],
    rows: int,
    shape: tuple[int, ...],
    itemsize: int,
    *,
    alpha: bool,
) -> None:
    """Sets the entries of a picture with strips of these lengths, of so many rows each."""
    height, width, channels = shape
    entries = exif.main.entries
    entries |= {
        Base.ImageWidth: exif.entry(LONG, width),
        Base.ImageLength: exif.entry(LONG, height),
        Base.BitsPerSample: exif.entry(SHORT, *(8 * itemsize,) * channels),
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
    offsets: Any = np.cumsum([len(exif.file_start()), *lengths[:-1]])
    entries[Base.StripOffsets] = exif.entry(LONG, *offsets.tolist())


def _compressed(rows: np.ndarray, order: str) -> bytes:
    """(rows, W, channels) as differences to the left neighbours, deflated."""
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]
    return zlib.compress(differences.astype(rows.dtype.newbyteorder(order)).tobytes())  # type: ignore[arg-type]
