"""Reading pictures: upright, in 8 or 16 bits, with alpha and metadata.

libvips decodes PNG and TIFF files, Pillow all others.
"""

import dataclasses
import importlib
import io
import mmap
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from PIL.ExifTags import Base

from gsasr_plugin.archs.tile_memory import free_bytes
from gsasr_plugin.library_limits import with_truncated_files, without_library_limits
from gsasr_plugin.upscaling.pictures import png, vips
from gsasr_plugin.upscaling.pictures.depth import bits_in_file
from gsasr_plugin.upscaling.pictures.exif import Buffer, Exif, first_page, is_tiff, pages, parse_exif
from gsasr_plugin.upscaling.pictures.formats import FORMATS, READERS
from gsasr_plugin.upscaling.pictures.metadata import (
    Metadata,
    settled,
    stored_in_png,
    stored_in_tiff,
    stored_with,
)
from gsasr_plugin.upscaling.pictures.picture import ACCEPTED, Picture, PictureError

GREY_MODES = ('1', 'L', 'LA', 'La')
RGB_MODES = ('P', 'PA', 'RGB', 'RGBA', 'RGBa', 'RGBX')
DEEP_GREY = 'I;16'
_one_reads = threading.RLock()
# Files that begin so -> who reads them, and the extra that brings it along.
OPTIONAL_READERS = {
    rb'ftyp(heic|heix|hevc|hevx|heim|heis|mif1|msf1)': ('HEIC', 'pi_heif', 'heic'),
    rb'JXL ': ('JPEG XL', 'pillow_jxl', 'jxl'),
}
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
# Of TIFF files: channels of colour by PhotometricInterpretation; and SampleFormat.
UNSIGNED, NUMBERS = 1, {2: 'numbers with sign', 3: 'floating-point numbers', 5: 'complex numbers', 6: 'complex numbers'}
ALPHA_SAMPLES = (1, 2)  # of ExtraSamples: multiplied into the colours or not
DNG_VERSION = 50706
SEPARATE = 2  # of PlanarConfiguration


class Header(NamedTuple):
    """What is known of a picture before its pixels are read.

    Attributes:
        size: (H, W), upright.
        format: a name of `FORMATS`, that of the file or else one that holds the picture without loss.
        alpha: whether it has an alpha channel.
    """

    size: tuple[int, int]
    format: str
    alpha: bool


def picture_header(source: Path | bytes, *, max_pixels: float | None = None) -> Header:
    """Reads the header of a file, or of its content.

    Args:
        max_pixels: see `read_picture`.

    Raises:
        PictureError: it cannot be read, is of another format, or too large.
    """
    with _content(source) as content, _pillow_for_our_needs():
        if png.is_png(content):
            file = _png_file(content)
        elif is_tiff(content):
            file = _tiff_file(content)
        else:
            with _open(content) as image:
                file = _pillow_file(image)
        orientation = settled(file.stored)[1]
    size = file.size[::-1] if orientation >= 5 else file.size
    _check_size(size, max_pixels)
    return Header(size, _result_format(file.format, alpha=file.alpha), file.alpha)


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
    with _pillow_for_our_needs():
        if png.is_png(content):
            return _read_png(content, max_pixels)
        if is_tiff(content):
            return _read_tiff(content, max_pixels)
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
    file = _File(image.size[::-1], image.format or 'PNG', alpha is not None, stored)
    return _picture(file, color, alpha, bits, remarks)


class _File(NamedTuple):
    """What a header says: the size (H, W) as it lies in the file, Pillow's name of the format, alpha, metadata."""

    size: tuple[int, int]
    format: str
    alpha: bool
    stored: Metadata


def _picture(file: _File, color: np.ndarray, alpha: np.ndarray | None, bits: int, remarks: list[str]) -> Picture:
    """Pixels as they lie in the file, turned upright."""
    metadata, orientation, more = settled(file.stored)
    return Picture(
        color=_upright(color, orientation),
        alpha=None if alpha is None else _upright(alpha, orientation),
        bits=bits,
        format=_result_format(file.format, alpha=alpha is not None),
        metadata=metadata,
        remarks=(*remarks, *more),
    )


def _result_format(name: str, *, alpha: bool) -> str:
    name = {'MPO': 'JPEG', 'DIB': 'BMP'}.get(name, name)
    return name if name in FORMATS and (FORMATS[name].alpha or not alpha) else 'PNG'


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns (H, W, ...) pixels as EXIF says."""
    transposed, rows, columns = UPRIGHT.get(orientation, (False, False, False))
    pixels = pixels.swapaxes(0, 1) if transposed else pixels
    return np.ascontiguousarray(pixels[:: -1 if rows else 1, :: -1 if columns else 1])


def _check_size(size: tuple[int, int], max_pixels: float | None) -> None:
    count = size[0] * size[1]
    what = f'holds {size[1]} x {size[0]} = {_pixels(count)}'
    if max_pixels is not None and count > max_pixels:
        raise PictureError(f'{what}, and {_pixels(max_pixels)} are allowed (--max-input-pixels)')
    needed, free = READING_BYTES * count, free_bytes(torch.device('cpu'))
    if max_pixels is None and needed > free:
        raise PictureError(f'{what}, which take {needed / 2**30:.1f} GiB to read; {free / 2**30:.1f} GiB are free')


def _pixels(count: float) -> str:
    return f'{count / 1e6:.1f} million pixels' if count >= 1e6 else f'{count:.0f} pixels'


def _read_png(content: bytes, max_pixels: float | None) -> Picture:
    file, remarks = _png_file(content), []
    _check_size(file.size, max_pixels)
    try:
        image = vips.decoded(content)
    except PictureError as error:
        image = vips.decoded(content, whole=False)
        if image.width == 1 == image.height or (image.max() == image.min()):
            raise error  # nothing was found
        remarks.append('it is damaged: what could be read of it is used')
    color, alpha, bits = vips.levels_of(image, alpha_at=0 if image.bands in (2, 4) else None)
    frames = next((c.data[:4] for c in png.chunks_of(content) if c.name == b'acTL'), b'')
    remarks += _only_the_first(int.from_bytes(frames, 'big'))
    return _picture(file, color, alpha, bits, remarks)


def _png_file(content: Buffer) -> _File:
    chunks = png.chunks_of(content)
    header = next(chunks, png.Chunk(b'', b''))
    if header.name != b'IHDR' or len(header.data) != 13:
        raise PictureError('is damaged: its header cannot be read')
    width, height = int.from_bytes(header.data[:4], 'big'), int.from_bytes(header.data[4:8], 'big')
    if 0 in (width, height):
        raise PictureError('is damaged: it holds no pixels')
    alpha = header.data[9] in (4, 6) or any(chunk.name == b'tRNS' for chunk in chunks)
    return _File((height, width), 'PNG', alpha, stored_in_png(content))


def _read_tiff(content: bytes, max_pixels: float | None) -> Picture:
    file, exif, remarks = _tiff_file(content), parse_exif(content), []
    _check_size(file.size, max_pixels)
    extra = [int(kind) for kind in exif.numbers(Base.ExtraSamples)]
    alpha_at = next((number for number, kind in enumerate(extra) if kind in ALPHA_SAMPLES), None)
    if len(extra) > (alpha_at is not None):
        remarks.append('a channel whose meaning it does not say is left out')
    depth = int(max(exif.numbers(Base.BitsPerSample), default=1))
    count = pages(content)
    if exif.number(Base.PlanarConfiguration, 1) == SEPARATE and exif.number(Base.SamplesPerPixel, 1) == 2:
        color, alpha, bits, converted = *_of_two_planes(content, alpha_at), depth, False
    elif depth not in (1, 2, 4, 8, 16):
        color, alpha, bits, converted = _of_odd_bits(content, exif, depth), None, 16, False
    else:
        image = vips.decoded(first_page(content) if count > 1 else content)
        color, alpha, bits = vips.levels_of(image, alpha_at=alpha_at)
        converted = image.interpretation in ('cmyk', 'lab', 'labs')
    if converted:
        remarks.append('its colours were converted to RGB')
        file = file._replace(stored=dataclasses.replace(file.stored, icc=None))
    remarks += _only_the_first(count)
    return _picture(file, color, alpha, bits, remarks)


def _of_two_planes(content: bytes, alpha_at: int | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Grey in one plane and another channel in the next, which libvips mixes up."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            planes = file.pages[0].asarray()
            white_is_zero = file.pages[0].photometric == 0
    except Exception as error:  # each of its decoders has its own
        raise PictureError(f'is damaged, or of a kind that cannot be read: {error}') from None
    if planes.ndim != 3 or planes.dtype not in (np.uint8, np.uint16) or white_is_zero:
        raise PictureError('has two planes of a kind that cannot be read')
    grey, other = planes.astype(np.float32) / np.float32(np.iinfo(planes.dtype).max)
    return grey[..., None], None if alpha_at is None else other


def _of_odd_bits(content: bytes, exif: Exif, depth: int) -> np.ndarray:
    """Colours of 12 bits and the like, which libvips does not know and OpenCV does, in their simplest form."""
    import cv2

    simple = exif.number(Base.PhotometricInterpretation, -1) in (1, 2) and exif.number(Base.Orientation, 1) == 1
    simple = simple and exif.number(Base.PlanarConfiguration, 1) == 1 and Base.ExtraSamples not in exif.main.entries
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # its lines name no file
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if simple else None
    except cv2.error:
        pixels = None
    finally:
        cv2.utils.logging.setLogLevel(level)
    if pixels is None or pixels.dtype != np.uint16:
        raise PictureError(f'holds {depth} bits; {ACCEPTED}')
    levels = np.right_shift(pixels.astype(np.uint16), 16 - depth).astype(np.float32) / np.float32(2**depth - 1)
    return levels.reshape(*levels.shape[:2], -1)[..., ::-1]


def _tiff_file(content: Buffer) -> _File:
    try:
        exif = parse_exif(content)
    except ValueError as error:
        raise PictureError(f'is damaged: {error}') from None
    size = exif.number(Base.ImageLength, 0), exif.number(Base.ImageWidth, 0)
    if min(size) < 1:
        raise PictureError('is damaged: it holds no pixels')
    if DNG_VERSION in exif.main.entries:
        raise PictureError("is a camera's raw file (DNG), which holds no finished picture")
    kinds, bits = exif.numbers(Base.SampleFormat), exif.numbers(Base.BitsPerSample) or (1,)
    wrong = [NUMBERS.get(int(kind), f'numbers of kind {kind:.0f}') for kind in kinds if kind in NUMBERS]
    if wrong or max(bits) > 16:
        found = wrong[0] if wrong else f'{max(bits):.0f} bits'
        raise PictureError(f'holds {found}; {ACCEPTED}')
    alpha = any(kind in ALPHA_SAMPLES for kind in exif.numbers(Base.ExtraSamples))
    return _File(size, 'TIFF', alpha, stored_in_tiff(exif))


def _read_other(content: bytes, max_pixels: float | None) -> Picture:
    remarks: list[str] = []
    image = _open(content)
    with image:
        _check_size((image.height, image.width), max_pixels)
        remarks += _only_the_first(_frames(image))
        if image.format == 'MPO':
            remarks.append('further pictures in its file (a preview, a gain map) are left out')
        depth = bits_in_file(image, content)
        try:
            image.load()
        except Exception as error:  # each of Pillow's decoders has its own
            part = _truncated(content)
            if part is None:
                raise PictureError(f'is damaged: {_words(error)}') from None
            image = part
            remarks.append('it is damaged: what could be read of it is used')
        picture = from_pillow(image)
    if picture.bits < depth:
        remarks.append(f'its {depth} bits per channel are read as {picture.bits}')
    return dataclasses.replace(picture, remarks=(*remarks, *picture.remarks), lossless=_is_lossless_webp(content))


def _is_lossless_webp(content: bytes) -> bool:
    place = 12  # behind RIFF, a length and WEBP: chunks, each with its length
    while content[:4] == b'RIFF' and place + 8 <= len(content):
        if content[place : place + 4] in (b'VP8L', b'VP8 '):
            return content[place : place + 4] == b'VP8L'
        length = int.from_bytes(content[place + 4 : place + 8], 'little')
        place += 8 + length + length % 2
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


def _pillow_file(image: Image.Image) -> _File:
    return _File((image.height, image.width), image.format or '', image.has_transparency_data, stored_with(image))


def _only_the_first(count: int) -> list[str]:
    return [f'only the first of its {count} pictures is used'] if count > 1 else []


def _frames(image: Image.Image) -> int:
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
def _pillow_for_our_needs() -> Iterator[None]:
    # Warnings and Pillow's settings are the process's: one picture at a time, which takes little beside the network.
    with _one_reads, without_library_limits(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # they name no file
        yield


def _open(content: Buffer) -> Image.Image:
    _add_reader(content)
    Image.init()
    try:
        file: Any = io.BytesIO(content) if isinstance(content, bytes) else content
        file.seek(0)
        return Image.open(file, formats=[reader for reader in READERS if reader in Image.OPEN])
    except Image.UnidentifiedImageError:
        what = 'is not a picture that can be read' if len(content) else 'is empty'
        raise PictureError(f'{what} (accepted: PNG, TIFF, {", ".join(READERS)})') from None
    except Exception as error:  # a damaged header
        raise PictureError(f'cannot be read: {_words(error)}') from error


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


def _words(error: Exception) -> str:
    words = str(error) if not isinstance(error, OSError) else error.strerror or str(error)
    return words if words and 'BytesIO' not in words else 'its data make no sense'


def _to_rgb(image: Image.Image, stored: Metadata) -> tuple[Image.Image, Metadata]:
    """Converts CMYK and the like, by the profile where there is one, to sRGB."""
    if image.mode not in ('CMYK', 'YCbCr', 'LAB', 'HSV'):
        raise PictureError(f'holds numbers of another kind (mode {image.mode}); {ACCEPTED}')
    name, profile = image.format, stored.icc
    if profile is not None and image.mode != 'YCbCr':
        from PIL import ImageCms

        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB'))
        try:
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, own, srgb, outputMode='RGB')
            profile = srgb.tobytes()
        except (ImageCms.PyCMSError, OSError):
            converted = None  # a profile that is damaged or of another kind of picture
            profile = None
    else:
        converted = None
    if converted is None:
        converted = image.convert('RGB')
    converted.format = name
    return converted, dataclasses.replace(stored, icc=profile)
