"""Sizes that users ask for."""

from __future__ import annotations

import pytest

from gsasr_plugin.upscaling.target import Target, parse_pixels, parse_scale, parse_size


@pytest.mark.parametrize(
    ('target', 'size'),
    [
        (Target(scale=(3.14, 3.14)), (63, 94)),
        (Target(scale=(2, 3.5)), (40, 105)),
        (Target(height=100, width=100), (100, 100)),
        (Target(height=30, width=2**31 - 1), (30, 2**31 - 1)),
        (Target(height=50), (50, 75)),
        (Target(width=100), (67, 100)),
        (Target(scale=(10, 10), max_pixels=15000), (100, 150)),
        (Target(scale=(2, 2), max_pixels=15000), (40, 60)),
        (Target(scale=(20, 10), max_pixels=30000), (200, 150)),
        (Target(max_pixels=15000), (100, 150)),
        (Target(max_pixels=15001), (100, 150)),
    ],
)
def test_size_of_a_picture_of_20_x_30(target: Target, size: tuple[int, int]) -> None:
    assert target.size_for((20, 30)) == size
    if target.max_pixels is not None:
        assert size[0] * size[1] <= target.max_pixels


@pytest.mark.parametrize('target', [Target(width=29), Target(height=20, width=29), Target(max_pixels=599)])
def test_a_size_below_the_picture_is_refused(target: Target) -> None:
    with pytest.raises(ValueError, match='smaller than the picture, 30 x 20'):
        target.size_for((20, 30))


def test_labels_name_the_scale_or_the_size() -> None:
    assert Target(scale=(3.14, 3.14)).label((63, 94)) == 'x3.14'
    assert Target(scale=(2, 3.5)).label((40, 105)) == 'x2x3.5'
    assert Target(width=100).label((67, 100)) == '100x67'


def test_words() -> None:
    assert parse_scale(['2', '3.5']) == (2, 3.5) and parse_scale(['4']) == (4, 4)
    assert parse_size('1920x1080') == (1080, 1920)
    assert [parse_pixels(text) for text in ('8M', '8e6', '2.5k', '77')] == [8_000_000, 8_000_000, 2500, 77]


@pytest.mark.parametrize('words', [['0.5'], ['x2'], ['1', '2', '3'], ['nan'], ['inf'], []])
def test_wrong_scales_are_named(words: list[str]) -> None:
    with pytest.raises(ValueError, match='a scale is one number from 1 on'):
        parse_scale(words)


@pytest.mark.parametrize('text', ['1920', '0x10', '-1x5', '10x'])
def test_wrong_sizes_are_named(text: str) -> None:
    with pytest.raises(ValueError, match='WIDTHxHEIGHT'):
        parse_size(text)


@pytest.mark.parametrize('text', ['', '0', 'M', '8X', '-8'])
def test_wrong_numbers_of_pixels_are_named(text: str) -> None:
    with pytest.raises(ValueError, match='number of pixels'):
        parse_pixels(text)
