"""The pixels of data sets: those that were written, and those that `gsasr upscale` reads, by other libraries."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms, PngImagePlugin

from gsasr_plugin.data.decoded_images import DecodedImages
from gsasr_plugin.data.decoding import UnseenError, decode
from gsasr_plugin.data.eight_bit import to_float
from gsasr_plugin.data.image_files import list_images
from gsasr_plugin.picture_colors import with_hidden_filled
from gsasr_plugin.upscaling.pictures.picture import PictureError
from gsasr_plugin.upscaling.pictures.reading import read_picture
from tests.upscaling.pictures.test_faults import tiff

SIZE = (20, 30)
RNG = np.random.default_rng(0)
RGB8 = RNG.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (*SIZE, 3), dtype=np.uint16)
ALPHA8 = RNG.choice(np.array([0, 100, 255], np.uint8), SIZE)
ALPHA16 = ALPHA8.astype(np.uint16) * 257


def pillow(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def vips_png(levels: np.ndarray) -> bytes:
    channels = levels.shape[2]
    kind = 'ushort' if levels.dtype == np.uint16 else 'uchar'
    names = {'ushort': ('grey16', 'rgb16'), 'uchar': ('b-w', 'srgb')}[kind]
    image = pyvips.Image.new_from_memory(np.ascontiguousarray(levels).data, *levels.shape[1::-1], channels, kind)
    return image.copy(interpretation=names[channels > 2]).pngsave_buffer(keep='none')


def with_trns(png: bytes, data: bytes) -> bytes:
    file = io.BytesIO()
    PngImagePlugin.putchunk(file, b'tRNS', data)
    at = png.index(b'IDAT') - 4
    return png[:at] + file.getvalue() + png[at:]


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = orientation
    return exif


def filled(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """By search through all pixels; of equally near ones any will do, so alpha is chosen to leave one."""
    result = color.copy()
    rows, columns = np.nonzero(alpha)
    for y, x in zip(*np.nonzero(alpha == 0)):
        nearest = np.argmin((rows - y) ** 2 + (columns - x) ** 2)
        result[y, x] = color[rows[nearest], columns[nearest]]
    return result


LEFT_SEEN = np.where(np.arange(SIZE[1]) < 12, 255, 0).astype(np.uint8)[None].repeat(SIZE[0], 0)
LEVELS2 = RNG.integers(0, 4, SIZE, dtype=np.uint8)

# Name -> content, and what was written where no reader may change a number.
FILES: dict[str, tuple[Callable[[], bytes], np.ndarray | None]] = {
    'png8': (lambda: vips_png(RGB8), RGB8),
    'png16': (lambda: vips_png(RGB16), RGB16),
    'png grey 16': (lambda: vips_png(RGB16[..., :1]), RGB16[..., :1]),
    'png rgba': (lambda: vips_png(np.dstack([RGB8, LEFT_SEEN])), filled(RGB8, LEFT_SEEN)),
    'png opaque': (lambda: vips_png(np.dstack([RGB8, np.full(SIZE, 255, np.uint8)])), RGB8),
    'png rgba 16': (lambda: vips_png(np.dstack([RGB16, LEFT_SEEN * np.uint16(257)])), filled(RGB16, LEFT_SEEN)),
    'png rgba 16 seen': (lambda: vips_png(np.dstack([RGB16, np.maximum(ALPHA16, 1)])), RGB16),
    'png grey alpha': (lambda: vips_png(np.dstack([RGB8[..., :1], ALPHA8])), None),
    'png grey alpha 16': (lambda: vips_png(np.dstack([RGB16[..., :1], ALPHA16])), None),
    'png trns': (lambda: with_trns(vips_png(RGB8), b''.join(bytes([0, v]) for v in RGB8[3, 4])), None),
    'png trns 16': (lambda: with_trns(vips_png(RGB16), RGB16[3, 4].astype('>u2').tobytes()), None),
    'png grey trns 16': (lambda: with_trns(vips_png(RGB16[..., :1]), RGB16[3, 4, 0].astype('>u2').tobytes()), None),
    'png palette trns': (lambda: pillow(Image.fromarray(RGB8).quantize(8), 'PNG', transparency=2), None),
    'png turned 16': (lambda: with_exif(vips_png(RGB16)), None),
    'png turned rgba 16': (lambda: with_exif(vips_png(np.dstack([RGB16, ALPHA16]))), None),
    'png turned rgba': (lambda: pillow(Image.fromarray(np.dstack([RGB8, ALPHA8])), 'PNG', exif=turned(6)), None),
    'ppm': (lambda: b'P6 30 20 255\n' + RGB8.tobytes(), RGB8),
    'ppm 16': (lambda: b'P6\n# made by hand\n30 20\n65535\n' + RGB16.astype('>u2').tobytes(), RGB16),
    'ppm of few levels': (lambda: b'P6 30 20 5\n' + (RGB8 // 51).tobytes(), RGB8 // 51 * 51),
    'pgm of 1024 levels 16': (lambda: b'P5 30 20 1023\n' + (RGB16[..., 0] // 64).astype('>u2').tobytes(), None),
    'jpeg': (lambda: pillow(Image.fromarray(RGB8), 'JPEG', quality=95), None),
    'jpeg cmyk': (lambda: pillow(Image.fromarray(RGB8).convert('CMYK'), 'JPEG', quality=95), None),
    'webp alpha': (
        lambda: pillow(Image.fromarray(np.dstack([RGB8, LEFT_SEEN])), 'WEBP', lossless=True, exact=True),
        None,
    ),
    'tiff': (lambda: tiff(RGB8, photometric='rgb'), RGB8),
    'tiff 16': (lambda: tiff(RGB16, photometric='rgb'), RGB16),
    'tiff planes 16': (lambda: tiff(np.moveaxis(RGB16, -1, 0), photometric='rgb', planarconfig='separate'), RGB16),
    'tiff white 16': (lambda: tiff(65535 - RGB16[..., 0], photometric='miniswhite'), RGB16[..., :1]),
    'tiff white': (lambda: tiff(255 - RGB8[..., 0], photometric='miniswhite'), RGB8[..., :1]),
    'tiff alpha 16': (
        lambda: tiff(np.dstack([RGB16, LEFT_SEEN * np.uint16(257)]), photometric='rgb', extrasamples=['unassalpha']),
        filled(RGB16, LEFT_SEEN),
    ),
    'tiff premultiplied 16': (
        lambda: tiff(
            np.dstack([RGB16 // 2, np.full(SIZE, 32768, np.uint16)]), photometric='rgb', extrasamples=['assocalpha']
        ),
        None,
    ),
    'tiff turned 16': (lambda: tiff(RGB16, photometric='rgb', extratags=[(274, 'H', 1, 6, True)]), None),
}


def with_exif(png: bytes, orientation: int = 8) -> bytes:
    file = io.BytesIO()
    PngImagePlugin.putchunk(file, b'eXIf', turned(orientation).tobytes()[6:])
    return png[:33] + file.getvalue() + png[33:]


@pytest.mark.parametrize('name', FILES)
def test_data_sets_see_what_upscale_reads(name: str) -> None:
    make, written = FILES[name]
    content = make()
    pixels = decode(content)
    assert pixels is not None and pixels.ndim == 3 and pixels.shape[2] == 3
    assert pixels.dtype == (np.uint16 if '16' in name else np.uint8)
    if written is not None:
        assert np.array_equal(pixels, np.broadcast_to(written, (*SIZE, 3)))
    picture = read_picture(content)
    color = picture.color if picture.alpha is None else with_hidden_filled(picture.color, picture.alpha)
    # Premultiplied colours are divided and rounded, by us to levels, JPEG is decoded by two builds of one library; of
    # PPM in colour Pillow reads 8 bits, and the command says so.
    of_lossy = {'tiff premultiplied 16': 2 / 65535, 'jpeg': 2 / 255, 'jpeg cmyk': 2 / 255, 'ppm 16': 1 / 255}
    allowed = of_lossy.get(name, 1e-7)
    assert np.abs(to_float(pixels) - color).max() <= allowed


@pytest.mark.parametrize('kind', ['float32', 'int32', 'uint32'])
def test_numbers_of_32_bits_are_no_levels(kind: str) -> None:
    content = tiff((RGB16[..., 0] / 65535).astype(kind) if kind == 'float32' else RGB16[..., 0].astype(kind))
    assert decode(content) is None
    with pytest.raises(PictureError):
        read_picture(content)


def test_an_orientation_that_there_is_not_turns_nothing() -> None:
    levels = np.dstack([RGB16, np.maximum(ALPHA16, 1)])
    assert np.array_equal(decode(with_exif(vips_png(levels), 9)), RGB16)


def test_inks_are_converted_by_their_profile_and_rgb_is_kept() -> None:
    """A profile that exchanges colours shows whether it is used: that of Lab is, that of RGB is not."""
    lab = Image.fromarray(RNG.integers(100, 156, (*SIZE, 3), dtype=np.uint8), 'LAB')
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('LAB')).tobytes()
    content = pillow(lab, 'TIFF', icc_profile=profile)
    srgb = ImageCms.createProfile('sRGB')
    expected = np.asarray(ImageCms.profileToProfile(lab, ImageCms.createProfile('LAB'), srgb, outputMode='RGB'))
    assert np.abs(decode(content) - expected.astype(int)).max() <= 1  # profiles of a file are of 16 bits
    wide = ImageCms.ImageCmsProfile(ImageCms.createProfile('XYZ')).tobytes()
    assert np.array_equal(decode(pillow(Image.fromarray(RGB8), 'PNG', icc_profile=wide)), RGB8)


def test_what_nobody_sees_is_no_ground_truth() -> None:
    with pytest.raises(UnseenError, match='wholly transparent'):
        decode(vips_png(np.dstack([RGB8, np.zeros(SIZE, np.uint8)])))
    assert decode(b'') is None and decode(b'no image') is None
    assert decode(vips_png(np.dstack([RGB8, ALPHA8]))[:-200]) is None


def test_16_bits_are_kept_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / 'a.png').write_bytes(vips_png(RGB16))
    (image,) = list_images(str(tmp_path), 'disk')
    cache = DecodedImages(tmp_path / 'cache')
    for _ in range(2):  # decoded, then mapped
        pixels = cache.read(image)
        assert pixels.dtype == np.uint16 and np.array_equal(pixels, RGB16)
    assert np.abs(to_float(pixels) - RGB16 / 65535.0).max() <= 2**-24


def test_forked_workers_decode_what_their_parent_has_decoded() -> None:
    """All kinds of files: what starts threads in a process would hang in those that are forked from it."""
    contents = [make() for make, _ in FILES.values()]
    for content in contents:
        decode(content)
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(60)
            for content in contents:
                decode(content)
            os._exit(0)
        finally:  # whatever is raised: it must not go on as another run of the tests
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
