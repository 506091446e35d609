"""What the blocks of a GIF file say of its size."""

from gsasr_plugin.upscaling.pictures.exif import Buffer


def is_gif(content: Buffer) -> bool:
    """Whether a file begins as GIF files do."""
    return content[:6] in (b'GIF87a', b'GIF89a')


def extent(content: Buffer, *, first: bool = False) -> tuple[int, int]:
    """(H, W) that hold the screen and each of the pictures: Pillow makes room for as much before it decodes them.

    Of a damaged file as far as its blocks go.

    Args:
        first: of the first picture only.
    """
    width, height = _pair(content, 6)
    place = 13 + _palette(content, 10)
    while content[place : place + 1] not in (b'', b';'):
        kind = content[place : place + 1]
        place += 1
        if kind == b'!':
            place = _behind(content, place + 1)
        elif kind == b',':
            (left, top), (w, h) = _pair(content, place), _pair(content, place + 4)
            width, height = max(width, left + w), max(height, top + h)
            if first:
                break
            place = _behind(content, place + 9 + _palette(content, place + 8) + 1)
    return height, width


def _pair(content: Buffer, place: int) -> tuple[int, int]:
    pair = content[place : place + 4].ljust(4, b'\0')
    return int.from_bytes(pair[:2], 'little'), int.from_bytes(pair[2:], 'little')


def _palette(content: Buffer, place: int) -> int:
    """Bytes of the palette that the flags at a place announce."""
    flags = content[place : place + 1] or b'\0'
    return 3 << (flags[0] & 7) + 1 if flags[0] & 0x80 else 0


def _behind(content: Buffer, place: int) -> int:
    """Where the parts of a block end, each of which begins with its length; the last is empty."""
    while length := content[place : place + 1]:
        place += 1 + length[0]
        if not length[0]:
            break
    return place
