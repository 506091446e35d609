"""Which size a scale or a size asks for."""

import numpy as np
import pytest
import torch

from gsasr_plugin.archs.target_size import output_sizes, scales_per_image


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
    assert output_sizes((10, 10), 1, torch.tensor(2.05), None) == output_sizes((10, 10), 1, 2.05, None) == [(21, 21)]


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
