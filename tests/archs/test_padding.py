"""Reflection padding at the right and the bottom, of any image."""

import numpy as np
import pytest
import torch

from gsasr_plugin.archs.padding import pad_to_multiple


@pytest.mark.parametrize('size', [(1, 1), (1, 7), (2, 3), (5, 12), (12, 24), (13, 11)])
def test_equals_numpys_reflection(size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size)
    padded = pad_to_multiple(image, 12)
    after = [-n % 12 for n in size]
    expected = np.pad(image.numpy(), ((0, 0), (0, 0), (0, after[0]), (0, after[1])), mode='reflect')
    np.testing.assert_array_equal(padded.numpy(), expected)
