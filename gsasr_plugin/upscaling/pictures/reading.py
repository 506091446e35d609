"""Reading pictures: upright, in 8 or 16 bits, with alpha and metadata.

libvips decodes PNG and TIFF files, Pillow all others.
"""

import dataclasses
import importlib
import io
import mmap
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from gsasr_plugin.library_limits import with_truncated_files, without_library_limits
from gsasr_plugin.picture_colors import as_rgb
from gsasr_plugin.upscaling.pictures import gif, png, vips
from gsasr_plugin.upscaling.pictures.depth import bits_in_file
from gsasr_plugin.upscaling.pictures.exif import Buffer, is_tiff, page_offsets
from gsasr_plugin.upscaling.pictures.formats import HOLD_FRAMES, READERS, Format
from gsasr_plugin.upscaling.pictures.metadata import (
    Metadata,
    settled,
    stored_in_png,
    stored_with,
)
from gsasr_plugin.upscaling.pictures.opened import StoredFile, as_picture, check_size, only_the_first, result_format
from gsasr_plugin.upscaling.pictures.picture import ACCEPTED, DAMAGED, Picture, PictureError
from gsasr_plugin.upscaling.pictures.tiff_reading import read_tiff, tiff_file

GREY_MODES = ('1', 'L', 'LA', 'La')
RGB_MODES = ('P', 'PA', 'RGB', 'RGBA', 'RGBa', 'RGBX')
DEEP_GREY = 'I;16'
_one_reads = threading.RLock()
# Files that begin so -> who reads them, and the extra that brings it along.
OPTIONAL_READERS = {
    rb'ftyp(heic|heix|hevc|hevx|heim|heis|mif1|msf1)': ('HEIC', 'pi_heif', 'heic'),
    rb'JXL ': ('JPEG XL', 'pillow_jxl', 'jxl'),
}


# Where BMP files have their second header, its length from version 5 on, and how they name a profile in the file.
BMP_HEADER, BMP_VERSION_5, BMP_EMBEDDED = 14, 124, b'DEBM'


class Header(NamedTuple):
    """What is known of a picture before its pixels are read.

    Attributes:
        size: (H, W), upright.
        format: a name of `FORMATS`, that of the file or else one that holds the picture without loss.
        alpha: whether it has an alpha channel.
        frames: how many pictures it has, of an animation or pages.
        frames_format: as `format`, of all of them.
        channels: of its colours, 1 or 3, at least.
        bits: per channel, 8 or 16, at least.
        lossless: see `Picture`.
    """

    size: tuple[int, int]
    format: str
    alpha: bool
    frames: int = 1
    frames_format: str = 'PNG'
    channels: int = 1
    bits: int = 8
    lossless: bool = False

    def level_bytes(self, format: Format) -> int:
        """Of a pixel of a result in that format, at least, before it is compressed."""
        return (self.channels + (self.alpha and format.alpha)) * (2 if self.bits == 16 and format.deep else 1)


def picture_header(source: Path | bytes, *, max_pixels: float | None = None) -> Header:
    """Reads the header of a file, or of its content.

    Args:
        max_pixels: see `read_picture`.

    Raises:
        PictureError: it cannot be read, is of another format, or too large.
    """
    with _content(source) as content, pillow_for_our_needs():
        if png.is_png(content):
            file, frames = _png_file(content), _png_frames(content)
        elif is_tiff(content):
            file, frames = tiff_file(content), len(page_offsets(content))
        else:
            with _open(content) as image:
                file, frames = _pillow_file(image), number_of_frames(image)
        orientation = settled(file.stored)[1]
        lossless = has_lossless_webp(content)
    size = file.size[::-1] if orientation >= 5 else file.size
    check_size(size, max_pixels)
    together = file.format if file.format in HOLD_FRAMES else 'PNG'
    format = result_format(file.format, alpha=file.alpha)
    return Header(size, format, file.alpha, frames, together, file.channels, file.bits, lossless)


def read_picture(source: Path | bytes, *, max_pixels: float | None = None) -> Picture:
    """Reads a picture from a file, or from its content.

    Args:
        max_pixels: the largest picture; None: what the memory holds; infinity: any.

    Raises:
        PictureError: it cannot be read, is of another format, too large, or holds other numbers than 8 or 16 bits.
    """
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise PictureError(f'cannot be read: {error.strerror}') from error
    with pillow_for_our_needs():
        if png.is_png(content):
            return _read_png(content, max_pixels)
        if is_tiff(content):
            return read_tiff(content, max_pixels)
        return _read_other(content, max_pixels)


def from_pillow(image: Image.Image) -> Picture:
    """The pixels and metadata of an image of Pillow's.

    Raises:
        PictureError: its mode holds other numbers than 8 bits, or 16 bits of grey.
    """
    if 0 in image.size:
        raise PictureError(f'an image of {image.width} x {image.height} pixels holds nothing')
    stored, remarks = stored_with(image), []
    if image.mode.startswith(DEEP_GREY) or (image.mode == 'I' and image.format == 'PPM'):
        color, alpha, bits = np.asarray(image).astype(np.float32)[..., None] / np.float32(65535), None, 16
    else:
        if image.mode not in GREY_MODES + RGB_MODES:
            image, stored = _to_rgb(image, stored)
            remarks.append('its colours were converted to RGB')
        channels = 'L' if image.mode in GREY_MODES else 'RGB'
        has_alpha = image.has_transparency_data
        pixels = np.asarray(image.convert(channels + 'A' * has_alpha), np.float32) / np.float32(255)
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        color, alpha = (pixels[..., :-1], pixels[..., -1]) if has_alpha else (pixels, None)
        bits = 8
    file = StoredFile(image.size[::-1], image.format or 'PNG', alpha is not None, stored)
    return as_picture(file, color, alpha, bits, remarks)


def _read_png(content: bytes, max_pixels: float | None) -> Picture:
    file, remarks = _png_file(content), []
    check_size(file.size, max_pixels)
    try:
        image = vips.decoded(content)
    except PictureError as error:
        image = vips.decoded(content, whole=False)
        if image.width == 1 == image.height or (image.max() == image.min()):
            raise error  # nothing was found
        remarks.append('it is damaged: what could be read of it is used')
    color, alpha, bits = vips.levels_of(image, alpha_at=0 if image.bands in (2, 4) else None)
    remarks += only_the_first(_png_frames(content))
    return as_picture(file, color, alpha, bits, remarks)


def _png_frames(content: Buffer) -> int:
    control = next((chunk.data[:4] for chunk in png.chunks_of(content) if chunk.name == b'acTL'), b'')
    return max(int.from_bytes(control, 'big'), 1)


def _png_file(content: Buffer) -> StoredFile:
    chunks = png.chunks_of(content)
    header = next(chunks, png.Chunk(b'', b''))
    if header.name != b'IHDR' or len(header.data) != 13:
        raise PictureError('is damaged: its header cannot be read')
    width, height = int.from_bytes(header.data[:4], 'big'), int.from_bytes(header.data[4:8], 'big')
    if 0 in (width, height):
        raise PictureError('is damaged: it holds no pixels')
    alpha = header.data[9] in (4, 6) or any(chunk.name == b'tRNS' for chunk in chunks)
    depth, kind = header.data[8:10]
    channels = 1 if kind in (0, 4) else 3
    return StoredFile((height, width), 'PNG', alpha, stored_in_png(content), channels, 16 if depth == 16 else 8)


def _read_other(content: bytes, max_pixels: float | None) -> Picture:
    remarks: list[str] = []
    image = _open(content)
    with image:
        check_size((image.height, image.width), max_pixels)
        remarks += only_the_first(number_of_frames(image))
        if image.format == 'MPO':
            remarks.append('further pictures in its file (a preview, a gain map) are left out')
        depth = bits_in_file(image, content)
        try:
            image.load()
        except Exception as error:  # each of Pillow's decoders has its own
            part = _truncated(content)
            if part is None:
                raise PictureError(f'is damaged: {error_in_words(error)}') from None
            image = part
            remarks.append('it is damaged: what could be read of it is used')
        except BaseException as error:
            raise _of_a_library(error) from None
        picture = from_pillow(image)
    if picture.bits < depth:
        remarks.append(f'its {depth} bits per channel are read as {picture.bits}')
    return dataclasses.replace(picture, remarks=(*remarks, *picture.remarks), lossless=has_lossless_webp(content))


def has_lossless_webp(content: bytes | mmap.mmap) -> bool:
    """Whether a file is a WebP file without loss, or its first frame is."""
    place = 12  # behind RIFF, a length and WEBP: chunks, each with its length
    while content[:4] == b'RIFF' and place + 8 <= len(content):
        if content[place : place + 4] in (b'VP8L', b'VP8 '):
            return content[place : place + 4] == b'VP8L'
        length = int.from_bytes(content[place + 4 : place + 8], 'little')
        place += 24 if content[place : place + 4] == b'ANMF' else 8 + length + length % 2  # a frame's own chunks
    return False


def _truncated(content: bytes) -> Image.Image | None:
    """What there is of a JPEG file that ends too soon, None where that is nothing."""
    with with_truncated_files():
        try:
            image = _open(content)
            if image.format not in ('JPEG', 'MPO'):
                return None
            image.load()
        except Exception:
            return None
    extrema = np.atleast_2d(image.getextrema())
    return None if (extrema[:, 0] == extrema[:, 1]).all() else image


def _pillow_file(image: Image.Image) -> StoredFile:
    deep = image.mode.startswith(DEEP_GREY)
    return StoredFile(
        (image.height, image.width),
        image.format or '',
        image.has_transparency_data,
        stored_with(image),
        1 if deep or image.mode in ('I', *GREY_MODES) else 3,
        16 if deep else 8,
    )


def number_of_frames(image: Image.Image) -> int:
    """How many pictures a file has that belong together, as far as they can be followed."""
    try:
        return 1 if image.format in ('MPO', 'ICO', 'ICNS', 'PSD') else getattr(image, 'n_frames', 1)
    except Exception:  # later ones are damaged
        return 1


@contextmanager
def _content(source: Path | bytes) -> Iterator[Buffer]:
    """The bytes of a file, of which those are read that are looked at."""
    if isinstance(source, bytes):
        yield source
        return
    try:
        with source.open('rb') as file:
            empty = source.stat().st_size == 0
            content = b'' if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise PictureError(f'cannot be read: {getattr(error, "strerror", None) or error}') from error
    yield content


@contextmanager
def pillow_for_our_needs() -> Iterator[None]:
    """Neither limits nor warnings of Pillow's, for one thread at a time."""
    # Warnings and Pillow's settings are the process's: one picture at a time, which takes little beside the network.
    with _one_reads, without_library_limits(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # they name no file
        yield


def _open(content: Buffer) -> Image.Image:
    if gif.is_gif(content):
        check_size(gif.extent(content, first=True), None)
    _add_reader(content)
    Image.init()
    try:
        file: Any = io.BytesIO(content) if isinstance(content, bytes) else content
        file.seek(0)
        image = Image.open(file, formats=[reader for reader in READERS if reader in Image.OPEN])
    except Image.UnidentifiedImageError:
        what = 'is not a picture that can be read' if len(content) else 'is empty'
        raise PictureError(f'{what} (accepted: PNG, TIFF, {", ".join(READERS)})') from None
    except Exception as error:  # a damaged header
        raise PictureError(f'cannot be read: {error_in_words(error)}') from error
    except BaseException as error:
        raise _of_a_library(error) from None
    if image.format in ('BMP', 'DIB'):
        image.info['icc_profile'] = _bmp_profile(content)
    return image


def _bmp_profile(content: Buffer) -> bytes | None:
    """The profile within a BMP file of version 5, where it has one."""
    header = content[BMP_HEADER : BMP_HEADER + BMP_VERSION_5]
    if len(header) < BMP_VERSION_5 or header[0] < BMP_VERSION_5 or header[56:60] != BMP_EMBEDDED:
        return None
    offset, length = struct.unpack_from('<II', header, 112)
    profile = bytes(content[BMP_HEADER + offset : BMP_HEADER + offset + length])
    return profile if length and len(profile) == length else None


def _of_a_library(error: BaseException) -> BaseException:
    """What a reader in Rust raises where it gives up: no Exception, lest anybody goes on with its state. We do not."""
    return PictureError(DAMAGED) if type(error).__name__ == 'PanicException' else error


def _add_reader(content: Buffer) -> None:
    """Makes Pillow read what it does not by itself, by a package that may be absent."""
    beginning = content[4:12]
    for mark, (name, module, extra) in OPTIONAL_READERS.items():
        if not re.match(mark, beginning) and not (name == 'JPEG XL' and content[:2] == b'\xff\x0a'):
            continue
        try:
            reader = importlib.import_module(module)
        except ImportError:
            raise PictureError(f"is a {name} file: pip install 'gsasr-plugin[{extra}]' adds what reads these") from None
        if module == 'pi_heif':
            reader.register_heif_opener()


def error_in_words(error: Exception) -> str:
    """What Pillow's readers raise, for messages."""
    words = str(error) if not isinstance(error, OSError) else error.strerror or str(error)
    told = words and 'BytesIO' not in words and '\n' not in words  # several lines are for whoever builds the library
    return words if told else 'its data make no sense'


def _to_rgb(image: Image.Image, stored: Metadata) -> tuple[Image.Image, Metadata]:
    """Converts CMYK and the like, by the profile where there is one, to sRGB."""
    if image.mode not in ('CMYK', 'YCbCr', 'LAB', 'HSV'):
        raise PictureError(f'holds numbers of another kind (mode {image.mode}); {ACCEPTED}')
    name = image.format
    converted, profile = as_rgb(image, stored.icc)
    converted.format = name
    return converted, dataclasses.replace(stored, icc=profile)
