"""Writing pictures, with their metadata: Pillow writes 8 bits, OpenCV PNG files of 16 bits, tiff.py TIFF files."""

import dataclasses
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gsasr_plugin.upscaling.pictures.formats import DEFAULT_QUALITY, FORMATS
from gsasr_plugin.upscaling.pictures.metadata import Metadata
from gsasr_plugin.upscaling.pictures.picture import Picture, PictureError
from gsasr_plugin.upscaling.pictures.tiff import tiff_content
from gsasr_plugin.whole_file import write_whole

PNG_HEADER_BYTES = 33  # signature and IHDR, which come first


def cannot_hold(size: tuple[int, int], format: str, *, alpha: bool) -> str | None:
    """Why a format cannot hold a picture of the size (H, W), None where it can."""
    known = FORMATS[format]
    if alpha and not known.alpha:
        able = ', '.join(other.name for other in FORMATS.values() if other.alpha)
        return f'{format} files hold no alpha channel, which the picture has: choose one of {able}'
    if max(size) > known.max_side:
        return f'{format} files hold at most {known.max_side} pixels per side, not {size[1]} x {size[0]}'
    return None


def write_picture(picture: Picture, path: Path | None, *, quality: int = DEFAULT_QUALITY) -> None:
    """Writes a picture in its `format`: to the standard output, or a file, whole or not at all, and its folder.

    Raises:
        PictureError: see `encode_picture`.
    """
    content = encode_picture(picture, quality=quality)
    if path is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)


def encode_picture(picture: Picture, *, quality: int = DEFAULT_QUALITY) -> bytes:
    """The content of a file of the picture's `format`. A format without 16 bits gets the 8 highest, rounded.

    Args:
        picture: what to write; a WebP file of a grey picture is RGB, for that format knows no grey.
        quality: of JPEG and WebP, 1 to 100.

    Raises:
        PictureError: the format cannot hold it.
    """
    problem = cannot_hold(picture.size, picture.format, alpha=picture.alpha is not None)
    if problem:
        raise PictureError(problem)
    deep = picture.bits == 16 and FORMATS[picture.format].deep
    if deep and picture.alpha is not None and picture.color.shape[2] == 1:  # what no reader of 16 bits understands
        picture = dataclasses.replace(picture, color=np.repeat(picture.color, 3, axis=2))
    metadata = picture.metadata
    if picture.format == 'TIFF':
        levels = _levels(picture, 65535, np.uint16) if deep else _levels(picture, 255, np.uint8)
        return tiff_content(levels, metadata, alpha=picture.alpha is not None)
    if deep:
        return _png_16(picture)
    exif = metadata.exif_data()
    options: dict[str, Any] = {'icc_profile': metadata.icc}
    if metadata.dpi:
        options['dpi'] = metadata.dpi
    if picture.format == 'PNG':
        options['pnginfo'] = _png_texts(metadata)
    else:
        options |= {'quality': quality, 'xmp': metadata.xmp or b''}
        if picture.format == 'JPEG':
            options |= {'subsampling': 0, 'comment': metadata.texts.get('Comment', '')}
    if len(exif):
        options['exif'] = exif
    file = io.BytesIO()
    to_pillow(picture).save(file, picture.format, **options)
    return file.getvalue()


def to_pillow(picture: Picture) -> Image.Image:
    """The pixels, in 8 bits, as an image of Pillow's: mode L, LA, RGB or RGBA."""
    pixels = _levels(picture, 255, np.uint8)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _levels(picture: Picture, top: int, dtype: Any) -> np.ndarray:
    """(H, W, channels) of whole numbers 0..top, alpha last."""
    pixels = picture.color if picture.alpha is None else np.dstack([picture.color, picture.alpha])
    return np.rint(np.clip(pixels, 0, 1) * np.float32(top)).astype(dtype)


def _png_texts(metadata: Metadata) -> PngInfo:
    texts = PngInfo()
    for key, text in metadata.texts.items():
        texts.add_text(key, text) if text.isascii() else texts.add_itxt(key, text)
    if metadata.xmp:
        texts.add_itxt('XML:com.adobe.xmp', metadata.xmp.decode('utf-8', errors='replace'))
    return texts


def _png_16(picture: Picture) -> bytes:
    """OpenCV's file, with the chunks of metadata that Pillow gives a picture of one pixel put after its header."""
    import cv2

    pixels = _levels(picture, 65535, np.uint16)
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[2]]  # BGR, BGRA
    done, encoded = cv2.imencode('.png', np.ascontiguousarray(pixels[..., order]))
    if not done:
        raise PictureError('OpenCV cannot encode it')
    content = encoded.tobytes()
    pixel = np.zeros((1, 1, picture.color.shape[2]), np.float32)
    described = encode_picture(Picture(pixel, metadata=picture.metadata))
    chunks = described[PNG_HEADER_BYTES : described.rindex(b'IDAT') - 4]  # a chunk begins with its length
    return content[:PNG_HEADER_BYTES] + chunks + content[PNG_HEADER_BYTES:]
