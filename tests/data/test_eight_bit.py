"""Images of 8 bits and of floats: every value, halves, and what lies outside."""

import numpy as np

from gsasr_plugin.data.eight_bit import to_8_bit, to_float


def test_every_value_there_and_back():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16).T
    floats = to_float(values)
    assert floats.dtype == np.float32 and floats.flags.c_contiguous
    assert np.abs(floats - values / 255.0).max() <= 2**-24  # half a unit in the last place of values up to 1
    assert np.array_equal(to_8_bit(floats), values) and to_8_bit(floats).dtype == np.uint8


def test_halves_go_upwards_and_what_lies_outside_is_clipped():
    levels = np.array([-300.0, -0.6, -0.4, 0, 0.25, 0.5, 1.5, 2.5, 254.25, 254.5, 255.4, 256, 600]) / 255
    assert to_8_bit(levels).tolist() == [0, 0, 0, 0, 0, 1, 2, 3, 254, 255, 255, 255, 255]
