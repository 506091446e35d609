"""The kinds of files, and what each of them can hold."""

from pathlib import PurePath
from typing import NamedTuple


class Format(NamedTuple):
    """A kind of file that is written.

    Attributes:
        name: Pillow's name of it.
        suffixes: the usual one first.
        deep: whether it holds 16 bits per channel too.
        alpha: whether it holds an alpha channel.
        max_side: the longest side in pixels.
        grey: whether it holds pictures of one channel.
        holds: the fields of `Metadata` that it holds.
        held_bytes: of memory per pixel while it is written, about, where there is much noise; 0 where rows are written
            as they come. Without loss, and of large ones, see `held`.
        waits: whether rows wait on the disk until all are there, as the encoder takes them: JPEG files in colour with
            a byte more, those of WebP files always in four.
        plain: whether a file holds its rows as they are, each filled up to whole groups of four bytes, and how large it
            may be: 4 GiB.
    """

    name: str
    suffixes: tuple[str, ...]
    deep: bool
    alpha: bool
    max_side: int
    grey: bool
    holds: tuple[str, ...]
    held_bytes: int
    waits: bool = False
    plain: bool = False

    def row_bytes(self, width: int, level_bytes: int) -> int:
        """Of a row of levels that is not compressed."""
        waits_in_four = self.name == 'WEBP' or (self.name == 'JPEG' and level_bytes == 3)
        count = width * (4 if waits_in_four else level_bytes)
        return count + -count % 4 if self.plain else count

    def held(self, pixels: int, *, lossless: bool = False) -> int:
        """Bytes of memory while a file of so many pixels is written.

        Args:
            lossless: whether it is a WebP file without loss.
        """
        return pixels * (WEBP_HELD[lossless, pixels > WEBP_LARGE] if self.name == 'WEBP' else self.held_bytes)


# WebP's encoder holds the picture in four bytes per pixel, and what it knows of each: of larger pictures it is told to
# know less, which takes half the memory and a few tenths of a decibel at equal quality.
WEBP_LARGE = 1 << 26
WEBP_HELD = {(False, False): 14, (False, True): 8, (True, False): 40, (True, True): 26}  # by lossless, and large
EVERYTHING = ('icc', 'exif', 'xmp', 'iptc', 'comment', 'dpi')
# name, suffixes, deep, alpha, max_side, grey, holds, held_bytes
FORMATS = {
    known.name: known
    for known in (
        Format('PNG', ('.png',), True, True, 2**31 - 1, True, EVERYTHING, 0, waits=True),
        Format('JPEG', ('.jpg', '.jpeg'), False, False, 65535, True, EVERYTHING, 4, waits=True),
        Format(
            'WEBP', ('.webp',), False, True, 16383, False, ('icc', 'exif', 'xmp'), WEBP_HELD[False, False], waits=True
        ),
        Format('AVIF', ('.avif',), False, True, 65535, False, ('icc', 'exif', 'xmp'), 30),
        Format('TIFF', ('.tif', '.tiff'), True, True, 2**31 - 1, True, ('icc', 'exif', 'xmp', 'iptc', 'dpi'), 0),
        Format('GIF', ('.gif',), False, True, 65535, True, ('comment',), 18),
        Format('BMP', ('.bmp',), False, False, 2**31 - 1, True, ('dpi',), 5, plain=True),
    )
}
HOLD_FRAMES = ('PNG', 'WEBP', 'TIFF', 'GIF')  # several pictures: animations, pages
LOSSY = ('JPEG', 'AVIF', 'GIF')  # Pillow's AVIF files are off by 3 levels at best
DEFAULT_QUALITY = 95  # of JPEG, WebP and AVIF
GAUSSIANS_SUFFIX = '.npz'  # of what 'gsasr gaussians' writes
# Further names of the formats above, and of those that are only read: see `READERS`.
READ_SUFFIXES = (
    *('.apng', '.bmp', '.dib', '.jpe', '.jfif', '.mpo', '.jp2', '.j2k', '.jpx', '.ppm', '.pgm', '.pbm', '.pnm'),
    *('.tga', '.ico', '.icns', '.psd', '.pcx', '.sgi', '.dds', '.qoi', '.heic', '.heif', '.jxl'),
)
SUFFIXES = tuple(dict.fromkeys([*(s for known in FORMATS.values() for s in known.suffixes), *READ_SUFFIXES]))
# What Pillow may open, by its names; its other readers, one of which starts a program, never see a byte.
READERS = (
    *('JPEG', 'MPO', 'WEBP', 'BMP', 'DIB', 'GIF', 'AVIF', 'JPEG2000', 'PPM', 'ICO', 'ICNS', 'PSD', 'PCX', 'SGI', 'DDS'),
    *('QOI', 'HEIF', 'JXL', 'TGA'),  # the last has no mark at its beginning
)


def format_of_path(path: PurePath) -> Format | None:
    """The format that the suffix stands for, None for any other suffix."""
    return next((known for known in FORMATS.values() if path.suffix.lower() in known.suffixes), None)
