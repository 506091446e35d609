"""Writing pictures, with their metadata: libvips encodes PNG, tiff.py TIFF files, Pillow all others."""

import dataclasses
import io
import itertools
import mmap
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from gsasr_plugin.upscaling.pictures import png
from gsasr_plugin.upscaling.pictures.formats import DEFAULT_QUALITY, FORMATS, HOLD_FRAMES, WEBP_LARGE
from gsasr_plugin.upscaling.pictures.metadata import IPTC_RESOURCE, Metadata, held, with_resolution
from gsasr_plugin.upscaling.pictures.picture import Picture, PictureError, Pixels
from gsasr_plugin.upscaling.pictures.tiff import write_tiff
from gsasr_plugin.upscaling.pictures.vips import encode_png
from gsasr_plugin.upscaling.pictures.waiting import waiting_rows
from gsasr_plugin.whole_file import writing_whole

Color = tuple[float, float, float]  # RGB, 0..1, in the colour space of the picture
TRANSPARENT = 255  # of the colours of a GIF file
GIF_LOSSES = [
    'its colours become 256: GIF files hold no more',
    'what shines through becomes opaque or transparent: GIF files hold nothing between',
]
MOST_PLAIN_BYTES = 2**32 - 1 - 2048  # numbers of 32 bits, less the header and a palette
LOSSLESS_EFFORT = 80  # of WebP's encoder, 0 to 100
WEBP_USUAL, WEBP_FRUGAL = (4, 4), (2, 0)  # its methods, 0 to 6, with loss and without


def cannot_hold(
    size: tuple[int, int], format: str, *, alpha: bool, frames: int = 1, level_bytes: int = 1
) -> str | None:
    """Why a format cannot hold so many pictures of the size (H, W), None where it can.

    Args:
        level_bytes: of a pixel.
    """
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
    if known.plain and size[0] * known.row_bytes(size[1], level_bytes) > MOST_PLAIN_BYTES:
        return f'{format} files hold at most 4 GiB, and {size[1]} x {size[0]} pixels take more: choose PNG'
    return None


def write_picture(picture: Picture, path: Path | None, *, quality: int | None = None) -> None:
    """Writes a picture in its `format`: to the standard output, or a file, whole or not at all, and its folder.

    Raises:
        PictureError: see `encode_picture`.
    """
    write_bands(picture, picture.size, [(picture.color, picture.alpha)], path, quality=quality)


def write_bands(
    picture: Picture, size: tuple[int, int], bands: Iterable[Pixels], path: Path | None, *, quality: int | None = None
) -> None:
    """As `write_picture`, but the pixels come in bands of rows, so that not all of them are in memory.

    The levels of PNG, JPEG and WebP files wait in a file without a name, in the folder of the result; of other formats
    than these and TIFF, Pillow holds them in memory.

    Args:
        picture: what is said of the result, and in which channels; its pixels are not looked at.
        size: (H, W).
        bands: colour (rows, W, channels) and alpha (rows, W) or None, from the top.
    """
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with writing_whole(path) as file:
            _encode(picture, size, bands, file, path.parent, quality)
        return
    with tempfile.TemporaryFile() as file:
        _encode(picture, size, bands, file, None, quality)
        file.seek(0)
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def as_result(
    picture: Picture, size: tuple[int, int], format: str, *, strip: bool = False, lossless: bool = False
) -> Picture:
    """What is said of an enlargement of a picture, whose own pixels it still has.

    Args:
        size: (H, W) of the enlargement.
        strip, lossless: see `BatchOptions`.
    """
    metadata = picture.metadata.stripped() if strip else picture.metadata
    return dataclasses.replace(
        picture, format=format, metadata=metadata.of_size(size), lossless=picture.lossless or lossless
    )


def fit_for_format(
    picture: Picture, bands: Iterable[Pixels], background: Color | None
) -> tuple[Picture, Iterable[Pixels]]:
    """A picture, and bands of its enlargement, as a file of its `format` holds them: where that has no alpha, laid on a
    background.

    Args:
        background: None: only what is wholly opaque loses its alpha channel.
    """
    if picture.alpha is None or FORMATS[picture.format].alpha:
        return picture, bands
    if not (picture.alpha < 1).any():
        return dataclasses.replace(picture, alpha=None), ((color, None) for color, _ in bands)
    if background is None:
        return picture, bands
    behind = np.array(background[:1] if len(set(background)) == 1 else background, np.float32)  # grey stays grey

    def laid(color: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
        assert alpha is not None
        return np.clip(color, 0, 1) * alpha[..., None] + behind * (1 - alpha[..., None])

    flat = dataclasses.replace(picture, color=laid(picture.color, picture.alpha), alpha=None)
    return flat, ((laid(*band), None) for band in bands)


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
    file = io.BytesIO()
    _encode(picture, picture.size, [(picture.color, picture.alpha)], file, None, quality)
    return file.getvalue()


def _encode(
    picture: Picture,
    size: tuple[int, int],
    bands: Iterable[Pixels],
    file: BinaryIO,
    folder: Path | None,
    quality: int | None,
) -> None:
    """See `write_bands`; `folder` is where a file may wait."""
    channels = picture.color.shape[2] + (picture.alpha is not None)
    problem = cannot_hold(size, picture.format, alpha=picture.alpha is not None, level_bytes=channels)
    if problem:
        raise PictureError(problem)
    metadata, _ = held(picture.metadata, picture.format, grey=picture.color.shape[2] == 1)
    deep = picture.bits == 16 and FORMATS[picture.format].deep
    levels = (_levels(color, alpha, np.uint16 if deep else np.uint8) for color, alpha in bands)
    if picture.format == 'TIFF':
        write_tiff(file, levels, size[0], metadata, alpha=picture.alpha is not None)
    elif picture.format == 'PNG':
        encode_png(png.ChunkWriter(file, _chunks(metadata)).write, levels, size[0], folder)
    else:
        known = FORMATS[picture.format]
        waiting = _waiting_image(levels, size, folder, in_colour=not known.grey) if known.waits else None
        with waiting or _pillow_image(levels, size) as image:
            image = _with_palette(image) if picture.format == 'GIF' else image
            image.save(file, picture.format, **_options(picture, size, metadata, quality))


def _options(picture: Picture, size: tuple[int, int], metadata: Metadata, quality: int | None) -> dict[str, Any]:
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
    elif picture.format == 'WEBP':
        options['method'] = (WEBP_FRUGAL if size[0] * size[1] > WEBP_LARGE else WEBP_USUAL)[lossless]
        options |= {'lossless': True, 'exact': True, 'quality': LOSSLESS_EFFORT} if lossless else {}
    return options


def _with_palette(image: Image.Image) -> Image.Image:
    """In 256 colours, the last of which stands for what is transparent by more than half."""
    alpha = np.asarray(image.getchannel('A')) if image.mode in ('LA', 'RGBA') else None
    image = image.convert('RGB')
    palette = image.quantize(TRANSPARENT if alpha is not None else TRANSPARENT + 1, kmeans=1)
    image = image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    if alpha is None:
        return image
    indices = np.where(alpha < 128, np.uint8(TRANSPARENT), np.asarray(image))
    seen = Image.fromarray(indices, 'P')
    seen.putpalette([*(image.getpalette() or []), *bytes(3 * (TRANSPARENT + 1))][: 3 * (TRANSPARENT + 1)])
    return seen


def to_pillow(picture: Picture) -> Image.Image:
    """The pixels, in 8 bits, as an image of Pillow's: mode L, LA, RGB or RGBA."""
    return _pillow_image(iter([_levels(picture.color, picture.alpha, np.uint8)]), picture.size)


def _pillow_image(bands: Iterable[np.ndarray], size: tuple[int, int]) -> Image.Image:
    image, top = None, 0
    for levels in bands:
        band = Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)
        if len(levels) == size[0]:
            return band
        image = Image.new(band.mode, size[::-1]) if image is None else image
        image.paste(band, (0, top))
        top += len(levels)
    assert image is not None and top == size[0]
    return image


@contextmanager
def _waiting_image(
    bands: Iterator[np.ndarray], size: tuple[int, int], folder: Path | None, *, in_colour: bool
) -> Iterator[Image.Image]:
    """The same, its pixels in a file as Pillow has them in memory, grey in one byte each and all others in four."""
    first = next(bands)
    bands = itertools.chain((first,), bands)
    if len(first) == size[0]:
        yield _pillow_image(bands, size)
        return
    mode = {1: 'L', 3: 'RGBX'}.get(first.shape[2], 'RGBA')
    if in_colour or mode != 'L':
        mode, bands = 'RGBX' if mode == 'L' else mode, map(_in_four, bands)
    with waiting_rows(bands, folder) as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        yield Image.frombuffer(mode, size[::-1], mapped, 'raw', mode, 0, 1)  # type: ignore[arg-type]


def _in_four(levels: np.ndarray) -> np.ndarray:
    """Grey or colours, with alpha or without, as RGB and alpha."""
    color, alpha = (levels[..., :-1], levels[..., -1]) if levels.shape[2] in (2, 4) else (levels, None)
    opaque = np.full(levels.shape[:2], 255, np.uint8)
    return np.dstack([np.broadcast_to(color, (*levels.shape[:2], 3)), opaque if alpha is None else alpha])


def _levels(color: np.ndarray, alpha: np.ndarray | None, dtype: Any) -> np.ndarray:
    """(rows, W, channels) of whole numbers, alpha last."""
    pixels = color if alpha is None else np.dstack([color, alpha])
    return np.rint(np.clip(pixels, 0, 1) * np.float32(np.iinfo(dtype).max)).astype(dtype)


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
