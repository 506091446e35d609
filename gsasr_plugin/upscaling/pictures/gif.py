"""The blocks of GIF files, and what they say of the size."""

from collections.abc import Iterator

from gsasr_plugin.upscaling.pictures.exif import Buffer

EXTENSION, PICTURE, END = b'!', b',', b';'  # what blocks begin with


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
    for start, _ in blocks(content):
        if content[start : start + 1] == PICTURE:
            (left, top), (w, h) = _pair(content, start + 1), _pair(content, start + 5)
            width, height = max(width, left + w), max(height, top + h)
            if first:
                break
    return height, width


def blocks(content: Buffer) -> Iterator[tuple[int, int]]:
    """Where each begins, with `EXTENSION` or `PICTURE`, and ends, up to that which ends the file."""
    place = 13 + palette_bytes(content, 10)
    while (kind := content[place : place + 1]) not in (b'', END):
        start = place
        if kind == EXTENSION:
            place = _behind(content, place + 2)
        elif kind == PICTURE:
            place = _behind(content, place + 11 + palette_bytes(content, place + 9))
        else:
            place += 1
            continue
        yield start, place


def _pair(content: Buffer, place: int) -> tuple[int, int]:
    pair = content[place : place + 4].ljust(4, b'\0')
    return int.from_bytes(pair[:2], 'little'), int.from_bytes(pair[2:], 'little')


def palette_bytes(content: Buffer, place: int) -> int:
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
