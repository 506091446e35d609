"""Pictures whose files do what is allowed and seldom: the right pixels, and what they say of them kept or named."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin

from gsasr_plugin.upscaling.pictures.depth import bits_in_file
from gsasr_plugin.upscaling.pictures.metadata import Metadata
from gsasr_plugin.upscaling.pictures.picture import Picture, PictureError
from gsasr_plugin.upscaling.pictures.reading import picture_header, read_picture
from gsasr_plugin.upscaling.pictures.writing import encode_picture, losses

RNG = np.random.default_rng(3)
RGBA16 = RNG.integers(0, 65536, (24, 40, 4)).astype(np.uint16)
RGBA8 = (RGBA16 >> 8).astype(np.uint8)
XMP6 = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def saved(pixels: np.ndarray, format: str = 'JPEG', **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))


def png(rows: np.ndarray, depth: int, kind: int, before: bytes = b'', behind: bytes = b'', width: int = 0) -> bytes:
    """A PNG file of rows of packed bytes."""
    raw = b''.join(b'\0' + row.tobytes() for row in rows)
    header = struct.pack('>IIBBBBB', width or rows.shape[1], len(rows), depth, kind, 0, 0, 0)
    pixels = chunk(b'IDAT', zlib.compress(raw))
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + before + pixels + behind + chunk(b'IEND', b'')


def levels(picture: Picture) -> np.ndarray:
    """(H, W, channels), whole numbers, alpha last."""
    pixels = picture.color if picture.alpha is None else np.dstack([picture.color, picture.alpha])
    return np.rint(pixels * (2**picture.bits - 1)).astype(int)


def exif(**entries: Any) -> bytes:
    data = Image.Exif()
    for tag, value in entries.items():
        data[int(tag[1:])] = value
    return data.tobytes()


@pytest.mark.parametrize('pixels', [RGBA8, RGBA16], ids=['8', '16'])
@pytest.mark.parametrize('planes', ['contig', 'separate'])
@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_tiff_files_are_as_two_other_readers_say(pixels: np.ndarray, channels: int, planes: str) -> None:
    """tifffile and, where it knows the kind, OpenCV (16 bits together) or Pillow (8 bits)."""
    pixels = pixels[..., :channels]
    options: dict[str, Any] = {'photometric': 'rgb' if channels > 2 else 'minisblack'}
    if channels in (2, 4):
        options['extrasamples'] = ['unassalpha']
    if channels > 1:
        options['planarconfig'] = planes
    content = tiff(np.moveaxis(pixels, -1, 0) if planes == 'separate' and channels > 1 else pixels.squeeze(), **options)
    found = levels(read_picture(content))
    np.testing.assert_array_equal(found, pixels)
    other = tifffile.imread(io.BytesIO(content))
    other = np.moveaxis(other, 0, -1) if planes == 'separate' and channels > 1 else other
    np.testing.assert_array_equal(found.squeeze(), other)
    if pixels.dtype == np.uint8 and not (channels == 2 and planes == 'separate'):  # whose alpha Pillow takes for 0
        np.testing.assert_array_equal(found.squeeze(), Image.open(io.BytesIO(content)))
    elif planes == 'contig' and channels in (1, 3, 4) and pixels.dtype == np.uint16:
        bgra = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(found.squeeze(), bgra if channels == 1 else bgra[..., [2, 1, 0, 3][:channels]])


@pytest.mark.parametrize(('depth', 'kind'), [(d, k) for k in (0, 2, 4, 6) for d in (1, 2, 4, 8, 16) if k == 0 or d > 4])
def test_png_files_are_as_two_other_readers_say(depth: int, kind: int) -> None:
    """Pillow (up to 8 bits) or OpenCV (16 bits), and what went in."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    numbers = RNG.integers(0, 2**depth, (24, 40, channels))
    if depth == 16:
        rows = numbers.astype('>u2').reshape(24, -1)
    else:
        bits = (numbers.reshape(24, -1, 1) >> np.arange(depth)[::-1] & 1).astype(np.uint8)
        rows = np.packbits(bits.reshape(24, -1), axis=1)
    content = png(rows, depth, kind, width=40)
    found = read_picture(content)
    scale = 1 if depth == 16 else 255 // (2**depth - 1)
    np.testing.assert_array_equal(levels(found), numbers * scale)
    assert found.bits == (16 if depth == 16 else 8)
    if depth == 16 and channels != 2:
        bgra = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(
            levels(found).squeeze(), bgra if channels == 1 else bgra[..., [2, 1, 0, 3][:channels]]
        )
    elif depth < 16:
        mode = {0: 'L', 2: 'RGB', 4: 'LA', 6: 'RGBA'}[kind]
        np.testing.assert_array_equal(levels(found).squeeze(), Image.open(io.BytesIO(content)).convert(mode))


@pytest.mark.parametrize('pixels', [RGBA8[..., 0], RGBA16[..., 0], RGBA8[..., 0] > 99], ids=['8', '16', '1'])
def test_white_may_be_zero(pixels: np.ndarray) -> None:
    found = levels(read_picture(tiff(pixels, photometric='miniswhite')))[..., 0]
    numbers = pixels * 255 if pixels.dtype == bool else pixels.astype(int)
    np.testing.assert_array_equal(found, (65535 if pixels.dtype == np.uint16 else 255) - numbers)


@pytest.mark.parametrize('top', [255, 65535])
def test_colors_that_are_multiplied_by_alpha_are_divided(top: int) -> None:
    kind = np.uint8 if top == 255 else np.uint16
    alpha = np.full((24, 40), 0.5)
    alpha[:, :20] = 1
    color = RGBA8[..., :3] / 255
    stored = np.rint(np.dstack([color * alpha[..., None], alpha]) * top).astype(kind)
    found = read_picture(tiff(stored, photometric='rgb', extrasamples=['assocalpha']))
    assert found.alpha is not None
    np.testing.assert_allclose(found.alpha, alpha, atol=1 / top)
    # Half a level is lost when stored and half when read, twice that where alpha is a half; and alpha's own.
    np.testing.assert_allclose(found.color, color, atol=4 / top)


def test_a_fourth_channel_without_meaning_is_left_out() -> None:
    for pixels in (RGBA8, RGBA16):
        found = read_picture(tiff(pixels, photometric='rgb', extrasamples=['unspecified']))
        assert found.alpha is None and any('meaning' in remark for remark in found.remarks)
        np.testing.assert_array_equal(levels(found), pixels[..., :3])


@pytest.mark.parametrize('kind', [np.int8, np.int16, np.float32, np.uint32])
def test_numbers_of_other_kinds_are_refused(kind: type) -> None:
    content = tiff(RGBA8[..., 0].astype(kind))
    for read in (read_picture, picture_header):
        with pytest.raises(PictureError, match=r'sign|floating|32 bits'):
            read(content)


def test_cmyk_of_16_bits() -> None:
    inks = RGBA16.astype(np.float64) / 65535
    found = read_picture(tiff(RGBA16, photometric='separated'))
    np.testing.assert_allclose(found.color, (1 - inks[..., :3]) * (1 - inks[..., 3:]), atol=1e-6)
    assert found.bits == 16 and 'converted to RGB' in found.remarks[0]


@pytest.mark.parametrize('predictor', [False, True])
@pytest.mark.parametrize('options', [{}, {'tile': (16, 32)}, {'planarconfig': 'separate'}, {'bigtiff': True}])
def test_tiff_files_by_lzma(options: dict[str, Any], predictor: bool) -> None:
    for pixels in (RGBA8[..., :3], RGBA16[..., :3]):
        stored = np.moveaxis(pixels, -1, 0) if 'planarconfig' in options else pixels
        whole = tiff(stored, photometric='rgb', compression='lzma', predictor=predictor, **options)
        found = read_picture(whole)
        np.testing.assert_array_equal(levels(found), pixels)
        assert found.bits == 8 * pixels.itemsize and not found.remarks
    place = tifffile.TiffFile(io.BytesIO(whole)).pages[0].dataoffsets[0]
    with pytest.raises(PictureError, match='damaged'):
        read_picture(whole[: place + 8] + bytes(20) + whole[place + 28 :])


def test_tiff_files_by_zstd(monkeypatch: pytest.MonkeyPatch) -> None:
    """In several strips, of 1, 8 and 16 bits; damaged ones are named."""
    monkeypatch.setattr(TiffImagePlugin, 'STRIP_SIZE', 400)
    for pixels in (RGBA8, RGBA8[..., 0], RGBA16[..., 0]):
        content = saved(pixels, 'TIFF', compression='zstd')
        assert len(tifffile.TiffFile(io.BytesIO(content)).pages[0].dataoffsets) > 2
        found = read_picture(content)
        np.testing.assert_array_equal(levels(found).squeeze(), pixels)
        assert found.bits == 8 * pixels.itemsize
    file = io.BytesIO()
    Image.fromarray(RGBA8[..., 0] > 99).save(file, 'TIFF', compression='zstd')
    np.testing.assert_array_equal(levels(read_picture(file.getvalue()))[..., 0], (RGBA8[..., 0] > 99) * 255)
    place = tifffile.TiffFile(io.BytesIO(content)).pages[0].dataoffsets[0]
    for damaged in (content[:place] + bytes(60) + content[place + 60 :], content[: place + 30]):
        with pytest.raises(PictureError, match='damaged'):
            read_picture(damaged)


@pytest.mark.slow
def test_of_tiff_parts_no_more_is_unpacked_than_the_picture_has() -> None:
    """Of one that says to be larger, its beginning; parts that are much larger than the picture are damaged."""
    pixels = np.zeros((4096, 4096), np.uint16)
    cases: list[dict[str, Any]] = [{'rowsperstrip': 4096}, {'tile': (4096, 4096)}]
    for options in cases:
        content = bytearray(tiff(pixels, photometric='minisblack', compression='lzma', **options))
        for tag in tifffile.TiffFile(io.BytesIO(content)).pages[0].tags:
            if tag.code in (256, 257):
                content[tag.valueoffset : tag.valueoffset + 2] = struct.pack('<H', 8)
        assert picture_header(bytes(content)).size == (8, 8)
        if 'tile' in options:
            with pytest.raises(PictureError, match='damaged'):
                read_picture(bytes(content))
        else:
            assert read_picture(bytes(content)).size == (8, 8)


def test_12_bits_reach_from_black_to_white() -> None:
    numbers = np.array([[0, 1000, 2000, 4095], [4095, 0, 5, 6]])
    rows = np.packbits(
        (numbers[..., None] >> np.arange(12)[::-1] & 1).astype(np.uint8).reshape(2, -1), axis=1
    ).tobytes()
    tags = {256: 4, 257: 2, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 2, 279: len(rows)}
    table = b''.join(struct.pack('<HHII', tag, 4, 1, value) for tag, value in tags.items())
    content = b'II*\0' + struct.pack('<I', 8 + len(rows)) + rows + struct.pack('<H', len(tags)) + table + bytes(4)
    found = read_picture(content)
    assert found.bits == 16
    np.testing.assert_allclose(found.color[..., 0], numbers / 4095, atol=1e-7)


def test_transparency_by_one_level_of_grey() -> None:
    deep = RGBA16[..., 0].astype('>u2').copy()
    deep[:, :20] = 1234
    found = read_picture(png(deep, 16, 0, chunk(b'tRNS', struct.pack('>H', 1234))))
    assert found.alpha is not None and found.bits == 16
    np.testing.assert_array_equal(found.alpha, np.where(deep == 1234, 0, 1))
    for depth, level in ((2, 1), (4, 5)):
        numbers = np.full((24, 40), level + 1)
        numbers[:, :20] = level
        bits = (numbers[..., None] >> np.arange(depth)[::-1] & 1).astype(np.uint8)
        rows = np.packbits(bits.reshape(24, -1), axis=1)
        content = png(rows, depth, 0, chunk(b'tRNS', struct.pack('>H', level)), width=40)
        found = read_picture(content)
        assert found.alpha is not None and picture_header(content).alpha
        np.testing.assert_array_equal(found.alpha, np.where(numbers == level, 0, 1))


def test_of_an_animation_the_default_image_is_read() -> None:
    """It need not be one of the frames."""
    control = chunk(b'acTL', struct.pack('>II', 1, 0))
    frame = chunk(b'fcTL', struct.pack('>IIIIIHHBB', 0, 40, 24, 0, 0, 1, 1, 0, 0))
    black = zlib.compress(b''.join(b'\0' + bytes(40 * 6) for _ in range(24)))
    frame += chunk(b'fdAT', struct.pack('>I', 1) + black)
    rows = RGBA16[..., :3].astype('>u2')
    content = png(rows.reshape(24, -1), 16, 2, control, frame, width=40)
    np.testing.assert_array_equal(levels(read_picture(content)), RGBA16[..., :3])


def test_orientation_that_stands_behind_the_pixels_or_in_xmp() -> None:
    pixels = RGBA8[..., :3]
    behind = chunk(b'eXIf', exif(_274=6).removeprefix(b'Exif\0\0'))
    xmp = chunk(b'iTXt', b'XML:com.adobe.xmp\0\0\0\0\0' + XMP6)
    files = [png(pixels.reshape(24, -1), 8, 2, behind=extra, width=40) for extra in (behind, xmp)]
    for content in files:
        assert picture_header(content).size == (40, 24)
        np.testing.assert_array_equal(levels(read_picture(content)), np.rot90(pixels, -1))
    for format in ('JPEG', 'WEBP'):
        content = saved(pixels, format, xmp=XMP6)
        assert picture_header(content).size == read_picture(content).size == (40, 24)


def test_the_profile_of_a_bmp_file_is_read() -> None:
    """As of version 5, behind the pixels, where GIMP writes it."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    plain = saved(RGBA8[..., :3], 'BMP')
    rows = plain[54:]
    header = struct.pack('<I', 124) + plain[18:54] + bytes(16) + b'DEBM' + bytes(52)
    header += struct.pack('<3I', 124 + len(rows), len(profile), 0)
    assert len(header) == 124
    content = b'BM' + struct.pack('<IHHI', 14 + 124 + len(rows) + len(profile), 0, 0, 138) + header + rows + profile
    found = read_picture(content)
    assert found.metadata.icc == profile
    np.testing.assert_array_equal(levels(found), RGBA8[..., :3])
    assert read_picture(content[:-1]).metadata.icc is None and read_picture(plain).metadata.icc is None
    assert losses(found) == ['its profile: BMP files hold none (left out)']


@pytest.mark.parametrize('container', [False, True])
@pytest.mark.parametrize('fields', [((0, 2),), ((1, 2),), ((2, 2),), ((3, 2), (15, 6))])
def test_bits_of_jpeg_xl(fields: tuple[tuple[int, int], ...], container: bool) -> None:
    """A header as its specification has it: 40 x 24, not all as usual, more of it or not, whole numbers, their bits."""
    depth = {0: 8, 1: 10, 2: 12, 3: 16}[fields[0][0]]
    animation = [(1, 1), (0, 2), (0, 2), (0, 2), (0, 1)]
    preview = [(0, 1), (1, 2), (200 - 65, 8), (0, 3), (0, 2), (63, 6)]  # 64 x 200
    eighths = [(1, 1), (2, 2), (7, 5), (1, 3)]  # 64 x 64, of a usual proportion
    for more in (
        [(0, 1)],
        [(1, 1), (0, 3), (0, 1), (0, 1), *animation],
        [(1, 1), (0, 3), (0, 1), (1, 1), *preview, (0, 1)],
        [(1, 1), (0, 3), (0, 1), (1, 1), *eighths, *animation],
    ):
        stored = [(1, 1), (24 // 8 - 1, 5), (0, 3), (40 // 8 - 1, 5), (0, 1), *more, (0, 1), *fields]
        number = place = 0
        for value, count in stored:
            number |= value << place
            place += count
        codestream = b'\xff\x0a' + number.to_bytes(20, 'little')
        signature = b'\0\0\0\x0cJXL \r\n\x87\n'
        content = signature + b'\0\0\0\x1ejxlc' + codestream if container else codestream
        image = Image.new('RGB', (40, 24))
        image.format = 'JXL'
        assert bits_in_file(image, content) == depth


@pytest.mark.parametrize(('mode', 'bits'), [('RGB', 8), ('I;16', 16)])
def test_jpeg_xl_as_its_encoder_writes_it(mode: str, bits: int) -> None:
    pytest.importorskip('pillow_jxl')
    pixels = RGBA16[..., 0] if bits == 16 else RGBA8[..., :3]
    content = saved(pixels, 'JXL', lossless=True)
    found = read_picture(content)
    assert found.bits == bits and not found.remarks
    np.testing.assert_array_equal(levels(found).squeeze(), pixels)


def test_damaged_jpeg_xl_files_are_told_in_one_line() -> None:
    """Whose library speaks of how to build it."""
    pytest.importorskip('pillow_jxl')
    content = saved(RGBA8[..., :3], 'JXL')
    for damaged in (content[:20], content[:2] + bytes(40), content[:6] + b'\xff' * 40):
        with pytest.raises(PictureError) as caught:
            read_picture(damaged)
        assert '\n' not in str(caught.value) and 'libjxl' not in str(caught.value)


def test_a_grey_profile_stays_in_grey_files() -> None:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes())
    profile[16:20] = b'GRAY'
    grey = Picture(np.zeros((4, 6, 1), np.float32), metadata=Metadata(icc=bytes(profile)))
    for format, kept in {'PNG': True, 'JPEG': True, 'TIFF': True, 'WEBP': False, 'AVIF': False}.items():
        picture = Picture(grey.color, metadata=grey.metadata, format=format)
        assert (read_picture(encode_picture(picture)).metadata.icc is not None) == kept
        assert losses(picture) == ([] if kept else ['its grey profile: the result is in colour (left out)'])


def test_grey_with_alpha_of_16_bits_stays_grey() -> None:
    picture = Picture(RGBA16[..., :1] / np.float32(65535), RGBA16[..., 1] / np.float32(65535), 16)
    content = encode_picture(picture)
    assert content[24:26] == bytes((16, 4))  # depth and kind of PNG
    np.testing.assert_array_equal(pyvips.Image.new_from_buffer(content, '').numpy(), RGBA16[..., :2])


def test_damaged_and_large_metadata_do_not_stop_a_picture() -> None:
    pixels = RGBA8[..., :3]
    found = read_picture(saved(pixels, exif=b'Exif\0\0garbage!', dpi=(72, 72)))
    assert found.metadata.exif is None and 'damaged' in found.remarks[0]
    big = read_picture(tiff(pixels, bigtiff=True, photometric='rgb', software='a program'))
    for format in ('JPEG', 'PNG', 'TIFF'):
        again = encode_picture(Picture(big.color, format=format, metadata=big.metadata))
        assert Image.open(io.BytesIO(again)).getexif()[305] == 'a program'
    text = PngImagePlugin.PngInfo()
    text.add_itxt('XML:com.adobe.xmp', '<x/>' + ' ' * 70000)
    text.add_text('Comment', 'x' * 70000)
    found = read_picture(saved(pixels, 'PNG', exif=exif(_37510=b'A' * 70000), pnginfo=text))
    jpeg = Picture(found.color, format='JPEG', metadata=found.metadata)
    assert read_picture(encode_picture(jpeg)).metadata == Metadata()
    assert [loss.split(':')[0] for loss in losses(jpeg)] == ['its EXIF data', 'its XMP', 'its comment']
    whole = read_picture(encode_picture(Picture(found.color, metadata=found.metadata)))
    assert whole.metadata == found.metadata
    found = read_picture(saved(pixels, exif=exif(_282=4294967295.0, _283=4294967295.0, _296=2)))
    for format in ('PNG', 'BMP'):
        picture = Picture(found.color, format=format, metadata=found.metadata)
        assert read_picture(encode_picture(picture)).size == (24, 40) and any('dpi' in loss for loss in losses(picture))


def test_a_damaged_second_page_does_not_matter() -> None:
    file = io.BytesIO()
    page = Image.fromarray(RGBA8)
    page.save(file, 'TIFF', save_all=True, append_images=[page])
    content = bytearray(file.getvalue())
    assert 'first of its 2' in read_picture(bytes(content)).remarks[0]
    first = struct.unpack_from('<I', content, 4)[0]
    second = struct.unpack_from('<I', content, first + 2 + 12 * struct.unpack_from('<H', content, first)[0])[0]
    struct.pack_into('<H', content, second + 2, 999)
    np.testing.assert_array_equal(levels(read_picture(bytes(content))), RGBA8)


def test_texts_keep_their_bytes() -> None:
    text = '© Ågren 写真'.encode()
    content = saved(RGBA8[..., :3], exif=exif(_33432=text))
    for format in ('JPEG', 'PNG', 'WEBP', 'TIFF', 'AVIF'):
        found = read_picture(content)
        again = read_picture(encode_picture(Picture(found.color, format=format, metadata=found.metadata)))
        assert again.metadata.exif is not None and again.metadata.exif.count(text) == 1


def test_iptc_is_kept_or_named() -> None:
    records = b'\x1c\x02\x50\x00\x08by-line!'
    resource = b'8BIM\x04\x04\0\0' + struct.pack('>I', len(records)) + records + b'\0' * (len(records) % 2)
    segment = b'Photoshop 3.0\0' + resource
    jpeg = saved(RGBA8[..., :3])
    content = jpeg[:2] + b'\xff\xed' + struct.pack('>H', len(segment) + 2) + segment + jpeg[2:]
    found = read_picture(content)
    assert found.metadata.iptc == records
    for format in ('JPEG', 'PNG', 'TIFF'):
        again = encode_picture(Picture(found.color, format=format, metadata=found.metadata))
        assert read_picture(again).metadata.iptc == records
    with tifffile.TiffFile(io.BytesIO(again)) as file:
        assert file.pages[0].tags[33723].value == records
    assert losses(Picture(found.color, format='WEBP', metadata=found.metadata)) == [
        'its IPTC: WEBP files hold none (left out)'
    ]


def test_what_png_files_say_of_their_colors_is_kept_or_named() -> None:
    chunks = [
        (b'gAMA', struct.pack('>I', 100000)),
        (b'cHRM', bytes(32)),
        (b'cICP', bytes([9, 16, 0, 1])),
        (b'mDCV', bytes(24)),
        (b'cLLI', bytes(8)),
        (b'pHYs', struct.pack('>IIB', 2, 1, 0)),
        (b'tIME', struct.pack('>HBBBBB', 2026, 11, 27, 1, 2, 3)),
        (b'iTXt', b'Title\0\0\0sv\0Titel\0' + 'Ö'.encode()),
    ]
    content = png(RGBA8[..., :3].reshape(24, -1), 8, 2, b''.join(chunk(*item) for item in chunks), width=40)
    found = read_picture(content)
    for bits in (8, 16):
        again = encode_picture(Picture(found.color, bits=bits, metadata=found.metadata))
        for item in chunks:
            assert chunk(*item) in again
        assert Image.open(io.BytesIO(again)).text['Title'].lang == 'sv'
    assert losses(Picture(found.color, format='TIFF', metadata=found.metadata)) == [
        'what it says of its colours (gAMA, cHRM, cICP, mDCV, cLLI): TIFF files do not hold it (left out)',
        'its texts (Title, time): TIFF files hold none (left out)',
    ]
    assert found.metadata.stripped().chunks == found.metadata.chunks[:5]


def test_webp_without_loss_stays_so() -> None:
    found = read_picture(saved(RGBA8, 'WEBP', lossless=True, exact=True))
    assert found.remarks == () and found.lossless and not read_picture(saved(RGBA8, 'WEBP')).lossless
    again = encode_picture(found)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(again))), RGBA8)


def test_gain_maps_and_makers_notes_are_left_out() -> None:
    spaces = 'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    xmp = XMP6.replace(b'xmlns:tiff', f'hdrgm:Version="1.0" dc:format="image/jpeg" {spaces} xmlns:tiff'.encode())
    data = Image.Exif()
    data.get_ifd(0x8769)[0x927C] = b'Canon...'
    found = read_picture(saved(RGBA8[..., :3], xmp=xmp, exif=data))
    assert found.metadata.xmp is not None
    assert b'hdr' not in found.metadata.xmp and b'dc:format="image/jpeg"' in found.metadata.xmp
    assert b'Canon' not in (found.metadata.exif or b'')
    assert any('maker notes' in remark for remark in found.remarks)
    assert 'its gain map is left out' in found.remarks


@pytest.mark.parametrize('format', ['JPEG', 'PNG'])
def test_of_a_file_that_ends_too_soon_the_beginning_is_used(format: str) -> None:
    smooth = np.repeat(np.linspace(60, 200, 300).astype(np.uint8)[:, None, None], 300, 1).repeat(3, 2)
    smooth = np.clip(smooth + RNG.integers(-9, 10, smooth.shape), 0, 255).astype(np.uint8)
    content = saved(smooth, format)
    found = read_picture(content[: len(content) * 2 // 3])
    assert found.size == (300, 300) and 'damaged' in found.remarks[0]
    assert np.abs(found.color[:100] * 255 - smooth[:100]).mean() < 5


@pytest.mark.parametrize('format', ['GIF', 'JPEG2000', 'PPM', 'TGA', 'ICO', 'PCX', 'SGI', 'DDS', 'AVIF', 'QOI'])
def test_what_pillow_reads_is_read(format: str, tmp_path: Path) -> None:
    if format == 'QOI':
        content = (
            b'qoif' + struct.pack('>IIBB', 40, 24, 3, 0) + bytes([0xFE, 1, 2, 3] + [0xFD] * 15 + [0xFD + 0]) + b'\0' * 8
        )
    else:
        content = saved(np.full((24, 40, 3), 90, np.uint8), format)
    found = read_picture(content)
    expected = Image.open(io.BytesIO(content)).convert('RGB')
    np.testing.assert_array_equal(levels(found)[..., :3], np.broadcast_to(expected, (*found.size, 3)))
    assert found.format == ('AVIF' if format == 'AVIF' else 'PNG') and picture_header(content).size == found.size


def deep_files() -> dict[str, tuple[bytes, int]]:
    """Name -> a file in colour, and its bits per channel."""
    levels = np.random.default_rng(0).integers(0, 1 << 16, (64, 64, 3), np.uint16)
    sgi = struct.pack('>HBBHHHH', 474, 0, 2, 3, 2, 1, 3).ljust(512, b'\0') + bytes(12)
    return {
        'ppm': (b'P6 2 1 65535\n' + bytes(12), 16),
        'plain ppm': (b'P3 1 1 1023 1 2 3\n', 10),
        'ppm of 8 bits': (b'P6 2 1 255\n' + bytes(6), 8),
        'sgi': (sgi, 16),
        'jp2': (cv2.imencode('.jp2', levels)[1].tobytes(), 16),
        'jp2 of 8 bits': (cv2.imencode('.jp2', np.uint8(levels >> 8))[1].tobytes(), 8),
        'avif of 8 bits': (as_avif(np.uint8(levels >> 8), 8), 8),
        'avif of 10 bits': (as_avif(levels >> 6, 10), 10),
        'avif of 12 bits': (as_avif(levels >> 4, 12), 12),
    }


def as_avif(levels: np.ndarray, bits: int) -> bytes:
    return cv2.imencode('.avif', levels, [cv2.IMWRITE_AVIF_DEPTH, bits])[1].tobytes()


@pytest.mark.parametrize('name', deep_files())
def test_colors_that_are_read_in_fewer_bits_are_named(name: str) -> None:
    content, bits = deep_files()[name]
    picture = read_picture(content)
    assert picture.bits == 8
    assert picture.remarks == ((f'its {bits} bits per channel are read as 8',) if bits > 8 else ())


def test_deep_grey_is_read_in_all_its_bits() -> None:
    picture = read_picture(b'P5 1 1 65535\n' + bytes((1, 2)))
    assert picture.bits == 16 and picture.remarks == () and round(65535 * float(picture.color[0, 0, 0])) == 0x102


def test_larger_pictures_than_allowed_are_refused_with_numbers() -> None:
    content = png(np.zeros((1, 1), np.uint8), 8, 0, width=1).replace(
        struct.pack('>II', 1, 1), struct.pack('>II', 10**6, 10**6)
    )
    header = content[12:29]
    content = content[:29] + struct.pack('>I', zlib.crc32(header)) + content[33:]
    for read in (read_picture, picture_header):
        with pytest.raises(PictureError, match=r'1000000\.0 million pixels, which take .* GiB'):
            read(content)
    small = saved(RGBA8[..., :3])
    match = r'holds 40 x 24 = 960 pixels, and 500 pixels are allowed \(--max-input-pixels\)'
    with pytest.raises(PictureError, match=match):
        read_picture(small, max_pixels=500)
    assert read_picture(small, max_pixels=960).size == (24, 40)


def test_phones_files_are_read_if_their_readers_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    gradient = np.repeat(np.linspace(40, 220, 64).astype(np.uint8)[None, :, None], 48, 0).repeat(3, 2)
    heif = pytest.importorskip('pillow_heif')
    file = io.BytesIO()
    heif.from_pillow(Image.fromarray(gradient)).save(file, quality=90)
    heic = file.getvalue()
    pytest.importorskip('pi_heif')
    found = read_picture(heic)
    assert picture_header(heic).size == found.size == (48, 64) and found.format == 'PNG'
    assert np.abs(found.color * 255 - gradient).mean() < 3
    monkeypatch.setitem(sys.modules, 'pi_heif', None)
    with pytest.raises(PictureError, match=r"HEIC file: pip install 'gsasr-plugin\[heic\]'"):
        read_picture(heic)


def test_jpeg_xl_files_are_read_if_their_reader_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('pillow_jxl')
    content = saved(RGBA8[..., :3], 'JXL', lossless=True)
    np.testing.assert_array_equal(levels(read_picture(content)), RGBA8[..., :3])
    monkeypatch.setitem(sys.modules, 'pillow_jxl', None)
    with pytest.raises(PictureError, match=r"JPEG XL file: pip install 'gsasr-plugin\[jxl\]'"):
        read_picture(content)


@pytest.mark.parametrize('compression', ['raw', 'tiff_lzw', 'packbits', 'tiff_adobe_deflate', 'lzma', 'zstd', 'jpeg'])
def test_compressed_tiff_files_are_as_pillow_says(compression: str) -> None:
    content = saved(RGBA8[..., :3], 'TIFF', compression=compression)
    found = levels(read_picture(content))
    # Of JPEG within TIFF the two libraries enlarge the chroma differently.
    tolerance = 255 if compression == 'jpeg' else 0
    np.testing.assert_allclose(found, np.asarray(Image.open(io.BytesIO(content))).astype(int), atol=tolerance)
    assert compression != 'jpeg' or np.abs(found - np.asarray(Image.open(io.BytesIO(content)))).mean() < 2


def test_tiff_files_with_webp_inside_are_read() -> None:
    """Of libvips' own writer: Pillow and tifffile do not know it without further packages."""
    content = pyvips.Image.new_from_array(RGBA8[..., :3]).tiffsave_buffer(compression='webp', lossless=True)
    np.testing.assert_array_equal(levels(read_picture(content)), RGBA8[..., :3])


def test_fax_and_palettes_in_tiff_files() -> None:
    lines = RGBA8[..., 0] > 128
    for compression in ('group3', 'group4', 'tiff_ccitt'):
        np.testing.assert_array_equal(
            levels(read_picture(saved(lines, 'TIFF', compression=compression)))[..., 0], lines * 255
        )
    image = Image.fromarray(RGBA8[..., :3]).quantize(16)
    file = io.BytesIO()
    image.save(file, 'TIFF')
    np.testing.assert_array_equal(levels(read_picture(file.getvalue())), image.convert('RGB'))
