"""Pictures keep their pixels, bits, alpha and metadata from file to file; what is no picture is named."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps
from PIL.ExifTags import GPS, IFD, Base
from PIL.TiffImagePlugin import IFDRational

from gsasr_plugin.upscaling.pictures.formats import FORMATS
from gsasr_plugin.upscaling.pictures.metadata import Metadata
from gsasr_plugin.upscaling.pictures.picture import Picture, PictureError
from gsasr_plugin.upscaling.pictures.reading import picture_header, read_picture
from gsasr_plugin.upscaling.pictures.writing import encode_picture, to_pillow, write_picture

RNG = np.random.default_rng(7)
MAKERS_NOTE = b'what only its maker can read'
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def exif(orientation: int = 1) -> bytes:
    data = Image.Exif()
    data[Base.Orientation] = orientation
    data[Base.Artist] = 'A. Painter'
    details = data.get_ifd(IFD.Exif)
    details |= {
        Base.ExifImageWidth: 7,
        Base.ExposureTime: IFDRational(1, 125),
        Base.DateTimeOriginal: '2026:11:25 01:02:03',
    }
    details |= {Base.MakerNote: MAKERS_NOTE, IFD.Interop: {1: 'R98'}}
    data.get_ifd(IFD.GPSInfo).update({GPS.GPSLatitudeRef: 'N', GPS.GPSLatitude: (48.0, 8.0, 15.5)})
    return data.tobytes()


def exif_data(metadata: Metadata) -> Image.Exif:
    """As Pillow reads them."""
    data = Image.Exif()
    if metadata.exif:
        data.load(metadata.exif)
    return data


def assert_exif_is_kept(metadata: Metadata) -> None:
    """All directories of `exif`."""
    found = exif_data(metadata)
    details, place = found.get_ifd(IFD.Exif), found.get_ifd(IFD.GPSInfo)
    assert found[Base.Artist] == 'A. Painter' and details[Base.DateTimeOriginal] == '2026:11:25 01:02:03'
    assert float(details[Base.ExposureTime]) == 0.008 and details[Base.ExifImageWidth] == 7
    assert Base.MakerNote not in details and found.get_ifd(IFD.Interop)[1] == 'R98'
    assert place[GPS.GPSLatitudeRef] == 'N' and [float(x) for x in place[GPS.GPSLatitude]] == [48, 8, 15.5]


def picture(channels: int, *, alpha: bool, bits: int, format: str, size: tuple[int, int] = (5, 7)) -> Picture:
    top = 2**bits - 1
    levels = RNG.integers(0, top + 1, (*size, channels + 1)).astype(np.float32) / np.float32(top)
    metadata = Metadata(icc=SRGB, exif=exif(), xmp=XMP.replace(b'"6"', b'"1"'), dpi=(72.0, 72.0))
    return Picture(levels[..., :-1], levels[..., -1] if alpha else None, bits, format, metadata)


LOSSLESS = [
    (format, bits, channels, alpha)
    for format, known in FORMATS.items()
    if format in ('PNG', 'TIFF', 'BMP')
    for bits in ((8, 16) if known.deep else (8,))
    for channels in (1, 3)
    for alpha in ((False, True) if known.alpha else (False,))
]


@pytest.mark.parametrize(('format', 'bits', 'channels', 'alpha'), LOSSLESS)
def test_pixels_and_metadata_survive_a_file(format: str, bits: int, channels: int, alpha: bool) -> None:
    before = picture(channels, alpha=alpha, bits=bits, format=format)
    after = read_picture(encode_picture(before))
    assert (after.format, after.bits) == (format, bits)
    np.testing.assert_array_equal(after.color, before.color)
    assert (after.alpha is None) == (not alpha)
    if before.alpha is not None and after.alpha is not None:
        np.testing.assert_array_equal(after.alpha, before.alpha)
    assert after.metadata.dpi == pytest.approx((72, 72), abs=0.02)  # PNG and BMP count per metre
    if format != 'BMP':  # which holds nothing else
        assert after.metadata.icc == SRGB
        assert after.metadata.xmp == before.metadata.xmp
        assert_exif_is_kept(after.metadata)


@pytest.mark.parametrize('format', ['JPEG', 'WEBP'])
@pytest.mark.parametrize('channels', [1, 3])
def test_metadata_survive_a_lossy_file(format: str, channels: int) -> None:
    before = picture(channels, alpha=False, bits=8, format=format)
    smooth = np.linspace(0, 1, before.color.size, dtype=np.float32).reshape(before.color.shape)
    before = Picture(smooth, None, 8, format, before.metadata)
    after = read_picture(encode_picture(before))
    assert after.format == format and after.metadata.icc == SRGB and after.metadata.xmp == before.metadata.xmp
    assert_exif_is_kept(after.metadata)
    assert np.abs(after.color - smooth).mean() < 0.05  # lossy, of steep colours


def test_webp_keeps_alpha() -> None:
    before = picture(3, alpha=True, bits=8, format='WEBP')
    after = read_picture(encode_picture(before))
    np.testing.assert_array_equal(after.alpha, before.alpha)  # which WebP stores without loss


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['jpg', 'png', 'tif', 'webp', 'png16', 'tif16'])
def test_pictures_are_turned_upright(tmp_path: Path, kind: str, orientation: int) -> None:
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:8, :8] = (255, 0, 0)
    pixels[8:, 16:] = (0, 255, 0)
    image = Image.fromarray(pixels)
    tagged = Image.Exif()
    tagged[Base.Orientation] = orientation
    path = tmp_path / f'picture.{kind.removesuffix("16")}'
    if kind == 'png16':
        deep = Picture(pixels.astype(np.float32) / 255, None, 16, 'PNG', Metadata(exif=tagged.tobytes()))
        write_picture(deep, path)
    elif kind == 'tif16':
        extratags = [(int(Base.Orientation), 'H', 1, orientation, True)]
        tifffile.imwrite(path, pixels.astype(np.uint16) * 257, photometric='rgb', extratags=extratags)
    else:
        image.save(path, exif=tagged, quality=100)
    image.getexif()[Base.Orientation] = orientation
    expected = np.asarray(ImageOps.exif_transpose(image))
    found = read_picture(path)
    assert found.bits == (16 if kind.endswith('16') else 8)
    assert picture_header(path).size == found.size == expected.shape[:2]
    assert np.abs(found.color * 255 - expected).mean() < 5  # JPEG and WebP lose a little at the edges; a turn is 50
    assert Base.Orientation not in exif_data(found.metadata)


def test_the_orientation_leaves_xmp_too() -> None:
    file = io.BytesIO()
    Image.new('RGB', (4, 6)).save(file, 'JPEG', xmp=XMP, exif=exif(6))
    found = read_picture(file.getvalue())
    assert found.size == (4, 6) and found.metadata.xmp is not None
    assert b'tiff:Orientation="1"' in found.metadata.xmp


def test_exif_states_the_new_size() -> None:
    metadata = Metadata(exif=exif()).of_size((50, 70))
    details = exif_data(metadata).get_ifd(IFD.Exif)
    assert details[Base.ExifImageWidth] == 70 and Base.ExifImageHeight not in details
    assert details[Base.ExposureTime] == IFDRational(1, 125)


@pytest.mark.parametrize('format', ['PNG', 'JPEG', 'WEBP', 'TIFF'])
def test_nothing_is_made_up(format: str) -> None:
    """Of a file without resolution, where Pillow speaks of 72 or 1 dpi, and with EXIF of one directory."""
    plain = Image.Exif()
    plain[Base.Artist] = 'A. Painter'
    file = io.BytesIO()
    Image.new('RGB', (4, 6)).save(file, format, exif=plain)
    found = read_picture(file.getvalue())
    metadata = found.metadata.of_size((12, 8))
    assert metadata.dpi is None and list(exif_data(metadata)) == [Base.Artist]
    again = read_picture(encode_picture(dataclasses.replace(found, metadata=metadata)))
    assert again.metadata == dataclasses.replace(metadata, exif=again.metadata.exif)
    assert list(exif_data(again.metadata)) == [Base.Artist]


@pytest.mark.parametrize('source', ['jfif', 'exif'])
def test_the_resolution_of_a_jpeg_file_is_kept(source: str) -> None:
    file = io.BytesIO()
    data = Image.Exif()
    if source == 'exif':
        data.update({Base.XResolution: 300.0, Base.YResolution: 300.0, Base.ResolutionUnit: 2})
    Image.new('RGB', (4, 6)).save(file, 'JPEG', exif=data, **({'dpi': (300, 300)} if source == 'jfif' else {}))
    assert read_picture(file.getvalue()).metadata.dpi == (300, 300)


@pytest.mark.parametrize(('mode', 'channels'), [('1', 1), ('P', 1), ('CMYK', 3), ('LA', 1), ('RGBA', 3)])
def test_other_modes_become_grey_or_rgb(mode: str, channels: int) -> None:
    image = Image.new('RGBA', (4, 6), (255, 255, 255, 255)).convert(mode)
    file = io.BytesIO()
    image.save(file, 'TIFF')
    found = read_picture(file.getvalue())
    assert found.color.shape == (6, 4, channels) and found.color.min() == 1
    assert (found.alpha is not None) == mode.endswith('A')


def test_transparent_palette_has_alpha() -> None:
    image = Image.new('P', (4, 6), 3)
    image.putpalette([0, 0, 0, 10, 10, 10, 20, 20, 20, 255, 0, 0])
    file = io.BytesIO()
    image.save(file, 'PNG', transparency=3)
    found = read_picture(file.getvalue())
    assert found.alpha is not None and found.alpha.max() == 0
    assert found.color[0, 0].tolist() == [1, 0, 0]


def test_texts_and_comments_change_places() -> None:
    file = io.BytesIO()
    Image.new('RGB', (4, 6)).save(file, 'JPEG', comment='größer')
    found = read_picture(file.getvalue())
    as_png = read_picture(encode_picture(Picture(found.color, format='PNG', metadata=found.metadata)))
    assert as_png.metadata.comment == 'größer'.encode()


def test_16_bits_are_rounded_where_a_format_has_8() -> None:
    deep = picture(3, alpha=False, bits=16, format='BMP')
    found = read_picture(encode_picture(deep))
    assert found.bits == 8
    assert np.abs(found.color - deep.color).max() <= 0.5 / 255 + 1e-6


def test_to_pillow_and_opencv_agree_with_the_file(tmp_path: Path) -> None:
    """The file of 16 bits read by another library, and the channel order with it."""
    deep = picture(3, alpha=True, bits=16, format='TIFF')
    write_picture(deep, tmp_path / 'a' / 'deep.tif')
    levels = np.rint(np.dstack([deep.color, deep.alpha]) * 65535)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / 'a' / 'deep.tif'), levels)
    write_picture(Picture(deep.color, deep.alpha, 16, 'PNG'), tmp_path / 'deep.png')
    bgra = cv2.imread(str(tmp_path / 'deep.png'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(bgra[..., [2, 1, 0, 3]], levels)
    assert to_pillow(deep).mode == 'RGBA'


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('endian', ['<', '>'])
def test_other_programs_read_tiff_files(bits: int, endian: str) -> None:
    """Of many strips, in both orders of bytes: libtiff, by Pillow and OpenCV, and tifffile."""
    large = picture(3, alpha=True, bits=bits, format='TIFF', size=(700, 330))
    data = exif_data(Metadata(exif=exif()))
    data.get_ifd(IFD.Interop), data.get_ifd(IFD.GPSInfo)  # read before the order changes
    data.endian = endian
    content = encode_picture(dataclasses.replace(large, metadata=Metadata(exif=data.tobytes(), icc=SRGB)))
    assert content[:2] == {'<': b'II', '>': b'MM'}[endian]
    levels = np.rint(np.dstack([large.color, large.alpha]) * (2**bits - 1))
    if bits == 8:
        np.testing.assert_array_equal(Image.open(io.BytesIO(content)), levels)
    else:
        bgra = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(bgra[..., [2, 1, 0, 3]], levels)
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[0]
        np.testing.assert_array_equal(page.asarray(), levels)
        assert page.tags['ExifTag'].value['ExposureTime'] == (1, 125)
        assert page.tags['GPSTag'].value['GPSLatitudeRef'] == 'N'
        assert page.tags['InterColorProfile'].value == SRGB and page.tags['ExtraSamples'].value == (2,)
    assert_exif_is_kept(read_picture(content).metadata)


def truncated(format: str) -> bytes:
    content = encode_picture(picture(3, alpha=False, bits=16, format=format, size=(64, 64)))
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'is empty'),
        (b'hello, world', 'is not a picture'),
        (truncated('PNG')[:60], 'is damaged'),
        (truncated('JPEG')[:700], 'is damaged|cannot be read'),
        (truncated('TIFF'), 'is damaged|cannot be read|is not a picture'),
    ],
    # Not by the content: it holds the second at which the profile was made.
    ids=['empty', 'text', 'PNG', 'JPEG', 'TIFF'],
)
def test_what_is_no_picture_is_named(content: bytes, message: str) -> None:
    with pytest.raises(PictureError, match=message):
        read_picture(content)


def test_numbers_of_another_kind_are_named() -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((4, 6), np.float32))
    with pytest.raises(PictureError, match='floating-point numbers'):
        read_picture(file.getvalue())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match='No such file'):
        read_picture(tmp_path / 'absent.png')


def test_what_a_format_cannot_hold_is_named() -> None:
    with pytest.raises(PictureError, match=r'no alpha channel.*PNG, WEBP, AVIF, TIFF'):
        encode_picture(picture(3, alpha=True, bits=8, format='JPEG'))
    with pytest.raises(PictureError, match='at most 16383'):
        encode_picture(Picture(np.zeros((1, 16384, 3), np.float32), format='WEBP'))
