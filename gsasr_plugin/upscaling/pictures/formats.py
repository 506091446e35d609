"""The kinds of files, and what each of them can hold."""

from pathlib import PurePath
from typing import NamedTuple


class Format(NamedTuple):
    """A kind of file.

    Attributes:
        name: Pillow's name of it.
        suffixes: the usual one first.
        deep: whether it holds 16 bits per channel too.
        alpha: whether it holds an alpha channel.
        max_side: the longest side in pixels.
    """

    name: str
    suffixes: tuple[str, ...]
    deep: bool
    alpha: bool
    max_side: int


FORMATS = {
    'PNG': Format('PNG', ('.png',), deep=True, alpha=True, max_side=2**31 - 1),
    'JPEG': Format('JPEG', ('.jpg', '.jpeg'), deep=False, alpha=False, max_side=65535),
    'WEBP': Format('WEBP', ('.webp',), deep=False, alpha=True, max_side=16383),
    'TIFF': Format('TIFF', ('.tif', '.tiff'), deep=True, alpha=True, max_side=2**31 - 1),
    'BMP': Format('BMP', ('.bmp',), deep=False, alpha=False, max_side=2**31 - 1),
}
DEFAULT_QUALITY = 95  # of JPEG and WebP
GAUSSIANS_SUFFIX = '.npz'  # of what 'gsasr gaussians' writes
SUFFIXES = tuple(suffix for known in FORMATS.values() for suffix in known.suffixes)


def format_of_path(path: PurePath) -> Format | None:
    """The format that the suffix stands for, None for any other suffix."""
    return next((known for known in FORMATS.values() if path.suffix.lower() in known.suffixes), None)
