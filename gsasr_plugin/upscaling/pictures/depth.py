"""How many bits per channel a file has, of those that Pillow reads in 8 bits without a word."""

import re

from PIL import Image

CODESTREAM = b'\xff\x4f\xff\x51'  # of JPEG 2000: its beginning, and that of the sizes of its channels
JXL_CODESTREAM = b'\xff\x0a'  # behind it fields of bits, the lowest first
JXL_BOX = re.compile(rb'jxlc|jxlp....', re.DOTALL)  # in which it stands, where it does not begin the file
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
    elif image.format == 'JXL':
        bits = _jxl_bits(content)
    elif image.format in ('AVIF', 'HEIF'):
        header = content.partition(b'mdat')[0]
        found = [(12 if byte & TWELVE else 10) for (byte,) in re.findall(rb'(?s)av1C..(.)', header) if byte & HIGH]
        found += [8 + (byte & 7) for (byte,) in re.findall(rb'(?s)hvcC.{17}(.)', header)]
        bits = max(found, default=8)
    return max(bits, 8)


class _Bits:
    """Fields of JPEG XL: bits, and numbers in one of four codings: a constant, and the bits of what is added to it."""

    def __init__(self, content: bytes) -> None:
        self.number = int.from_bytes(content, 'little')

    def take(self, count: int) -> int:
        taken = self.number & ((1 << count) - 1)
        self.number >>= count
        return taken

    def number_of(self, *codings: tuple[int, int]) -> int:
        constant, count = codings[self.take(2)]
        return constant + self.take(count)


def _jxl_bits(content: bytes) -> int:
    """As the header of a JPEG XL codestream says, behind its size and what else may stand before."""
    box = None if content.startswith(JXL_CODESTREAM) else JXL_BOX.search(content)
    place = box.end() if box else 0
    bits = _Bits(content[place + len(JXL_CODESTREAM) : place + 64])
    _pass_jxl_size(bits)
    if bits.take(1):  # all as usual
        return 8
    if bits.take(1):
        bits.take(3)  # orientation
        if bits.take(1):
            _pass_jxl_size(bits)
        if bits.take(1):
            _pass_jxl_preview(bits)
        if bits.take(1):
            bits.number_of((100, 0), (1000, 0), (1, 10), (1, 30))
            bits.number_of((1, 0), (1001, 0), (1, 8), (1, 10))
            bits.number_of((0, 0), (0, 3), (0, 16), (0, 32))
            bits.take(1)
    if bits.take(1):  # floating-point numbers
        return bits.number_of((32, 0), (16, 0), (24, 0), (1, 6))
    return bits.number_of((8, 0), (10, 0), (12, 0), (1, 6))


def _pass_jxl_size(bits: _Bits) -> None:
    small = bits.take(1)

    def side() -> int:
        return bits.take(5) if small else bits.number_of((1, 9), (1, 13), (1, 18), (1, 30))

    side()
    if bits.take(3) == 0:  # no usual proportions
        side()


def _pass_jxl_preview(bits: _Bits) -> None:
    """The size of a preview."""
    eighths = bits.take(1)

    def side() -> int:
        codings = ((16, 0), (32, 0), (1, 5), (33, 9)) if eighths else ((1, 6), (65, 8), (321, 10), (1345, 12))
        return bits.number_of(*codings)

    side()
    if bits.take(3) == 0:
        side()
