"""EXIF data and the directories of TIFF files, entry by entry and byte for byte.

Values stay as they are stored: a text of any encoding, a type that no list knows. Only what is asked for is understood.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from mmap import mmap
from typing import Any, NamedTuple

from PIL.ExifTags import IFD

Buffer = bytes | mmap

EXIF_HEADER = b'Exif\0\0'
BYTE, SHORT, LONG, RATIONAL, UNDEFINED = 1, 3, 4, 5, 7
BYTES_OF_KIND = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
CODES = {1: 'B', 3: 'H', 4: 'I', 5: 'II', 6: 'b', 7: 'B', 8: 'h', 9: 'i', 10: 'ii', 13: 'I', 16: 'Q', 18: 'Q'}
WIDE_KINDS = (11, 12)  # floating-point numbers, which nobody asks for
LONG_KINDS = {16: LONG, 18: LONG}  # which BigTIFF alone has
# Tags that lead to further directories: in which they stand does not matter.
DIRECTORIES = (IFD.Exif, IFD.GPSInfo, IFD.Interop)
MOST_ENTRIES = 4096
MOST_PAGES = 10000


class Entry(NamedTuple):
    """One value: the number of its type in TIFF, how many there are, and their bytes in the file's order."""

    kind: int
    length: int
    data: bytes


@dataclass
class Directory:
    """Entries by tag, and further directories by the tags that lead to them."""

    entries: dict[int, Entry] = field(default_factory=dict)
    below: dict[int, Directory] = field(default_factory=dict)

    @property
    def next(self) -> int:
        """How far behind its beginning it says where the next page is."""
        return 2 + 12 * len({*self.entries, *self.below})

    def swapped(self) -> Directory:
        """The same in the other order of bytes."""
        entries = {}
        for tag, (kind, length, data) in self.entries.items():
            step = struct.calcsize(CODES.get(kind, 'B')[0]) if kind not in WIDE_KINDS else BYTES_OF_KIND[kind]
            data = b''.join(data[place : place + step][::-1] for place in range(0, len(data), step))
            entries[tag] = Entry(kind, length, data)
        return Directory(entries, {tag: below.swapped() for tag, below in self.below.items()})


@dataclass
class Exif:
    """EXIF data, or the first directory of a TIFF file.

    Attributes:
        order: of bytes, '<' or '>'.
        damaged: whether entries that lie outside the file were left out.
    """

    order: str = '<'
    main: Directory = field(default_factory=Directory)
    damaged: bool = False

    def numbers(self, tag: int, directory: Directory | None = None) -> tuple[float, ...]:
        """The numbers of an entry, none where it is absent or no number; fractions that are none are left out."""
        entry = (directory or self.main).entries.get(tag)
        if entry is None or entry.kind not in CODES:
            return ()
        code = CODES[entry.kind]
        values = list(struct.iter_unpack(self.order + code, entry.data))
        return tuple(v[0] if len(v) == 1 else v[0] / v[1] for v in values if len(v) == 1 or v[1])

    def number(self, tag: int, default: int) -> int:
        """The first number of an entry as a whole one."""
        return int((*self.numbers(tag), default)[0])

    def entry(self, kind: int, *values: Any) -> Entry:
        """An entry of such numbers; a RATIONAL takes two for each."""
        letters = CODES[kind]
        data = struct.pack(f'{self.order}{letters[0] * len(values)}', *values)
        return Entry(kind, len(values) // len(letters), data)

    def tobytes(self) -> bytes:
        """As in JPEG files, with the header; nothing where there are no entries."""
        if not (self.main.entries or self.main.below):
            return b''
        return EXIF_HEADER + self.file_start()

    def file_start(self) -> bytes:
        """What a TIFF file begins with: its header and the directories."""
        header = {'<': b'II*\0', '>': b'MM\0*'}[self.order] + struct.pack(self.order + 'I', 8)
        return header + self.directory(len(header))

    def directory(self, start: int) -> bytes:
        """The directories as they stand at that place of a file; that of the next page is 0, see `Directory.next`."""
        return _directory_bytes(self.main, self.order, start)

    def in_order(self, order: str) -> Exif:
        """The same in another order of bytes."""
        return self if order == self.order else Exif(order, self.main.swapped(), self.damaged)


def is_tiff(content: Buffer) -> bool:
    """Whether a file, or EXIF data, begin as TIFF or BigTIFF files do."""
    return content[:4] in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')


def parse_exif(content: Buffer) -> Exif:
    """Reads the first directory, and those below it.

    Args:
        content: of a TIFF or BigTIFF file, or EXIF data with or without their header.

    Raises:
        ValueError: it does not begin with a directory.
    """
    if content[: len(EXIF_HEADER)] == EXIF_HEADER:
        content = content[len(EXIF_HEADER) :]
    offset = next(_directory_offsets(content), None)
    if offset is None:
        raise ValueError('the directory is damaged')
    exif = Exif(order=_Layout.of(content).order)
    exif.main = _directory(content, offset, exif, depth=2)
    return exif


def page_offsets(content: Buffer) -> list[int]:
    """Where the directories of a TIFF file's pictures stand, reduced copies aside."""
    found = []
    for offset in _directory_offsets(content):
        exif = Exif(order=_Layout.of(content).order)
        exif.main = _directory(content, offset, exif, depth=0)
        if not exif.number(254, 0) & 1:
            found.append(offset)
    return found


def only_page(content: bytes, offset: int | None = None) -> bytes:
    """A TIFF file of one picture, the first if no other is named: damage in others is of no concern to its readers."""
    offset = next(_directory_offsets(content), None) if offset is None else offset
    if offset is None:
        return content
    layout = _Layout.of(content)
    start, count = layout.entries(content, offset)
    place, length = start + layout.entry_bytes * count, struct.calcsize(layout.offset_code)
    changed = bytearray(content)
    changed[place : place + length] = bytes(length)
    changed[length : 2 * length] = struct.pack(layout.offset_code, offset)
    return bytes(changed)


class _Layout(NamedTuple):
    """How the directories of a file lie, in codes of `struct`: of an offset, of the count of entries, of an entry.

    An entry is a tag, a type, a number of values, and these themselves where they are no longer than an offset.
    """

    order: str
    offset_code: str
    count_code: str
    entry_code: str

    @classmethod
    def of(cls, content: Buffer) -> _Layout:
        order = '<' if content[:2] == b'II' else '>'
        codes = ('Q', 'Q', 'HHQ') if b'+' in content[2:4] else ('I', 'H', 'HHI')  # of BigTIFF, and others
        return cls(order, *(order + code for code in codes))

    @property
    def entry_bytes(self) -> int:
        return struct.calcsize(self.entry_code) + struct.calcsize(self.offset_code)

    def entries(self, content: Buffer, directory: int) -> tuple[int, int]:
        """Where the entries of a directory begin, and how many there are."""
        return directory + struct.calcsize(self.count_code), struct.unpack_from(self.count_code, content, directory)[0]


def _directory_offsets(content: Buffer) -> Iterator[int]:
    """Where the directories stand that a file names one after the other, as far as they can be followed."""
    if not is_tiff(content):
        return
    layout = _Layout.of(content)
    seen: set[int] = set()
    place = struct.calcsize(layout.offset_code)  # behind a mark, and in BigTIFF more, of the same length
    while len(seen) < MOST_PAGES:
        try:
            offset = struct.unpack_from(layout.offset_code, content, place)[0]
            start, count = layout.entries(content, offset) if offset else (0, 0)
        except (struct.error, OverflowError):
            return
        if offset in seen or not (offset and 0 <= count <= MOST_ENTRIES):
            return
        seen.add(offset)
        yield offset
        place = start + count * layout.entry_bytes


def _directory(content: Buffer, offset: int, exif: Exif, *, depth: int) -> Directory:
    layout = _Layout.of(content)
    start, count = layout.entries(content, offset)
    step = layout.entry_bytes
    directory = Directory()
    for place in range(start, start + step * min(count, MOST_ENTRIES), step):
        try:
            tag, kind, values = struct.unpack_from(layout.entry_code, content, place)
            length = BYTES_OF_KIND.get(kind, 0) * values
            where = place + struct.calcsize(layout.entry_code)
            if length > struct.calcsize(layout.offset_code):
                where = struct.unpack_from(layout.offset_code, content, where)[0]
            data = bytes(content[where : where + length])
            if kind not in BYTES_OF_KIND or len(data) != length:
                exif.damaged = True
            elif tag in DIRECTORIES and depth > 0:
                below = struct.unpack_from(layout.order + ('Q' if length == 8 else 'I'), content, where)[0]
                directory.below[tag] = _directory(content, below, exif, depth=depth - 1)
            elif tag not in DIRECTORIES:
                directory.entries[tag] = _without_long_kinds(Entry(kind, values, data), layout.order)
        except (struct.error, OverflowError):
            exif.damaged = True
    return directory


def _without_long_kinds(entry: Entry, order: str) -> Entry:
    """In types that files other than BigTIFF have too; numbers that are too large for these become the largest."""
    if entry.kind not in LONG_KINDS:
        return entry
    numbers = [min(number, 2**32 - 1) for (number,) in struct.iter_unpack(order + 'Q', entry.data)]
    return Entry(LONG, entry.length, struct.pack(f'{order}{len(numbers)}I', *numbers))


def _directory_bytes(directory: Directory, order: str, start: int) -> bytes:
    """The directory as it stands at that place of a file, its values and those below it behind it."""
    tags = sorted({*directory.entries, *directory.below})
    table, behind = [struct.pack(order + 'H', len(tags))], []
    position = start + 2 + 12 * len(tags) + 4
    for tag in tags:
        if tag in directory.below:
            kind, count, value = LONG, 1, struct.pack(order + 'I', position)
            block = _directory_bytes(directory.below[tag], order, position)
        else:
            kind, count, data = directory.entries[tag]
            inline = len(data) <= 4
            value = data.ljust(4, b'\0') if inline else struct.pack(order + 'I', position)
            block = b'' if inline else data + b'\0' * (len(data) % 2)
        behind.append(block)
        position += len(block)
        table.append(struct.pack(order + 'HHI', tag, kind, count) + value)
    return b''.join([*table, bytes(4), *behind])
