"""Resampling against torch, Pillow and exact means; boxes with borders between pixels."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.data.degradation.options import ResizeMode
from gsasr_plugin.data.degradation.resampling import resample

MODES: tuple[ResizeMode, ...] = (
    'area',
    'bilinear',
    'bicubic',
    'antialiased_bilinear',
    'antialiased_bicubic',
    'lanczos',
)
SIZES = [(48, 36), (40, 29), (61, 83), (48, 83)]


@pytest.fixture(scope='module')
def image() -> np.ndarray:
    return np.random.default_rng(0).random((53, 70, 3)).astype(np.float32)


def pillows(image: np.ndarray, size: tuple[int, int], way: Image.Resampling) -> np.ndarray:
    channels = [Image.fromarray(image[..., c]).resize(size[::-1], way) for c in range(3)]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


# 3e-6: float32 sums of at most 30 weighted pixels of 0..1.
@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('mode', ['bilinear', 'bicubic', 'antialiased_bilinear', 'antialiased_bicubic'])
def test_modes_are_torchs(image: np.ndarray, size: tuple[int, int], mode: ResizeMode) -> None:
    found = resample(image, size, mode)
    way, antialias = mode.removeprefix('antialiased_'), mode.startswith('antialiased_')
    given = torch.from_numpy(image).double().permute(2, 0, 1)[None]
    expected = functional.interpolate(given, size, mode=way, antialias=antialias)[0].permute(1, 2, 0).numpy()
    inner = (slice(6, -6), slice(6, -6))  # torch repeats border pixels, where this mirrors
    if mode == 'bicubic' or antialias:
        found, expected = found[inner], expected[inner]
    assert np.abs(found - expected).max() <= 3e-6


@pytest.mark.parametrize('size', SIZES)
def test_antialiased_modes_are_pillows_and_matlabs(image: np.ndarray, size: tuple[int, int]) -> None:
    inner = (slice(6, -6), slice(6, -6))
    ways: list[tuple[ResizeMode, Image.Resampling]] = [
        ('antialiased_bilinear', Image.Resampling.BILINEAR),
        ('antialiased_bicubic', Image.Resampling.BICUBIC),
        ('lanczos', Image.Resampling.LANCZOS),
    ]
    for mode, way in ways:
        assert np.abs(resample(image, size, mode)[inner] - pillows(image, size, way)[inner]).max() <= 3e-6
    matlabs = resize_bicubic(image.astype(np.float64), size)
    assert np.abs(resample(image, size, 'antialiased_bicubic') - matlabs).max() <= 3e-6


def test_area_takes_exact_means(image: np.ndarray) -> None:
    """Against the integral of the image, whose pixels are squares of one colour."""
    box, size = (2.3, 5.75, 50.1, 66.2), (17, 31)
    rows, columns = np.linspace(box[0], box[2], size[0] + 1), np.linspace(box[1], box[3], size[1] + 1)

    def integral(values: np.ndarray, places: np.ndarray) -> np.ndarray:
        sums = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0, dtype=np.float64)])
        below = np.floor(places).astype(int)
        part = (places - below)[:, None, None]
        return sums[below] * (1 - part) + sums[below + 1] * part

    means = np.diff(integral(image, rows), axis=0) / np.diff(rows)[:, None, None]
    means = np.diff(integral(means.transpose(1, 0, 2), columns), axis=0) / np.diff(columns)[:, None, None]
    assert np.abs(resample(image, size, 'area', box) - means.transpose(1, 0, 2)).max() <= 3e-6


@pytest.mark.parametrize('mode', MODES)
def test_a_box_of_whole_pixels_is_a_crop(image: np.ndarray, mode: ResizeMode) -> None:
    found = resample(image, (20, 30), mode, (4, 6, 44, 66))
    inner = (slice(4, -4), slice(4, -4))  # the crop does not see what lies beyond it
    assert np.abs(found[inner] - resample(np.ascontiguousarray(image[4:44, 6:66]), (20, 30), mode)[inner]).max() <= 3e-6


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('size', [(16, 21), (37, 45), (80, 64)])
def test_a_ramp_stays_where_it_is(mode: ResizeMode, size: tuple[int, int]) -> None:
    """Every kernel is symmetrical: inside, the pixel that covers [a, b] of a ramp shows its middle."""
    ramp = np.broadcast_to(np.arange(64, dtype=np.float32)[:, None, None] + 0.5, (64, 64, 3))
    box = (1.37, 0.0, 61.9, 64.0)
    found = resample(np.ascontiguousarray(ramp), size, mode, box)[..., 0].mean(axis=1)
    edges = np.linspace(box[0], box[2], size[0] + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    inside = (middles > 14) & (middles < 50)
    # Lanczos and cubic kernels that are sampled coarsely sum to 1 only with their weights divided by their sum, which
    # leaves ripples of a hundredth of a pixel; none of them is a shift.
    assert abs((found - middles)[inside].mean()) < 0.01
    assert np.abs(found - middles)[inside].max() < 0.1


def test_the_same_size_is_the_same_image(image: np.ndarray) -> None:
    assert resample(image, (53, 70), 'lanczos') is image
