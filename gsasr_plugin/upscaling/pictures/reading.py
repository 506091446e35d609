"""Reading pictures: upright, in 8 or 16 bits, with alpha and metadata.

Pillow reads the files. Where it would cut 16 bits to 8, the pixels are OpenCV's.
"""

import dataclasses
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.ExifTags import Base

from gsasr_plugin.upscaling.pictures.formats import FORMATS
from gsasr_plugin.upscaling.pictures.metadata import Metadata, metadata_of
from gsasr_plugin.upscaling.pictures.picture import Picture, PictureError

# What Pillow may open: its other readers never see a byte. Its JPEG reader makes MPO of a file with further pictures
# behind, as phones write them.
READERS = tuple(FORMATS)
GREY_MODES = ('1', 'L', 'LA', 'La')
RGB_MODES = ('P', 'PA', 'RGB', 'RGBA', 'RGBa', 'RGBX')
DEEP_GREY = 'I;16'
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


class Header(NamedTuple):
    """What is known of a picture before its pixels are read.

    Attributes:
        size: (H, W), upright.
        format: a name of `FORMATS`.
        alpha: whether it has an alpha channel; of what stands behind the pixels nothing is known.
    """

    size: tuple[int, int]
    format: str
    alpha: bool


def picture_header(source: Path | bytes) -> Header:
    """Reads the header of a file, or of its content.

    Raises:
        PictureError: it cannot be read, or is of another format.
    """
    image = _open(source)
    with image:
        width, height = image.size
        # A PNG would be decoded to the end in search of EXIF; `info` has it where it stands in the header. Pillow
        # turns TIFF itself, and its size is that of the upright picture.
        sideways = image.format != 'TIFF' and 'exif' in image.info and _orientation(image) >= 5
        size = (width, height) if sideways else (height, width)
        return Header(size, _format_name(image), image.has_transparency_data)


def read_picture(source: Path | bytes) -> Picture:
    """Reads a picture from a file, or from its content.

    Raises:
        PictureError: it cannot be read, is of another format, or holds other numbers than 8 or 16 bits.
    """
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise PictureError(f'cannot be read: {error.strerror}') from error
    with _open(content) as image:
        deep = _is_deep(image)
        try:
            image.load()
        except Exception as error:  # each of Pillow's decoders has its own
            raise PictureError(f'is damaged: {error}') from error
        picture = _with_16_bits(image, content) if deep else from_pillow(image)
    return picture


def from_pillow(image: Image.Image) -> Picture:
    """The pixels and metadata of an image of Pillow's.

    Raises:
        PictureError: its mode holds other numbers than 8 bits, or 16 bits of grey.
    """
    orientation = _orientation(image)
    metadata, remarks = metadata_of(image), []
    if getattr(image, 'n_frames', 1) > 1 and image.format != 'MPO':
        remarks.append(f'only the first of its {image.n_frames} pictures is used')  # type: ignore[attr-defined]
    if image.mode.startswith(DEEP_GREY):
        color, alpha, bits = np.asarray(image).astype(np.float32)[..., None] / np.float32(65535), None, 16
    else:
        if image.mode not in GREY_MODES + RGB_MODES:
            image, metadata = _to_rgb(image, metadata)
            remarks.append('its colours were converted to RGB')
        channels = 'L' if image.mode in GREY_MODES else 'RGB'
        has_alpha = image.has_transparency_data
        pixels = np.asarray(image.convert(channels + 'A' * has_alpha), np.float32) / np.float32(255)
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        color, alpha = (pixels[..., :-1], pixels[..., -1]) if has_alpha else (pixels, None)
        bits = 8
    return Picture(
        color=_upright(color, orientation),
        alpha=None if alpha is None else _upright(alpha, orientation),
        bits=bits,
        format=_format_name(image),
        metadata=metadata,
        remarks=tuple(remarks),
    )


def _open(source: Path | bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=READERS)
    except Image.UnidentifiedImageError:
        empty = not source if isinstance(source, bytes) else source.stat().st_size == 0
        what = 'is empty' if empty else 'is not a picture that can be read'
        raise PictureError(f'{what} (accepted: {", ".join(FORMATS)})') from None
    except OSError as error:
        raise PictureError(f'cannot be read: {error.strerror or error}') from error
    except Exception as error:  # a damaged header, or a picture too large to be true
        raise PictureError(f'cannot be read: {error}') from error


def _format_name(image: Image.Image) -> str:
    return image.format if image.format in FORMATS else 'JPEG' if image.format == 'MPO' else 'PNG'


def _orientation(image: Image.Image) -> int:
    orientation = image.getexif().get(Base.Orientation, 1)
    return orientation if orientation in UPRIGHT else 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns (H, W, ...) pixels as EXIF says."""
    if orientation not in UPRIGHT:
        return pixels
    transposed, rows, columns = UPRIGHT[orientation]
    pixels = pixels.swapaxes(0, 1) if transposed else pixels
    return np.ascontiguousarray(pixels[:: -1 if rows else 1, :: -1 if columns else 1])


def _is_deep(image: Image.Image) -> bool:
    """Whether a file has more than 8 bits per channel; before it is loaded, which forgets how it is stored."""
    if image.format == 'TIFF':
        bits = image.tag_v2.get(Base.BitsPerSample, 8)  # type: ignore[attr-defined]
        return max(bits if isinstance(bits, tuple) else (bits,)) > 8
    return image.format == 'PNG' and any('16' in str(tile[3]) for tile in image.tile)  # type: ignore[attr-defined]


def _with_16_bits(image: Image.Image, content: bytes) -> Picture:
    """A picture whose pixels OpenCV decodes, and all else Pillow."""
    import cv2

    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        found = 'another kind' if pixels is None else str(pixels.dtype)
        raise PictureError(f'holds numbers of {found}; accepted are 8 and 16 bits per channel, without sign')
    pixels = pixels.reshape(*pixels.shape[:2], -1).astype(np.float32) / np.float32(65535)
    alpha = pixels[..., 3] if pixels.shape[2] == 4 else None
    grey = image.mode in GREY_MODES or image.mode.startswith(DEEP_GREY)
    color = pixels[..., :1] if grey else pixels[..., 2::-1]
    # OpenCV turns TIFF upright as Pillow does, and leaves PNG as it is.
    orientation = 1 if image.format == 'TIFF' else _orientation(image)
    frames = getattr(image, 'n_frames', 1)
    return Picture(
        color=np.ascontiguousarray(_upright(color, orientation)),
        alpha=None if alpha is None else np.ascontiguousarray(_upright(alpha, orientation)),
        bits=16,
        format=_format_name(image),
        metadata=metadata_of(image),
        remarks=(f'only the first of its {frames} pictures is used',) if frames > 1 else (),
    )


def _to_rgb(image: Image.Image, metadata: Metadata) -> tuple[Image.Image, Metadata]:
    """Converts CMYK and the like, by the profile where there is one, to sRGB."""
    if image.mode not in ('CMYK', 'YCbCr', 'LAB', 'HSV'):
        raise PictureError(
            f'holds numbers of another kind (mode {image.mode}); accepted are 8 and 16 bits per channel, without sign'
        )
    if metadata.icc is not None and image.mode != 'YCbCr':
        from PIL import ImageCms

        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB'))
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(metadata.icc))
            converted = ImageCms.profileToProfile(image, profile, srgb, outputMode='RGB')
        except (ImageCms.PyCMSError, OSError):
            converted = None  # a profile that is damaged or of another kind of picture
        if converted is not None:
            converted.format = image.format
            return converted, dataclasses.replace(metadata, icc=srgb.tobytes())
        metadata = dataclasses.replace(metadata, icc=None)
    converted = image.convert('RGB')
    converted.format = image.format
    return converted, metadata
