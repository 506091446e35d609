"""PNG files as lists of chunks: what stands beside the pixels is read and written here, byte for byte."""

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from gsasr_plugin.upscaling.pictures.exif import EXIF_HEADER, Buffer

SIGNATURE = b'\x89PNG\r\n\x1a\n'
PIXELS = (b'IDAT', b'fdAT')
# Chunks that say what the numbers of the pixels mean; the last two in the spelling of older drafts too.
COLOR_CHUNKS = (b'gAMA', b'cHRM', b'sRGB', b'cICP', b'mDCV', b'cLLI', b'mDCv', b'cLLi')
TEXT_CHUNKS = (b'tEXt', b'zTXt', b'iTXt')
XMP_KEYWORD, COMMENT = 'XML:com.adobe.xmp', 'Comment'
RAW_PROFILE = 'Raw profile type '  # of ImageMagick: lines of hexadecimal numbers behind a name and a length
LARGEST_TEXT = 1 << 28
INCHES_PER_METRE = 39.37007874


class Chunk(NamedTuple):
    """The name of a chunk, and what it holds."""

    name: bytes
    data: bytes


def is_png(content: Buffer) -> bool:
    """Whether a file begins as PNG files do."""
    return content[:8] == SIGNATURE


def chunks_of(content: Buffer) -> Iterator[Chunk]:
    """The whole chunks of a file, those of pixels aside, whose data are empty."""
    place = len(SIGNATURE)
    while place + 12 <= len(content):
        length, name = struct.unpack_from('>I4s', content, place)
        end = place + 8 + length
        if end + 4 > len(content):
            return
        if name in PIXELS:
            yield Chunk(name, b'')
        else:
            data = content[place + 8 : end]
            if zlib.crc32(name + data) == struct.unpack_from('>I', content, end)[0]:
                yield Chunk(name, data)
        place = end + 4


def all_chunks(content: bytes) -> Iterator[Chunk]:
    """The chunks of a file that is whole, with all that they hold."""
    place = len(SIGNATURE)
    while place < len(content):
        length, name = struct.unpack_from('>I4s', content, place)
        yield Chunk(name, content[place + 8 : place + 8 + length])
        place += 12 + length


def chunk_bytes(chunk: Chunk) -> bytes:
    """A chunk as it stands in a file."""
    return struct.pack('>I', len(chunk.data)) + b''.join(chunk) + struct.pack('>I', zlib.crc32(b''.join(chunk)))


def with_chunks(beginning: bytes, chunks: Iterable[Chunk]) -> bytes | None:
    """The beginning of a file of pixels only, with these chunks behind its header, and none of its own but those that
    it must have; None where it ends before the pixels begin."""
    place, parts = len(SIGNATURE), [SIGNATURE]
    while place + 8 <= len(beginning):
        length, name = struct.unpack_from('>I4s', beginning, place)
        if name in PIXELS:
            return b''.join([*parts, beginning[place:]])
        if name[:1].isupper():  # who writes files of pixels adds a resolution, which nobody gave
            parts.append(beginning[place : place + 12 + length])
        if name == b'IHDR':
            parts += [chunk_bytes(chunk) for chunk in chunks]
        place += 12 + length
    return None


class ChunkWriter:
    """Writes a file of pixels only, part after part, with chunks behind its header: see `with_chunks`."""

    def __init__(self, file: BinaryIO, chunks: Iterable[Chunk]) -> None:
        self.file = file
        self.chunks = list(chunks)
        self.beginning: bytes | None = b''

    def write(self, data: bytes) -> None:
        """Writes the next part of the file."""
        if self.beginning is None:
            self.file.write(data)
            return
        self.beginning += data
        known = with_chunks(self.beginning, self.chunks)
        if known is not None:
            self.file.write(known)
            self.beginning = None


def keyword_of(chunk: Chunk) -> str:
    """The keyword of a text."""
    return chunk.data.partition(b'\0')[0].decode('latin-1')


def text_of(chunk: Chunk) -> bytes | None:
    """A text as UTF-8, None where it is damaged."""
    rest = chunk.data.partition(b'\0')[2]
    try:
        if chunk.name == b'tEXt':
            return rest.decode('latin-1').encode()
        if chunk.name == b'zTXt':
            return _unpacked(rest[1:]).decode('latin-1').encode()
        text = rest[2:].partition(b'\0')[2].partition(b'\0')[2]
        return _unpacked(text) if rest[:1] == b'\1' else text
    except zlib.error:
        return None


def raw_profile(text: bytes) -> bytes | None:
    """What ImageMagick has stored as a text, None where it is damaged."""
    try:
        _, length, numbers = text.strip().split(b'\n', 2)
        data = bytes.fromhex(numbers.decode('ascii'))
        return data if len(data) == int(length) else None
    except ValueError:
        return None


def profile_of(chunk: Chunk) -> bytes | None:
    """The ICC profile of a chunk iCCP, None where it is damaged."""
    try:
        return _unpacked(chunk.data.partition(b'\0')[2][1:])
    except zlib.error:
        return None


def _unpacked(data: bytes) -> bytes:
    return zlib.decompressobj().decompress(data, LARGEST_TEXT)


def text_chunk(keyword: str, text: bytes) -> Chunk:
    """A text in UTF-8 with its keyword."""
    if text.isascii() and keyword != XMP_KEYWORD:
        return Chunk(b'tEXt', keyword.encode('latin-1') + b'\0' + text)
    return Chunk(b'iTXt', keyword.encode('latin-1') + bytes(5) + text)


def exif_chunk(exif: bytes) -> Chunk:
    """EXIF data, given with or without their header."""
    return Chunk(b'eXIf', exif.removeprefix(EXIF_HEADER))


def profile_chunk(profile: bytes) -> Chunk:
    """An ICC profile."""
    return Chunk(b'iCCP', b'ICC Profile\0\0' + zlib.compress(profile))


def iptc_chunk(iptc: bytes) -> Chunk:
    """IPTC's records, as ImageMagick and ExifTool write them."""
    numbers = iptc.hex()
    lines = '\n'.join(numbers[start : start + 72] for start in range(0, len(numbers), 72))
    text = f'\niptc\n{len(iptc):8}\n{lines}\n'.encode()
    return Chunk(b'zTXt', f'{RAW_PROFILE}iptc'.encode() + b'\0\0' + zlib.compress(text))


def resolution_chunk(dpi: tuple[float, float]) -> Chunk:
    """(x, y) in dots per inch."""
    return Chunk(b'pHYs', struct.pack('>IIB', *(round(value * INCHES_PER_METRE) for value in dpi), 1))


def resolution_of(chunk: Chunk) -> tuple[float, float] | None:
    """(x, y) in dots per inch; None where the unit is unknown, so that it is a ratio."""
    if len(chunk.data) != 9:
        return None
    x, y, unit = struct.unpack('>IIB', chunk.data)
    return (x / INCHES_PER_METRE, y / INCHES_PER_METRE) if unit == 1 and x and y else None
