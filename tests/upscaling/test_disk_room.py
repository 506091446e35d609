"""Results that the disk cannot hold are known before they are drawn, of all formats whose rows are on it."""

from __future__ import annotations

import io
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsasr_plugin.upscaling import disk_room
from gsasr_plugin.upscaling.disk_room import DiskRoom
from gsasr_plugin.upscaling.pictures.formats import FORMATS
from gsasr_plugin.upscaling.pictures.picture import Picture, PictureError
from gsasr_plugin.upscaling.pictures.reading import picture_header
from gsasr_plugin.upscaling.pictures.writing import cannot_hold, encode_picture

Usage = namedtuple('Usage', 'free')
SIZE = (4000, 5001)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes of the disk are free."""
    room = [0]
    monkeypatch.setattr(disk_room.shutil, 'disk_usage', lambda folder: Usage(room[0]))
    return room


@pytest.mark.parametrize(
    ('format', 'level_bytes', 'needed'),
    [
        ('PNG', 1, 4000 * 5001),
        ('PNG', 8, 4000 * 5001 * 8),
        ('JPEG', 1, 4000 * 5001),
        ('JPEG', 3, 4000 * 5001 * 4),
        ('WEBP', 1, 4000 * 5001 * 4),
        ('WEBP', 4, 4000 * 5001 * 4),
        ('TIFF', 6, 4000 * 5001 * 6),
        ('BMP', 1, 4000 * 5004),
        ('BMP', 3, 4000 * 15004),
    ],
)
def test_as_much_as_the_rows_take_has_to_be_free(
    format: str, level_bytes: int, needed: int, free: list[int], tmp_path: Path
) -> None:
    for path in (tmp_path / 'new' / 'x', None):
        free[0] = needed
        assert DiskRoom().refusal(SIZE, format, path, level_bytes) is None
        free[0] = needed - 1
        refusal = DiskRoom().refusal(SIZE, format, path, level_bytes)
        most = 'up to ' if format == 'TIFF' else ''
        assert refusal is not None and f'its rows take {most}{needed / 2**30:.1f} GiB in ' in refusal


def test_what_is_not_known_is_not_refused(free: list[int], tmp_path: Path) -> None:
    """How well AVIF and GIF compress; small pictures do not wait on the disk."""
    for format in FORMATS:
        small = DiskRoom().refusal((100, 100), format, tmp_path / 'x', 3)
        large = DiskRoom().refusal(SIZE, format, tmp_path / 'x', 3)
        assert (small is None, large is None) == (format != 'BMP', format in ('AVIF', 'GIF'))


def test_results_that_stay_are_counted_together(free: list[int], tmp_path: Path) -> None:
    free[0] = 5 * 4000 * 15004 // 2
    (tmp_path / 'there').touch()
    room = DiskRoom()
    found = [room.refusal(SIZE, 'BMP', tmp_path / name, 3) for name in ('there', 'a', 'b', 'c')]
    assert found[:3] == [None] * 3 and 'free beside the results before it' in str(found[3])
    room = DiskRoom()
    assert [room.refusal(SIZE, 'PNG', tmp_path / name, 3) for name in 'abcd'] == [None] * 4  # one waits at a time


@pytest.mark.parametrize(
    ('mode', 'format', 'bytes_as_png', 'bytes_as_jpeg'),
    [
        ('L', 'PNG', 1, 1),
        ('P', 'PNG', 3, 3),
        ('I;16', 'PNG', 2, 1),
        ('RGBA', 'PNG', 4, 3),
        ('LA', 'TIFF', 2, 1),
        ('I;16', 'TIFF', 2, 1),
        ('CMYK', 'TIFF', 3, 3),
        ('L', 'JPEG', 1, 1),
        ('CMYK', 'JPEG', 3, 3),
        ('RGBA', 'WEBP', 4, 3),
    ],
)
def test_headers_say_how_large_levels_are(mode: str, format: str, bytes_as_png: int, bytes_as_jpeg: int) -> None:
    file = io.BytesIO()
    image = Image.new('L', (40, 24), 200).convert(mode)
    if mode.endswith('A'):
        image.putalpha(100)
    image.save(file, format)
    header = picture_header(file.getvalue())
    assert header.level_bytes(FORMATS['PNG']) == bytes_as_png
    assert header.level_bytes(FORMATS['JPEG']) == bytes_as_jpeg


def test_bmp_files_hold_four_gibibytes() -> None:
    assert cannot_hold((30000, 40000), 'BMP', alpha=False, level_bytes=3) is None
    assert cannot_hold((60000, 60000), 'BMP', alpha=False, level_bytes=1) is None
    told = 'BMP files hold at most 4 GiB, and 60000 x 60000 pixels take more: choose PNG'
    assert cannot_hold((60000, 60000), 'BMP', alpha=False, level_bytes=3) == told
    with pytest.raises(PictureError, match='at most 4 GiB'):
        encode_picture(Picture(np.broadcast_to(np.float32(0), (60000, 60000, 3)), format='BMP'))
