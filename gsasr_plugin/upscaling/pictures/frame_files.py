"""Writing files of several pictures, one after the other: each is encoded as a file of its own, whose parts go on here.

So no more than one picture is in memory, and all that is true of single files (bits, quality, metadata) stays true.
"""

import io
import itertools
import shutil
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, ClassVar

from PIL.ExifTags import Base

from gsasr_plugin.upscaling.pictures import gif, png
from gsasr_plugin.upscaling.pictures.exif import parse_exif
from gsasr_plugin.upscaling.pictures.picture import PictureError
from gsasr_plugin.whole_file import replacing

LONGEST = 65535  # numbers of 16 bits
TIFF_BYTES = 1 << 32


class FrameFile:
    """A file of several pictures.

    Args:
        file: to write to, and to go back in.
        size: (H, W) of the first.
        count: how many there will be.
        plays: how often they are shown, 0 for ever.
    """

    def __init__(self, file: BinaryIO, size: tuple[int, int], count: int, plays: int) -> None:
        self.file = file
        self.height, self.width = size
        self.count = count
        self.plays = plays
        self.frames = 0
        self.elapsed = 0.0  # milliseconds

    def add(self, still: bytes, duration: float) -> None:
        """Adds a picture, as a file of its own in the same format, that is seen for so many milliseconds."""
        self._add(still, duration)
        self.frames += 1
        self.elapsed += duration

    def rounded(self, duration: float, unit: float) -> int:
        """The duration in whole units, so rounded that the durations of all together do not drift."""
        return min(round((self.elapsed + duration) / unit) - round(self.elapsed / unit), LONGEST)

    def _add(self, still: bytes, duration: float) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """What stands behind the last picture."""


class PngFrames(FrameFile):
    """An animated PNG file."""

    number = 0  # of the parts of the animation

    def _add(self, still: bytes, duration: float) -> None:
        for name, parts in itertools.groupby(png.all_chunks(still), lambda chunk: chunk.name):
            if name == b'IDAT':
                self._write(png.Chunk(b'fcTL', self._control(duration)))
                for part in parts:
                    data = part.data if self.frames == 0 else self._next() + part.data
                    self._write(png.Chunk(b'IDAT' if self.frames == 0 else b'fdAT', data))
            elif self.frames == 0 and name != b'IEND':
                for part in parts:
                    self._write(part)
                if name == b'IHDR':
                    self._write(png.Chunk(b'acTL', struct.pack('>II', self.count, self.plays)))

    def _control(self, duration: float) -> bytes:
        seconds = Fraction(duration / 1000).limit_denominator(10000)
        if seconds.numerator > LONGEST:
            seconds = Fraction(min(round(duration / 1000), LONGEST))
        delay = seconds.numerator, seconds.denominator
        return self._next() + struct.pack('>IIIIHHBB', self.width, self.height, 0, 0, *delay, 0, 0)

    def _next(self) -> bytes:
        self.number += 1
        return struct.pack('>I', self.number - 1)

    def _write(self, chunk: png.Chunk) -> None:
        self.file.write(b'' if self.file.tell() else png.SIGNATURE)
        self.file.write(png.chunk_bytes(chunk))

    def close(self) -> None:
        self._write(png.Chunk(b'IEND', b''))


class WebpFrames(FrameFile):
    """An animated WebP file."""

    ICC, ALPHA, EXIF, XMP, ANIMATION = 0x20, 0x10, 0x08, 0x04, 0x02
    REPLACES = 0x02  # a frame that is not laid over the one before
    METADATA: ClassVar = {b'ICCP': ICC, b'EXIF': EXIF, b'XMP ': XMP}
    flags = ANIMATION

    def _add(self, still: bytes, duration: float) -> None:
        parts = dict(self._parts(still))
        if self.frames == 0:
            self.metadata = {name: parts[name] for name in self.METADATA if name in parts}
            self.file.write(b'RIFF\0\0\0\0WEBP' + self._part(b'VP8X', bytes(10)))
            if b'ICCP' in parts:
                self.file.write(self._part(b'ICCP', parts[b'ICCP']))
            self.file.write(self._part(b'ANIM', bytes(4) + struct.pack('<H', min(self.plays, LONGEST))))
        pixels = b''.join(self._part(name, parts[name]) for name in (b'ALPH', b'VP8 ', b'VP8L') if name in parts)
        if b'ALPH' in parts or (b'VP8L' in parts and parts[b'VP8L'][4] & 0x10):
            self.flags |= self.ALPHA
        sides = (self.width - 1).to_bytes(3, 'little') + (self.height - 1).to_bytes(3, 'little')
        length = self.rounded(duration, 1).to_bytes(3, 'little')
        self.file.write(self._part(b'ANMF', bytes(6) + sides + length + bytes([self.REPLACES]) + pixels))

    @staticmethod
    def _parts(still: bytes) -> Iterator[tuple[bytes, bytes]]:
        place = 12
        while place < len(still):
            name, length = struct.unpack_from('<4sI', still, place)
            yield name, still[place + 8 : place + 8 + length]
            place += 8 + length + length % 2

    @staticmethod
    def _part(name: bytes, data: bytes) -> bytes:
        return name + struct.pack('<I', len(data)) + data + bytes(len(data) % 2)

    def close(self) -> None:
        for name in (b'EXIF', b'XMP '):
            if name in self.metadata:
                self.file.write(self._part(name, self.metadata[name]))
        flags = self.flags | sum(self.METADATA[name] for name in self.metadata)
        length = self.file.tell() - 8
        if length >= TIFF_BYTES:
            raise PictureError('WEBP files hold at most 4 GiB: choose PNG')
        self.file.seek(4)
        self.file.write(struct.pack('<I', length))
        self.file.seek(20)
        sides = (self.width - 1).to_bytes(3, 'little') + (self.height - 1).to_bytes(3, 'little')
        self.file.write(bytes([flags, 0, 0, 0]) + sides)
        self.file.seek(0, io.SEEK_END)


class GifFrames(FrameFile):
    """An animated GIF file, each frame with its own palette."""

    KEEP, CLEAR = 1, 2  # what becomes of a frame when it has been seen
    OWN_PALETTE, INTERLACED = 0x80, 0x40
    COMMENT, CONTROL = gif.EXTENSION + b'\xfe', gif.EXTENSION + b'\xf9'

    def _add(self, still: bytes, duration: float) -> None:
        bits = still[10] & 7
        palette = still[13 : 13 + gif.palette_bytes(still, 10)]
        transparent = None
        if self.frames == 0:
            self.file.write(b'GIF89a' + still[6:10] + bytes(3))
            if self.plays != 1:
                repeats = min(max(self.plays - 1, 0), LONGEST)
                self.file.write(b'\x21\xff\x0bNETSCAPE2.0\x03\x01' + struct.pack('<H', repeats) + b'\0')
        for place, end in gif.blocks(still):
            if still[place : place + 2] == self.CONTROL and still[place + 3] & 1:
                transparent = still[place + 6]
            elif still[place : place + 2] == self.COMMENT and self.frames == 0:
                self.file.write(still[place:end])
            elif still[place : place + 1] == gif.PICTURE:
                after = self.KEEP if transparent is None else self.CLEAR
                control = after << 2 | (transparent is not None)
                length = self.rounded(duration, 10)
                self.file.write(self.CONTROL + struct.pack('<BBHBB', 4, control, length, transparent or 0, 0))
                flags = bytes([self.OWN_PALETTE | bits | (still[place + 9] & self.INTERLACED)])
                self.file.write(still[place : place + 9] + flags + palette + still[place + 10 : end])

    def close(self) -> None:
        self.file.write(gif.END)


class TiffFrames(FrameFile):
    """A TIFF file of several pages, which may be of several sizes."""

    order = ''
    next = 0  # where the last page says where the next one is

    def _add(self, still: bytes, duration: float) -> None:
        exif = parse_exif(still)
        if self.frames == 0:
            self.order = exif.order
        elif exif.order != self.order:
            raise PictureError('its pages have numbers in different orders of bytes')
        offsets = [int(number) for number in exif.numbers(Base.StripOffsets)]
        pixels = still[min(offsets) :]
        start = self.file.tell() + self.file.tell() % 2 if self.frames else 8
        directory = len(exif.directory(start))
        if start + directory + len(pixels) > TIFF_BYTES:
            raise PictureError('TIFF files hold at most 4 GiB: choose PNG')
        moved = [number - min(offsets) + start + directory for number in offsets]
        kind = exif.main.entries[Base.StripOffsets].kind
        exif.main.entries[Base.StripOffsets] = exif.entry(kind, *moved)
        if self.frames == 0:
            self.file.write(exif.file_start()[:8])
        else:
            self.file.seek(self.next)
            self.file.write(struct.pack(self.order + 'I', start))
            self.file.seek(0, io.SEEK_END)
            self.file.write(bytes(start - self.file.tell()))
        self.file.write(exif.directory(start) + pixels)
        self.next = start + exif.main.next


KINDS: dict[str, type[FrameFile]] = {'PNG': PngFrames, 'WEBP': WebpFrames, 'GIF': GifFrames, 'TIFF': TiffFrames}


@contextmanager
def frame_file(path: Path | None, format: str, size: tuple[int, int], count: int, plays: int) -> Iterator[FrameFile]:
    """A new file, whole or not at all, or the standard output, which gets it when it is done.

    Args:
        format: a name of `KINDS`.
        size, count, plays: see `FrameFile`.
    """
    if path is None:
        with tempfile.TemporaryFile() as file:
            frames = KINDS[format](file, size, count, plays)
            yield frames
            frames.close()
            file.seek(0)
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished, unfinished.open('w+b') as opened:
        frames = KINDS[format](opened, size, count, plays)
        yield frames
        frames.close()
