"""Reading files of several pictures: animations frame by frame, as they are seen, and the pages of TIFF files."""

import dataclasses
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from gsasr_plugin.upscaling.pictures import gif, png
from gsasr_plugin.upscaling.pictures.exif import is_tiff, only_page, page_offsets
from gsasr_plugin.upscaling.pictures.formats import READERS
from gsasr_plugin.upscaling.pictures.metadata import stored_in_png, stored_with
from gsasr_plugin.upscaling.pictures.opened import StoredFile, as_picture, check_size
from gsasr_plugin.upscaling.pictures.picture import Picture, PictureError
from gsasr_plugin.upscaling.pictures.reading import (
    GREY_MODES,
    error_in_words,
    has_lossless_webp,
    number_of_frames,
    pillow_for_our_needs,
)
from gsasr_plugin.upscaling.pictures.tiff_reading import read_tiff

PAGE_MS = 1000.0  # pages say nothing of it


class Frame(NamedTuple):
    """A picture of several.

    Attributes:
        duration: how long it is seen, in milliseconds.
        plays: how often all of them are shown, 0 for ever.
    """

    picture: Picture
    duration: float
    plays: int


def read_frames(source: Path | bytes, *, max_pixels: float | None = None) -> Iterator[Frame]:
    """The frames of an animation (GIF, APNG, WebP, AVIF), all of one size and as they are seen, or a TIFF file's pages.

    One is in memory at a time. Frames of an animation are in 8 bits, and all in colour or all in grey, all with alpha
    or all without.

    Args:
        max_pixels: of each, see `read_picture`.

    Raises:
        PictureError: see `read_picture`; the message says which of them is damaged.
    """
    content = source if isinstance(source, bytes) else source.read_bytes()
    if not is_tiff(content):
        yield from _animation(content, max_pixels)
        return
    for number, offset in enumerate(page_offsets(content), 1):
        with pillow_for_our_needs(), _named(number):
            page = read_tiff(only_page(content, offset), max_pixels)
        yield Frame(page, PAGE_MS, 0)


def _animation(content: bytes, max_pixels: float | None) -> Iterator[Frame]:
    if gif.is_gif(content):
        check_size(gif.extent(content), max_pixels)
    with pillow_for_our_needs(), _named(1):
        readers = ['PNG'] if png.is_png(content) else [reader for reader in READERS if reader in Image.OPEN]
        image = Image.open(io.BytesIO(content), formats=readers)
        count = number_of_frames(image)
    check_size((image.height, image.width), max_pixels)
    first = 1 if png.is_png(content) and image.info.get('default_image') else 0  # a picture for others
    alpha = color = False
    for _, seen in _seen(image, range(first, count)):
        alpha = alpha or (seen.has_transparency_data and seen.convert('RGBA').getchannel('A').getextrema()[0] != 255)
        color = color or seen.mode not in GREY_MODES
    mode = ('RGB' if color else 'L') + 'A' * alpha
    remarks = ['its 16 bits per channel are read as 8'] if png.is_png(content) and content[24] == 16 else []
    with pillow_for_our_needs():
        stored = stored_in_png(content) if png.is_png(content) else stored_with(image)
    lossless = has_lossless_webp(content)
    file = StoredFile((image.height, image.width), image.format or 'PNG', alpha, stored)
    for number, seen in _seen(image, range(first, count)):
        levels = np.asarray(seen.convert(mode), np.float32) / np.float32(255)
        levels = levels.reshape(*levels.shape[:2], -1)
        pixels, opacity = (levels[..., :-1], levels[..., -1]) if alpha else (levels, None)
        picture = as_picture(file, pixels, opacity, 8, remarks if number == first else [])
        yield Frame(
            dataclasses.replace(picture, lossless=lossless), float(image.info.get('duration', 0)), _plays(image)
        )


def _seen(image: Image.Image, numbers: range) -> Iterator[tuple[int, Image.Image]]:
    """Each frame as it is seen: upon what the ones before have left."""
    for number in numbers:
        with pillow_for_our_needs(), _named(number - numbers.start + 1):
            image.seek(number)
            image.load()
        yield number, image


def _plays(image: Image.Image) -> int:
    if image.format == 'GIF':  # which says how often to repeat, and nothing where that is never
        repeats = image.info.get('loop')
        return 1 if repeats is None else repeats + 1 if repeats else 0
    return int(image.info.get('loop', 0))


@contextmanager
def _named(number: int) -> Iterator[None]:
    try:
        yield
    except PictureError as error:
        raise PictureError(f'its picture {number} {error}') from None
    except Exception as error:  # each of Pillow's decoders has its own
        raise PictureError(f'its picture {number} is damaged: {error_in_words(error)}') from None
