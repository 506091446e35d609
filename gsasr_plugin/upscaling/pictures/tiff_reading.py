"""Reading TIFF files: what their first directory says, and pixels of all kinds, most of them by libvips."""

import dataclasses
import io
import itertools
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image
from PIL.ExifTags import Base

from gsasr_plugin.upscaling.pictures import vips
from gsasr_plugin.upscaling.pictures.exif import LONG, SHORT, Buffer, Exif, only_page, page_offsets, parse_exif
from gsasr_plugin.upscaling.pictures.metadata import stored_in_tiff
from gsasr_plugin.upscaling.pictures.opened import StoredFile, as_picture, check_size, only_the_first
from gsasr_plugin.upscaling.pictures.picture import ACCEPTED, DAMAGED, Picture, PictureError

# Of TIFF files: channels of colour by PhotometricInterpretation; and SampleFormat.
UNSIGNED, NUMBERS = 1, {2: 'numbers with sign', 3: 'floating-point numbers', 5: 'complex numbers', 6: 'complex numbers'}
ALPHA_SAMPLES = (1, 2)  # of ExtraSamples: multiplied into the colours or not
DNG_VERSION = 50706
SEPARATE = 2  # of PlanarConfiguration
LZMA, ZSTD, DEFLATE = 34925, 50000, 8  # of Compression
EDGES_BYTES = 1 << 24  # of tiles that reach beyond the picture, at most
PARTS = ((Base.StripOffsets, Base.StripByteCounts), (Base.TileOffsets, Base.TileByteCounts))


def read_tiff(content: bytes, max_pixels: float | None) -> Picture:
    """The first picture of a file; see `read_picture`."""
    file, exif, remarks = tiff_file(content), parse_exif(content), []
    check_size(file.size, max_pixels)
    count = len(page_offsets(content))
    if exif.number(Base.Compression, 1) in (LZMA, ZSTD):
        content = _deflated(content, file.size)
    extra = [int(kind) for kind in exif.numbers(Base.ExtraSamples)]
    alpha_at = next((number for number, kind in enumerate(extra) if kind in ALPHA_SAMPLES), None)
    if len(extra) > (alpha_at is not None):
        remarks.append('a channel whose meaning it does not say is left out')
    depth = int(max(exif.numbers(Base.BitsPerSample), default=1))
    if exif.number(Base.PlanarConfiguration, 1) == SEPARATE and exif.number(Base.SamplesPerPixel, 1) == 2:
        color, alpha, bits, converted = *_of_two_planes(content, alpha_at), depth, False
    elif depth not in (1, 2, 4, 8, 16):
        color, alpha, bits, converted = _of_odd_bits(content, exif, depth), None, 16, False
    else:
        image = vips.decoded(only_page(content) if count > 1 else content)
        color, alpha, bits = vips.levels_of(image, alpha_at=alpha_at)
        converted = image.interpretation in ('cmyk', 'lab', 'labs')
    if converted:
        remarks.append('its colours were converted to RGB')
        file = file._replace(stored=dataclasses.replace(file.stored, icc=None))
    remarks += only_the_first(count)
    return as_picture(file, color, alpha, bits, remarks)


def _deflated(content: bytes, size: tuple[int, int]) -> bytes:
    """The first picture of a file whose parts are compressed as libvips does not read it, deflated instead."""
    exif = parse_exif(content)
    unpacked = {LZMA: _by_lzma, ZSTD: _by_pillow}[exif.number(Base.Compression, 0)]
    offsets, lengths = next((tags for tags in PARTS if tags[0] in exif.main.entries), PARTS[0])
    room = 2 * size[0] * size[1] * exif.number(Base.SamplesPerPixel, 1) + EDGES_BYTES
    parts = []
    for place, length, shape in zip(exif.numbers(offsets), exif.numbers(lengths), _shapes(exif, size)):
        room -= shape[0] * shape[1]
        try:
            levels = unpacked(content[int(place) : int(place + length)], shape) if room >= 0 else b''
        except Exception:  # each of the decoders has its own
            raise PictureError(DAMAGED) from None
        if len(levels) != shape[0] * shape[1]:
            raise PictureError(DAMAGED)
        parts.append(zlib.compress(levels, 1))
    exif.main.entries[Base.Compression] = exif.entry(SHORT, DEFLATE)
    exif.main.entries[lengths] = exif.main.entries[offsets] = exif.entry(LONG, *map(len, parts))
    places = itertools.accumulate(map(len, parts), initial=len(exif.file_start()))
    exif.main.entries[offsets] = exif.entry(LONG, *itertools.islice(places, len(parts)))
    return exif.file_start() + b''.join(parts)


def _shapes(exif: Exif, size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Rows and bytes per row of the parts of a picture of (H, W), one after another; of tiles without end."""
    separate = exif.number(Base.PlanarConfiguration, 1) == SEPARATE
    channels = 1 if separate else exif.number(Base.SamplesPerPixel, 1)
    bits = channels * exif.number(Base.BitsPerSample, 1)
    while Base.TileOffsets in exif.main.entries:
        yield exif.number(Base.TileLength, 1), -(-exif.number(Base.TileWidth, 1) * bits // 8)
    rows = max(1, min(exif.number(Base.RowsPerStrip, size[0]), size[0]))
    while True:
        for top in range(0, size[0], rows):
            yield min(rows, size[0] - top), -(-size[1] * bits // 8)


def _by_lzma(part: bytes, shape: tuple[int, int]) -> bytes:
    import lzma

    return lzma.LZMADecompressor().decompress(part, shape[0] * shape[1])


def _by_pillow(part: bytes, shape: tuple[int, int]) -> bytes:
    """Its libtiff knows more than that of libvips: the bytes are its levels of grey."""
    exif = Exif()
    numbers = {
        Base.ImageWidth: shape[1],
        Base.ImageLength: shape[0],
        Base.BitsPerSample: 8,
        Base.Compression: ZSTD,
        Base.PhotometricInterpretation: 1,
        Base.StripOffsets: 0,
        Base.RowsPerStrip: shape[0],
        Base.StripByteCounts: len(part),
    }
    exif.main.entries |= {tag: exif.entry(LONG, number) for tag, number in numbers.items()}
    exif.main.entries[Base.StripOffsets] = exif.entry(LONG, len(exif.file_start()))
    with Image.open(io.BytesIO(exif.file_start() + part), formats=['TIFF']) as image:
        return image.tobytes()


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


def tiff_file(content: Buffer) -> StoredFile:
    """What the first directory says.

    Raises:
        PictureError: it is damaged, or its numbers are of a kind that is not read.
    """
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
    channels = 1 if exif.number(Base.PhotometricInterpretation, 1) in (0, 1) else 3
    return StoredFile(size, 'TIFF', alpha, stored_in_tiff(exif), channels, 16 if max(bits) > 8 else 8)
