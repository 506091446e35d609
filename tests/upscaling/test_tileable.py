"""Textures that repeat: the result repeats as well, as that of many copies side by side does."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch

from gsasr_plugin import GSASR, load, upscale
from gsasr_plugin.archs.consistency import levelled, resized
from gsasr_plugin.upscaling.upscaler import Upscaler

LEVEL = 1 / 255


@pytest.fixture(scope='module')
def small() -> GSASR:
    """Of convolutions, so that a shifted picture has a shifted result; made consistent with the picture."""
    return load('gsasr-small')


def texture() -> np.ndarray:
    """(40, 52, 4), floats: a photograph whose borders do not fit, and parts that are wholly transparent."""
    pixels = skimage.data.astronaut()[90:130, 200:252].astype(np.float32) / 255
    alpha = np.clip(2 * pixels[..., 1] - 0.4, 0, 1)
    return np.dstack([pixels, alpha])


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest, of what can be seen."""
    seen = np.maximum(found[..., 3:], expected[..., 3:]) > 0
    return float(np.abs(found * seen - expected * seen).max())


@pytest.mark.parametrize('size', [(80, 104), (40, 131)])
def test_the_result_is_that_of_nine_copies(small: GSASR, size: tuple[int, int]) -> None:
    """At any scale: the copies around the middle one are further from the border than the network sees."""
    image = texture()
    options = {'model': small, 'dtype': 'float32'}
    found = upscale(image, size=size, tileable=True, **options)
    H, W = size
    copies = upscale(np.tile(image, (3, 3, 1)), size=(3 * H, 3 * W), **options)[H : 2 * H, W : 2 * W]
    assert difference(found, copies) < LEVEL / 4  # what the network sees beyond the margin, and rounding
    assert difference(upscale(image, size=size, **options), copies) > 10 * LEVEL  # what it is without


@pytest.mark.slow
@pytest.mark.parametrize('scale', [2, (1, 3)])
def test_a_rolled_picture_has_a_rolled_result(small: GSASR, scale: int | tuple[int, int]) -> None:
    image = texture()
    rows, columns = scale if isinstance(scale, tuple) else (scale, scale)
    options = {'scale': scale, 'model': small, 'dtype': 'float32', 'tileable': True}
    rolled = upscale(np.roll(image, (13, 29), (0, 1)), **options)
    expected = np.roll(upscale(image, **options), (13 * rows, 29 * columns), (0, 1))
    assert difference(rolled, expected) < LEVEL / 4


@pytest.mark.slow
def test_windows_tiles_and_turns_of_small_pictures_repeat_too(net: GSASR) -> None:
    """Of a network with attention, by whole windows; the picture is smaller than its margin."""
    lq = torch.from_numpy(texture()).permute(2, 0, 1)[None, :3, :8, :12]
    for options in ({}, {'tile': 64}, {'self_ensemble': True}, {'consistent': True}):
        upscaler = Upscaler(net, device='cpu', dtype='float32', tileable=True, **options)
        whole, shifted = (upscaler.tensors(x, [(24, 36)])[0] for x in (lq, lq.roll((4, 8), (2, 3))))
        assert (shifted - whole.roll((12, 24), (2, 3))).abs().max() < LEVEL / 4
    assert upscaler.tiles((8, 12)) == [(104, 108)]  # with the margin


def test_levelling_repeats() -> None:
    """Of black and white pixels, of which clipping takes much."""
    lq = torch.from_numpy(np.random.default_rng(2).integers(0, 2, (1, 1, 9, 11))).double()
    (image,) = levelled([resized(lq, (18, 27), wraps=True).clamp(0, 1)], lq, (18, 27), wraps=True)
    copies = lq.tile(1, 1, 3, 3)
    (large,) = levelled([resized(copies, (54, 81)).clamp(0, 1)], copies, (54, 81))
    expected = large[..., 18:36, 27:54]
    torch.testing.assert_close(image, expected, rtol=0, atol=1e-12)
