"""Decoding the images of data sets: the pixels that `gsasr upscale` sees of a file, without alpha.

OpenCV decodes what it reads right, and fast; Pillow, and of TIFF files with 16 bits tifffile, all others. Not libvips,
whose threads do not survive in the worker processes of a data loader.
"""

import io
import re
import struct

import cv2
import numpy as np
from PIL import Image, ImageOps

from gsasr_plugin.library_limits import without_library_limits
from gsasr_plugin.picture_colors import as_rgb, with_hidden_filled

PNG = b'\x89PNG\r\n\x1a\n'
TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
GREY_ALPHA, RGB_ALPHA = 4, 6  # colour types of PNG files
STANDALONE = (0x01, *range(0xD0, 0xDA))  # markers of JPEG files without a length
FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))  # where channels are told
WHITE_IS_ZERO, RGB = 0, 2  # of PhotometricInterpretation
PREMULTIPLIED, ALPHA = 1, 2  # of ExtraSamples
# The tag of EXIF's orientation, and those orientations that lie on their side.
EXIF_ORIENTATION, EXIF_SIDEWAYS = 274, (5, 6, 7, 8)
_PNM_GAP = rb'(?:\s|#[^\n]*\n)+'
# PGM and PPM files whose levels fill their bits: OpenCV scales no others.
FULL_PNM = re.compile(rb'P[2356]' + 2 * (_PNM_GAP + rb'\d+') + _PNM_GAP + rb'(?:255|65535)\s')


class UnseenError(ValueError):
    """An image that holds nothing to be seen; the message says why."""


def decode(content: bytes) -> np.ndarray | None:
    """The pixels of an image file: (H, W, 3), uint8 or uint16, RGB, upright; grey is repeated.

    Profiles of RGB colours are not applied, as a network keeps to the colours that it gets; CMYK and Lab become sRGB.
    Of an alpha channel, hidden colours are replaced by the nearest visible ones, which are all that is left of it.

    Returns:
        None where it cannot be decoded.

    Raises:
        UnseenError: it is wholly transparent.
    """
    pixels = None
    try:
        if _is_plain(content):
            # (H, W, 3) BGR
            pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        if pixels is not None and pixels.dtype in (np.uint8, np.uint16):
            return pixels[:, :, ::-1]
        if not content:
            return None
        color, alpha = _decode_tiff(content) if content.startswith(TIFF) else _decode_other(content)
    except UnseenError:
        raise
    except Exception:  # each decoder has its own
        return None
    if alpha is not None:
        if not alpha.any():
            raise UnseenError('is wholly transparent')
        color = with_hidden_filled(color, alpha)
    return np.broadcast_to(color, (*color.shape[:2], 3))


def _is_plain(content: bytes) -> bool:
    """Whether OpenCV reads a file as it is meant, told by the header."""
    if content.startswith(PNG):
        return len(content) > 25 and content[25] not in (GREY_ALPHA, RGB_ALPHA) and not _png_has_more(content)
    if content.startswith(b'\xff\xd8'):
        return _jpeg_channels(content) != 4
    if content.startswith(b'RIFF'):
        return not (content[12:16] == b'VP8L' or (content[12:16] == b'VP8X' and content[20:21] > b'\x0f'))
    if content.startswith(b'BM'):
        return content[28:30] != b'\x20\0'
    if content[:2] in (b'P2', b'P3', b'P5', b'P6'):
        return FULL_PNM.match(content) is not None
    return not content.startswith(TIFF)


def _png_has_more(content: bytes) -> bool:
    """Whether transparent levels or an animation stand before the pixels of a PNG file."""
    place = len(PNG)
    while place + 8 <= len(content):
        length, name = struct.unpack_from('>I4s', content, place)
        if name in (b'tRNS', b'acTL'):
            return True
        if name == b'IDAT':
            return False
        place += 12 + length
    return False


def _jpeg_channels(content: bytes) -> int:
    place = 2
    while place + 10 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker in FRAMES:
            return content[place + 9]
        place += (
            2 if marker in STANDALONE or marker == 0xFF else 2 + int.from_bytes(content[place + 2 : place + 4], 'big')
        )
    return 0


def _decode_other(content: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    """Colours (H, W, 1 or 3) and alpha (H, W), by Pillow; PNG files of 16 bits by OpenCV, but for their orientation."""
    with without_library_limits(), Image.open(io.BytesIO(content)) as file:
        image: Image.Image = file
        if content.startswith(PNG) and content[24] == 16:
            image.load()
            return _split(_upright(_deep_png(content, image), image.getexif().get(EXIF_ORIENTATION, 1)))
        if 'transparency' in image.info and image.mode in ('1', 'L') and content.startswith(PNG):
            # Pillow compares levels of 0..255 with one of fewer bits.
            image.info['transparency'] *= 255 // (2 ** content[24] - 1)
        image.load()
        image = ImageOps.exif_transpose(image) or image
        if image.mode in ('CMYK', 'YCbCr', 'LAB', 'HSV'):
            image, _ = as_rgb(image, image.info.get('icc_profile'))
        if image.mode.startswith(('I', 'F')):
            if image.mode == 'F' or file.format != 'PPM':
                raise ValueError('numbers of another kind')
            return np.asarray(image).astype(np.uint16)[..., None], None
        grey = image.mode in ('1', 'L', 'LA', 'La')
        mode = ('L' if grey else 'RGB') + 'A' * image.has_transparency_data
        pixels = np.asarray(image.convert(mode))
    return _split(pixels)


def _deep_png(content: bytes, image: Image.Image) -> np.ndarray:
    """(H, W, channels), uint16, alpha last, of a PNG file with alpha or a transparent level."""
    pixels = _unchanged(content)
    color = pixels[..., :1] if content[25] in (0, GREY_ALPHA) else pixels[..., 2::-1]
    if content[25] in (GREY_ALPHA, RGB_ALPHA):
        return np.dstack([color, pixels[..., -1]])
    if 'transparency' not in image.info:
        return color
    hidden = (color == np.array(image.info['transparency'], np.uint16)).all(-1)
    return np.dstack([color, np.where(hidden, 0, 65535).astype(np.uint16)])


def _unchanged(content: bytes) -> np.ndarray:
    """(H, W, channels) as OpenCV finds them: blue first, where there are colours, and alpha last."""
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise ValueError('is damaged')
    return pixels.reshape(*pixels.shape[:2], -1)


def _decode_tiff(content: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    """Of 16 bits by OpenCV and tifffile, else as others."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages.first
        if page.bitspersample != 16:
            return _decode_other(content)
        extra, photometric = tuple(int(kind) for kind in page.extrasamples), int(page.photometric)
        orientation = page.tags['Orientation'].value if 'Orientation' in page.tags else 1
        if page.planarconfig == 1 and not extra and photometric != WHITE_IS_ZERO:
            pixels, orientation = _unchanged(content)[..., ::-1], 1  # TIFF files it turns, whatever it is told
        else:
            pixels = page.asarray()
            separate = page.planarconfig == 2 and pixels.ndim == 3
            pixels = np.moveaxis(pixels, 0, -1) if separate else pixels
            pixels = pixels.reshape(*pixels.shape[:2], -1)
    if pixels.dtype != np.uint16 or photometric not in (WHITE_IS_ZERO, 1, RGB):
        raise ValueError('numbers of another kind')
    channels = 3 if photometric == RGB else 1
    color = 65535 - pixels[..., :1] if photometric == WHITE_IS_ZERO else pixels[..., :channels]
    at = next((number for number, kind in enumerate(extra) if kind in (PREMULTIPLIED, ALPHA)), None)
    if at is None:
        return _upright(color, orientation), None
    alpha = pixels[..., channels + at]
    if extra[at] == PREMULTIPLIED:
        color = np.rint(np.minimum(color * (65535 / np.maximum(alpha, 1))[..., None], 65535)).astype(np.uint16)
    return _split(_upright(np.dstack([color, alpha]), orientation))


def _split(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Colours and alpha, of 1 to 4 channels."""
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    return (pixels[..., :-1], pixels[..., -1]) if pixels.shape[2] in (2, 4) else (pixels, None)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns (H, W, channels) as EXIF says."""
    pixels = pixels.swapaxes(0, 1) if orientation in EXIF_SIDEWAYS else pixels
    rows, columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return pixels[:: -1 if rows else 1, :: -1 if columns else 1]
