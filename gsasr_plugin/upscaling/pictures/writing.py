"""Writing pictures, with their metadata: libvips encodes PNG, tiff.py TIFF files, Pillow all others."""

import dataclasses
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gsasr_plugin.upscaling.pictures import png
from gsasr_plugin.upscaling.pictures.formats import DEFAULT_QUALITY, FORMATS, HOLD_FRAMES
from gsasr_plugin.upscaling.pictures.metadata import IPTC_RESOURCE, Metadata, held, with_resolution
from gsasr_plugin.upscaling.pictures.picture import Picture, PictureError
from gsasr_plugin.upscaling.pictures.tiff import tiff_content
from gsasr_plugin.upscaling.pictures.vips import encoded_png
from gsasr_plugin.whole_file import write_whole

Color = tuple[float, float, float]  # RGB, 0..1, in the colour space of the picture
TRANSPARENT = 255  # of the colours of a GIF file
GIF_LOSSES = [
    'its colours become 256: GIF files hold no more',
    'what shines through becomes opaque or transparent: GIF files hold nothing between',
]
LOSSLESS_EFFORT = 80  # of WebP's encoder, 0 to 100


def cannot_hold(size: tuple[int, int], format: str, *, alpha: bool, frames: int = 1) -> str | None:
    """Why a format cannot hold so many pictures of the size (H, W), None where it can."""
    known = FORMATS[format]
    if frames > 1 and format not in HOLD_FRAMES:
        return f'{format} files hold one picture, and it has {frames}: choose one of {", ".join(HOLD_FRAMES)}'
    if alpha and not known.alpha:
        able = ', '.join(other.name for other in FORMATS.values() if other.alpha)
        return (
            f'{format} files hold no alpha channel, which the picture has: choose one of {able}, or give --background'
        )
    if max(size) > known.max_side:
        return f'{format} files hold at most {known.max_side} pixels per side, not {size[1]} x {size[0]}'
    return None


def write_picture(picture: Picture, path: Path | None, *, quality: int | None = None) -> None:
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


def fit_for_format(picture: Picture, background: Color | None) -> Picture:
    """The picture as a file of its `format` holds it: where that has no alpha, laid on a background.

    Args:
        background: None: only what is wholly opaque loses its alpha channel.
    """
    if picture.alpha is None or FORMATS[picture.format].alpha:
        return picture
    if not (picture.alpha < 1).any():
        return dataclasses.replace(picture, alpha=None)
    if background is None:
        return picture
    behind = np.array(background[:1] if len(set(background)) == 1 else background, np.float32)  # grey stays grey
    alpha = picture.alpha[..., None]
    return dataclasses.replace(picture, color=np.clip(picture.color, 0, 1) * alpha + behind * (1 - alpha), alpha=None)


def losses(picture: Picture) -> list[str]:
    """What a file of the picture's `format` does not keep of it, for messages."""
    bits = (
        []
        if picture.bits == 8 or FORMATS[picture.format].deep
        else [f'its 16 bits become 8: {picture.format} files hold no more']
    )
    if picture.format == 'GIF':
        bits += GIF_LOSSES[: 1 if picture.alpha is None else 2]
    return bits + held(picture.metadata, picture.format, grey=picture.color.shape[2] == 1)[1]


def encode_picture(picture: Picture, *, quality: int | None = None) -> bytes:
    """The content of a file of the picture's `format`. A format without 16 bits gets the 8 highest, rounded.

    Args:
        picture: what to write; a WebP or AVIF file of a grey picture is RGB, for these formats know no grey. Metadata
            that the format does not hold are left out, see `losses`.
        quality: of JPEG, WebP and AVIF, 1 to 100; None: `DEFAULT_QUALITY`, or a WebP file without loss, where the
            picture is `lossless`.

    Raises:
        PictureError: the format cannot hold it.
    """
    problem = cannot_hold(picture.size, picture.format, alpha=picture.alpha is not None)
    if problem:
        raise PictureError(problem)
    metadata, _ = held(picture.metadata, picture.format, grey=picture.color.shape[2] == 1)
    if picture.format in ('PNG', 'TIFF'):
        deep = picture.bits == 16
        levels = _levels(picture, 65535, np.uint16) if deep else _levels(picture, 255, np.uint8)
        if picture.format == 'TIFF':
            return tiff_content(levels, metadata, alpha=picture.alpha is not None)
        return png.with_chunks(encoded_png(levels), _chunks(metadata))
    file = io.BytesIO()
    image = _with_palette(picture) if picture.format == 'GIF' else to_pillow(picture)
    image.save(file, picture.format, **_options(picture, metadata, quality))
    return file.getvalue()


def _options(picture: Picture, metadata: Metadata, quality: int | None) -> dict[str, Any]:
    """What Pillow's writers are told."""
    options: dict[str, Any] = {'dpi': metadata.dpi} if metadata.dpi else {}
    if picture.format == 'BMP':
        return options
    if picture.format == 'GIF':
        see_through = {} if picture.alpha is None else {'transparency': TRANSPARENT}
        return {'comment': metadata.comment or b'', 'optimize': False, **see_through}
    lossless = picture.format == 'WEBP' and picture.lossless and quality is None
    quality = DEFAULT_QUALITY if quality is None else quality
    exif = metadata.exif if picture.format == 'JPEG' else with_resolution(metadata.exif, metadata.dpi)
    options |= {'quality': quality, 'xmp': metadata.xmp or b'', 'exif': exif or b'', 'icc_profile': metadata.icc}
    if picture.format == 'JPEG':
        options |= {'subsampling': 0, 'comment': metadata.comment or b'', 'extra': _iptc_segment(metadata.iptc)}
    elif lossless:
        options |= {'lossless': True, 'exact': True, 'quality': LOSSLESS_EFFORT}
    return options


def _with_palette(picture: Picture) -> Image.Image:
    """In 256 colours, the last of which stands for what is transparent by more than half."""
    image = to_pillow(dataclasses.replace(picture, alpha=None)).convert('RGB')
    palette = image.quantize(TRANSPARENT if picture.alpha is not None else TRANSPARENT + 1, kmeans=1)
    image = image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    if picture.alpha is None:
        return image
    indices = np.where(picture.alpha < 0.5, np.uint8(TRANSPARENT), np.asarray(image))
    seen = Image.fromarray(indices, 'P')
    seen.putpalette([*(image.getpalette() or []), *bytes(3 * (TRANSPARENT + 1))][: 3 * (TRANSPARENT + 1)])
    return seen


def to_pillow(picture: Picture) -> Image.Image:
    """The pixels, in 8 bits, as an image of Pillow's: mode L, LA, RGB or RGBA."""
    pixels = _levels(picture, 255, np.uint8)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _levels(picture: Picture, top: int, dtype: Any) -> np.ndarray:
    """(H, W, channels) of whole numbers 0..top, alpha last."""
    pixels = picture.color if picture.alpha is None else np.dstack([picture.color, picture.alpha])
    return np.rint(np.clip(pixels, 0, 1) * np.float32(top)).astype(dtype)


def _chunks(metadata: Metadata) -> list[png.Chunk]:
    """What a PNG file holds beside pixels."""
    chunks = [chunk for chunk in metadata.chunks if chunk.name in png.COLOR_CHUNKS]
    chunks += [png.profile_chunk(metadata.icc)] if metadata.icc else []
    chunks += [png.resolution_chunk(metadata.dpi)] if metadata.dpi else []
    chunks += [png.exif_chunk(metadata.exif)] if metadata.exif else []
    chunks += [chunk for chunk in metadata.chunks if chunk.name not in png.COLOR_CHUNKS]
    keywords = [png.keyword_of(chunk) for chunk in metadata.chunks if chunk.name in png.TEXT_CHUNKS]
    if metadata.comment and png.COMMENT not in keywords:
        chunks.append(png.text_chunk(png.COMMENT, _as_utf8(metadata.comment)))
    chunks += [png.text_chunk(png.XMP_KEYWORD, metadata.xmp)] if metadata.xmp else []
    chunks += [png.iptc_chunk(metadata.iptc)] if metadata.iptc else []
    return chunks


def _as_utf8(text: bytes) -> bytes:
    try:
        text.decode()
    except UnicodeDecodeError:
        text = text.decode('latin-1').encode()
    return text.replace(b'\0', b'')


def _iptc_segment(iptc: bytes | None) -> bytes:
    """A segment APP13 of a JPEG file with IPTC's records as the only one of Photoshop's resources."""
    if not iptc:
        return b''
    resource = b'8BIM' + IPTC_RESOURCE.to_bytes(2, 'big') + bytes(2) + len(iptc).to_bytes(4, 'big') + iptc
    data = b'Photoshop 3.0\0' + resource + bytes(len(iptc) % 2)
    return b'\xff\xed' + (len(data) + 2).to_bytes(2, 'big') + data
