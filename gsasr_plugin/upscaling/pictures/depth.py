"""How many bits per channel a file has, of those that Pillow reads in 8 bits without a word."""

import re

from PIL import Image

CODESTREAM = b'\xff\x4f\xff\x51'  # of JPEG 2000: its beginning, and that of the sizes of its channels
HIGH, TWELVE = 0x40, 0x20  # in the third byte of av1C


def bits_in_file(image: Image.Image, content: bytes) -> int:
    """Bits per channel of the deepest one, at least 8.

    Args:
        image: as opened, its pixels not read yet.
        content: of its file.
    """
    bits = 8
    if image.format == 'PPM':
        top = next(
            (number for tile in getattr(image, 'tile', ()) for number in tile[3][1:2] if isinstance(number, int)), 0
        )
        bits = top.bit_length()
    elif image.format == 'SGI':
        bits = 8 * content[3]
    elif image.format == 'JPEG2000':
        place = content.find(CODESTREAM) + 40
        end = place + 2 + 3 * int.from_bytes(content[place : place + 2], 'big')
        bits = max((1 + (number & 0x7F) for number in content[place + 2 : end : 3]), default=8)
    elif image.format in ('AVIF', 'HEIF'):
        header = content.partition(b'mdat')[0]
        found = [(12 if byte & TWELVE else 10) for (byte,) in re.findall(rb'(?s)av1C..(.)', header) if byte & HIGH]
        found += [8 + (byte & 7) for (byte,) in re.findall(rb'(?s)hvcC.{17}(.)', header)]
        bits = max(found, default=8)
    return max(bits, 8)
