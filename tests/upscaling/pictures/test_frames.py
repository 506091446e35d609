"""Animations and pages: frames as they are seen, their durations and loops, from file to file, by other readers too."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image

from gsasr_plugin.upscaling.pictures import gif
from gsasr_plugin.upscaling.pictures.frame_files import KINDS
from gsasr_plugin.upscaling.pictures.frames import PAGE_MS, read_frames
from gsasr_plugin.upscaling.pictures.metadata import Metadata
from gsasr_plugin.upscaling.pictures.picture import Picture, PictureError
from gsasr_plugin.upscaling.pictures.reading import picture_header, read_picture
from gsasr_plugin.upscaling.pictures.writing import encode_picture
from tests.upscaling.pictures.test_damage import damaged
from tests.upscaling.pictures.test_faults import levels

y, x = np.mgrid[0:24, 0:40]
RGB = np.stack([x * 6, y * 10, 255 - x * 6], -1).astype(np.uint8)
FRAMES = [np.dstack([np.roll(RGB, 5 * k, 1), (255 * ((x // 8 + k) % 3 > 0)).astype(np.uint8)]) for k in range(4)]
DURATIONS = [30.0, 70.0, 110.0, 50.0]


def written(format: str, frames: list[np.ndarray], durations: list[float], plays: int, **options: Any) -> bytes:
    """A file of ours."""
    file = io.BytesIO()
    animation = KINDS[format](file, frames[0].shape[:2], len(frames), plays)
    for frame, duration in zip(frames, durations):
        pixels = frame.astype(np.float32) / np.iinfo(frame.dtype).max
        alpha = pixels[..., 3] if frame.shape[2] == 4 else None
        picture = Picture(pixels[..., :3], alpha, 8 * frame.itemsize, format, lossless=True, **options)
        animation.add(encode_picture(picture), duration)
    animation.close()
    return file.getvalue()


def by_pillow(content: bytes) -> tuple[list[np.ndarray], list[float], int | None]:
    image = Image.open(io.BytesIO(content))
    frames, durations = [], []
    for number in range(image.n_frames):
        image.seek(number)
        image.load()
        frames.append(np.asarray(image.convert('RGBA')))
        durations.append(image.info.get('duration'))
    return frames, durations, image.info.get('loop')


def assert_seen_alike(found: np.ndarray, expected: np.ndarray, tolerance: float = 0) -> None:
    """Colours where they can be seen, and alpha."""
    np.testing.assert_array_equal(found[..., 3], expected[..., 3])
    seen = expected[..., 3] > 0
    assert np.abs(found[seen].astype(int) - expected[seen].astype(int)).max() <= tolerance


@pytest.mark.parametrize('format', ['PNG', 'WEBP', 'GIF'])
@pytest.mark.parametrize('plays', [0, 1, 3])
def test_animations_are_as_two_other_readers_say(format: str, plays: int) -> None:
    content = written(format, FRAMES, DURATIONS, plays)
    frames, durations, loop = by_pillow(content)
    assert durations == DURATIONS
    assert loop == ({0: 0, 1: None, 3: 2}[plays] if format == 'GIF' else plays)
    tolerance = 64 if format == 'GIF' else 0  # of 255 colours and dithering, a mean of 4
    for found, expected in zip(frames, FRAMES, strict=True):
        assert_seen_alike(found, expected, tolerance)
    if format != 'PNG':  # of whose animations libvips reads the first frame
        seen = pyvips.Image.new_from_buffer(content, '', n=-1)
        assert seen.get('n-pages') == 4 and seen.get('delay') == DURATIONS and seen.get('loop') == plays
        for found, expected in zip(seen.numpy().reshape(4, 24, 40, 4), frames):
            assert_seen_alike(found, expected)
    for frame, expected, duration in zip(read_frames(content), frames, DURATIONS, strict=True):
        assert_seen_alike(levels(frame.picture), expected)
        assert (frame.duration, frame.plays) == (duration, plays)


@pytest.mark.parametrize('format', ['GIF', 'PNG', 'WEBP'])
def test_frames_that_hold_what_changes_are_read_as_they_are_seen(format: str) -> None:
    """As Pillow writes them: parts of the picture, laid over the one before."""
    frames = [np.full((24, 40, 3), 90, np.uint8) for _ in range(3)]
    frames[1][5:9, 7:20] = (255, 0, 0)
    frames[2][3:6, 1:4] = (0, 0, 255)
    images = [Image.fromarray(levels) for levels in frames]
    file = io.BytesIO()
    images[0].save(file, format, save_all=True, append_images=images[1:], duration=40, loop=0, **({'lossless': True}))
    content = file.getvalue()
    assert picture_header(content).frames == 3
    for frame, expected in zip(read_frames(content), frames, strict=True):
        assert frame.duration == 40 and frame.plays == 0 and frame.picture.alpha is None
        np.testing.assert_array_equal(levels(frame.picture), expected)


def test_the_default_image_of_an_animation_is_no_frame() -> None:
    images = [Image.fromarray(frame[..., :3]) for frame in FRAMES]
    file = io.BytesIO()
    images[0].save(file, 'PNG', save_all=True, append_images=images[1:], default_image=True, duration=40)
    found = [levels(frame.picture) for frame in read_frames(file.getvalue())]
    assert picture_header(file.getvalue()).frames == len(found) == 3
    np.testing.assert_array_equal(found[0], FRAMES[1][..., :3])


@pytest.mark.parametrize('order', ['<', '>'])
def test_pages_keep_their_bits_and_sizes(order: str) -> None:
    deep = [levels[..., :3].astype(np.uint16) * 257 for levels in FRAMES]
    file = io.BytesIO()
    with tifffile.TiffWriter(file, byteorder=order) as pages:
        for number, page in enumerate(deep):
            pages.write(page[: 24 - number], photometric='rgb', software='a program' if number == 1 else False)
        pages.write(deep[0][::2, ::2], photometric='rgb', subfiletype=1)  # a reduced copy is no page
    content = file.getvalue()
    assert picture_header(content).frames == 4
    found = list(read_frames(content))
    for number, frame in enumerate(found):
        assert (frame.duration, frame.plays) == (PAGE_MS, 0) and frame.picture.bits == 16
        np.testing.assert_array_equal(levels(frame.picture), deep[number][: 24 - number])
    ours = written('TIFF', deep, DURATIONS, 0)
    with tifffile.TiffFile(io.BytesIO(ours)) as read:
        assert len(read.pages) == 4
        for page, expected in zip(read.pages, deep):
            np.testing.assert_array_equal(page.asarray(), expected)
    for frame, expected in zip(read_frames(ours), deep, strict=True):
        np.testing.assert_array_equal(levels(frame.picture), expected)


def test_exif_data_in_the_other_order_of_bytes_say_the_same() -> None:
    data = Image.Exif()
    data.endian = '>'
    data[0x8298], data[282], data[0x0100] = 'someone', 300.0, 40
    data.get_ifd(0x8769)[0x9003] = '2026:11:27 01:02:03'
    before = Metadata(exif=data.tobytes())
    after = Image.Exif()
    after.load(before.parsed_exif().in_order('<').tobytes())
    assert after.endian == '<' and after[0x8298] == 'someone' and after[282] == 300 and after[0x0100] == 40
    assert after.get_ifd(0x8769)[0x9003] == '2026:11:27 01:02:03'


def test_durations_do_not_drift() -> None:
    """33 1/3 ms are 3 or 4 hundredths of a second in GIF files, and exact in PNG files."""
    thirds = [100 / 3] * 4
    assert sum(by_pillow(written('GIF', FRAMES, thirds, 0))[1]) == 130
    assert by_pillow(written('PNG', FRAMES, thirds, 0))[1] == pytest.approx(thirds)
    assert sum(by_pillow(written('WEBP', FRAMES, thirds, 0))[1]) == 133


def test_16_bits_stay_in_animations_of_png() -> None:
    deep = [levels.astype(np.uint16) * 257 + 1 for levels in FRAMES]
    deep = [np.minimum(levels, 65535).astype(np.uint16) for levels in deep]
    content = written('PNG', deep, DURATIONS, 0)
    found = read_picture(content)
    assert found.bits == 16 and 'first of its 4' in found.remarks[0]
    np.testing.assert_array_equal(np.rint(found.color * 65535), deep[0][..., :3])
    frames = list(read_frames(content))
    assert len(frames) == 4 and 'read as 8' in frames[0].picture.remarks[0]


def test_metadata_of_animations_are_kept() -> None:
    metadata = Metadata(icc=b'p' * 301, exif=b'Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0', xmp=b'<x/>')
    for format in ('WEBP', 'PNG'):
        content = written(format, FRAMES, DURATIONS, 0, metadata=metadata)
        found = next(read_frames(content)).picture.metadata
        assert (found.icc, found.xmp) == (metadata.icc, metadata.xmp)


def test_a_damaged_frame_is_named() -> None:
    content = written('GIF', FRAMES, DURATIONS, 0)
    with pytest.raises(PictureError, match=r'its picture [234] is damaged'):
        list(read_frames(content[: len(content) // 2]))


@pytest.mark.parametrize('number', [0, 2])
def test_a_gif_whose_pictures_reach_far_beyond_it_is_refused_with_numbers(number: int) -> None:
    """Pillow would take 16 GiB for one picture of a damaged file of 5 KB, before it decodes any."""
    whole = written('GIF', FRAMES, DURATIONS, 0)
    assert gif.extent(whole) == (24, 40)
    starts = [match.start() for match in re.finditer(rb',\0\0\0\0\x28\0\x18\0', whole)]
    assert len(starts) == len(FRAMES)
    place = starts[number] + 1
    content = whole[:place] + b'\xff' * 8 + whole[place + 8 :]
    assert gif.extent(content) == (131070, 131070)
    with pytest.raises(PictureError, match=r'holds 131070 x 131070 = 17179\.3 million pixels, which take 896'):
        list(read_frames(content))
    if number:  # the first is whole
        np.testing.assert_array_equal(read_picture(content).color, read_picture(whole).color)
        return
    with pytest.raises(PictureError, match='131070 x 131070'):
        read_picture(content)
    with pytest.raises(PictureError, match='131070 x 131070'):
        picture_header(content)


@pytest.mark.parametrize('count', [60, pytest.param(3000, marks=pytest.mark.slow)])
def test_damaged_animations_are_read_as_far_as_named(count: int) -> None:
    """Whatever a library raises, it is an error of the picture."""
    rng = np.random.default_rng(count)
    whole = [written(format, FRAMES, DURATIONS, 0) for format in KINDS]
    read = 0
    for number in range(count):
        content = damaged(whole[number % len(whole)], rng)
        try:
            picture_header(content, max_pixels=1e6)
            read += len(list(read_frames(content, max_pixels=1e6)))
        except PictureError as error:
            assert str(error) and '\n' not in str(error)
    assert read > count / 4
