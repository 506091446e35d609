"""Sizes and scales: what is given, rounding, crops of the protocol, and the scale under which pairs are known."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gsasr_plugin.sizes import (
    as_scale,
    enlarged_size,
    format_scale,
    nominal_scale,
    output_sizes,
    paired_gt_size,
    protocol_sizes,
    scales_per_image,
)

HUNDREDTHS = range(100, 1300)  # x1 to x12.99


@pytest.mark.parametrize('in_float32', [False, True])
@pytest.mark.parametrize('length', [*range(1, 40), 90, 110, 339, 678, 1999, 20000])
def test_lengths_are_those_of_exact_arithmetic(length, in_float32):
    """A half and a whole number count as such, however h * s and H / s are rounded, and everywhere alike."""
    for hundredths in HUNDREDTHS:
        exact = Fraction(hundredths, 100)
        scale = (hundredths / 100,) * 2
        given = torch.tensor(scale[0]) if in_float32 else scale[0]
        enlarged = math.floor(length * exact + Fraction(1, 2))
        assert enlarged_size((length, length), scale) == (enlarged,) * 2
        assert output_sizes((length, length), 1, given, None) == [(enlarged,) * 2]
        reduced = math.floor(length / exact)
        assert protocol_sizes((length, length), scale)[0] == (reduced,) * 2


def test_halves_are_rounded_up():
    assert enlarged_size((5, 7), (3.3, 2.5)) == (17, 18)  # 16.5 and 17.5
    assert enlarged_size((90, 110), (2.05, 2.05)) == (185, 226)  # 184.5 and 225.5
    assert protocol_sizes((135, 37), (1.08, 3.7))[0] == (125, 10)  # 135 / 1.08 is 124.99999999999999 in float64
    assert enlarged_size((1, 5), (0.2, 0.2)) == (1, 1)


def test_scales_are_numbers_or_pairs():
    assert as_scale(3) == (3.0, 3.0)
    assert as_scale([2, 3.5]) == (2.0, 3.5)
    for wrong in (0.9, math.inf, math.nan, [2], [2, 3, 4], [1, 0.5]):
        with pytest.raises(ValueError, match='a scale must be'):
            as_scale(wrong)
    assert format_scale((3.7, 3.7)) == '3.7'
    assert format_scale((2.0, 3.5)) == '2x3.5'


@pytest.mark.parametrize(
    ('gt_size', 'scale', 'lq_size', 'crop'),
    [
        ((481, 321), 4, (120, 80), (480, 320)),
        ((37, 74), 3.7, (10, 20), (37, 74)),  # 37 / 3.7 is 10, whatever the rounding of the division
        ((300, 451), 3.3, (90, 136), (297, 449)),
        ((100, 100), 30, (3, 3), (90, 90)),
        ((5, 100), 6, (0, 16), (0, 96)),
    ],
)
def test_protocol_sizes(gt_size, scale, lq_size, crop):
    assert protocol_sizes(gt_size, as_scale(scale)) == (lq_size, crop)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(100, 3000).map(lambda s: s / 100))
def test_protocol_crops_fit_their_image_and_scale(height, width, factor):
    lq_size, crop = protocol_sizes((height, width), (factor, factor))
    for length, lq_length, crop_length in zip((height, width), lq_size, crop):
        assert crop_length <= length
        assert length - crop_length < factor + 0.5
        assert abs(crop_length - lq_length * factor) <= 0.5 + 1e-6
    # A GT image that was kept whole fits too.
    assert paired_gt_size((height, width), lq_size, (factor, factor)) == crop


def test_gt_is_cut_to_what_lr_shows():
    assert paired_gt_size((481, 321), (120, 80), (4.0, 4.0)) == (480, 320)
    # MATLAB's imresize(GT, 1/4) rounds up: GT ends inside the last LR pixel.
    assert paired_gt_size((481, 321), (121, 81), (4.0, 4.0)) == (481, 321)
    assert paired_gt_size((485, 321), (120, 80), (4.0, 4.0)) is None
    assert paired_gt_size((476, 320), (120, 80), (4.0, 4.0)) is None
    assert paired_gt_size((6, 6), (3, 3), (1.5, 1.5)) is None  # a surplus of a whole factor is another LR pixel


@pytest.mark.parametrize(
    ('pairs', 'expected'),
    [
        ([((480, 320), (120, 80))], 4.0),
        ([((481, 321), (120, 80))], 4.0),  # GT kept whole
        ([((481, 321), (121, 81))], 4.0),  # LR rounded up
        ([((481, 321), (130, 86)), ((300, 451), (81, 121))], 3.7),
        ([((444, 444), (120, 120))], 3.7),
        ([((427, 640), (115, 172))], 3.7),  # kept whole, 3.6 columns more than 172 * 3.7, which rounds to 636
        ([((37, 37), (10, 10))], 3.7),
        ([((500, 500), (400, 400))], 1.25),
        ([((400, 400), (300, 300))], 1.333),  # 4 / 3: as few decimals as give 400 pixels
        ([((11, 11), (3, 3))], 3.7),  # 4 would lack a whole pixel, which comes after an exact fit
        ([((11, 11), (10, 10))], 1.1),  # 1 would leave one over, which is as much as the factor
        ([((7, 370), (2, 100))], 3.7),  # the rows alone are 3.5, and one factor for both axes is preferred
        ([((96, 96), (96, 96))], 1.0),
        ([((720, 720), (24, 24))], 30.0),
    ],
)
def test_nominal_scale_is_the_roundest_that_fits(pairs, expected):
    assert nominal_scale(pairs) == (expected, expected)


def test_nominal_scale_of_unequal_axes_and_of_mixed_sets():
    assert nominal_scale([((240, 350), (120, 100))]) == (2.0, 3.5)
    assert nominal_scale([((240, 240), (120, 120)), ((240, 240), (60, 60))]) is None
    assert nominal_scale([((50, 50), (100, 100))]) is None
    assert nominal_scale([((50, 400), (100, 100))]) is None
    assert nominal_scale([((400, 50), (100, 100))]) is None
    # 1.7 pixels too many and 1.63 too few are more than x1.33.
    assert nominal_scale([((400, 400), (300, 300)), ((15, 15), (10, 10))]) is None
    assert nominal_scale([((200, 200), (150, 150)), ((13, 13), (11, 11))]) is None
    # One rule made a set: that GT was kept whole (a surplus) or that LR was rounded up (too few), not both at x4.
    assert nominal_scale([((481, 481), (121, 121)), ((401, 401), (100, 100))]) == (3.98, 3.98)


@pytest.mark.parametrize('factor', [2, 3, 3.3, 3.7, 4, 6, 6.4, 8, 12, 16, 24, 30])
def test_nominal_scale_recovers_the_protocols_scales(factor):
    gt_sizes = [(1356, 2040), (2040, 1536), (1404, 2040)]
    pairs = [(size, protocol_sizes(size, as_scale(factor))[0]) for size in gt_sizes]
    assert nominal_scale(pairs) == (factor, factor)


@pytest.mark.parametrize(
    ('scale', 'expected'),
    [
        (2, [(2.0, 2.0)] * 3),
        (3.14, [(3.14, 3.14)] * 3),
        ([2, 3, 4.5], [(2.0, 2.0), (3.0, 3.0), (4.5, 4.5)]),
        ([(2, 3), (4, 5), (6, 7)], [(2.0, 3.0), (4.0, 5.0), (6.0, 7.0)]),
        ([(2, 3.5)], [(2.0, 3.5)] * 3),
        ((2, 3.5), [(2.0, 3.5)] * 3),
        (np.float32(2), [(2.0, 2.0)] * 3),
        (np.array([2.0, 3.0, 4.5]), [(2.0, 2.0), (3.0, 3.0), (4.5, 4.5)]),
        (torch.tensor([[2.0, 3.0]] * 3), [(2.0, 3.0)] * 3),
        (torch.tensor(2.5), [(2.5, 2.5)] * 3),
    ],
)
def test_scales(scale, expected) -> None:
    assert scales_per_image(scale, 3) == expected


@pytest.mark.parametrize('scale', [0, -1, float('nan'), float('inf'), [2, 3], [(2, 3, 4)], 'x2', [(2, 3), (4, 5)]])
def test_wrong_scales_are_named(scale) -> None:
    with pytest.raises(ValueError, match='scale must be'):
        scales_per_image(scale, 3)


def test_sizes_round_half_up_and_are_never_empty() -> None:
    assert output_sizes((3, 5), 1, 2.5, None) == [(8, 13)]
    assert output_sizes((1, 1), 1, 0.2, None) == [(1, 1)]
    assert output_sizes((48, 48), 2, [(1.5, 3.7)], None) == [(72, 178)] * 2


def test_sizes_given() -> None:
    assert output_sizes((3, 5), 2, None, (7, 9)) == [(7, 9), (7, 9)]
    assert output_sizes((3, 5), 2, None, [(7, 9), (1, 2)]) == [(7, 9), (1, 2)]
    assert output_sizes((3, 5), 2, None, torch.Size((7, 9))) == [(7, 9), (7, 9)]
    assert output_sizes((3, 5), 2, None, torch.tensor([[7, 9], [1, 2]])) == [(7, 9), (1, 2)]


@pytest.mark.parametrize('size', [(0, 3), (2.5, 3), (float('inf'), 3), [(1, 2)], (1, 2, 3)])
def test_wrong_sizes_are_named(size) -> None:
    with pytest.raises(ValueError, match='size must be'):
        output_sizes((3, 5), 2, None, size)


def test_one_of_both() -> None:
    with pytest.raises(ValueError, match='either scale or size'):
        output_sizes((3, 5), 2, 2, (6, 10))
    with pytest.raises(ValueError, match='either scale or size'):
        output_sizes((3, 5), 2, None, None)
