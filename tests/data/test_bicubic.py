"""The bicubic resampler against the host's imresize and against a float64 reference written out pixel by pixel."""

import math

import numpy as np
import pytest

from gsasr_plugin.data.bicubic import axis_weights, resize_bicubic

# isort: split
from basicsr.utils.matlab_functions import imresize

# The host works in float32: what is left are the roundings of its sums (about 20 terms of size 1 with 24 bits each),
# times two passes. Positions rounded otherwise than the host's would show as 8e-5 on the long axes below.
HOST_TOLERANCE = 1e-5


def host_ratio(length: int, out_length: int) -> float:
    """The ratio of two lengths, such that the host's ceil(length * ratio) is out_length and not one more."""
    ratio = out_length / length
    while math.ceil(length * ratio) > out_length:
        ratio = math.nextafter(ratio, 0)
    return ratio


def resize_axis_float64(image: np.ndarray, out_length: int, ratio: float) -> np.ndarray:
    """Resample axis 0 by the definition: a sum over every pixel of the mirrored image that the kernel reaches."""

    def kernel(t: float) -> float:
        t = abs(t)
        if t <= 1:
            return 1.5 * t**3 - 2.5 * t**2 + 1
        return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0

    length = image.shape[0]
    stretch = max(1 / ratio, 1.0)
    mirrored = np.concatenate([image, image[::-1]]).astype(np.float64)  # one period
    result = np.zeros((out_length, *image.shape[1:]))
    for k in range(out_length):
        centre = (k + 0.5) / ratio  # in input pixels, the first one covering 0..1
        total = 0.0
        for pixel in range(math.floor(centre - 2 * stretch) - 1, math.ceil(centre + 2 * stretch) + 1):
            weight = kernel((centre - pixel - 0.5) / stretch)
            result[k] += weight * mirrored[pixel % (2 * length)]
            total += weight
        result[k] /= total
    return result


def resize_float64(image: np.ndarray, size: tuple[int, int], ratios: tuple[float, float]) -> np.ndarray:
    rows = resize_axis_float64(image, size[0], ratios[0])
    return resize_axis_float64(rows.swapaxes(0, 1), size[1], ratios[1]).swapaxes(0, 1)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).random(shape, dtype=np.float32)


@pytest.mark.parametrize('crop', range(48, 193, 5))
def test_training_crops_equal_the_host(crop):
    image = noise(crop, crop, 3)
    expected = imresize(image, host_ratio(crop, 48))
    assert expected.shape == (48, 48, 3)
    assert np.abs(resize_bicubic(image, (48, 48)) - expected).max() <= HOST_TOLERANCE


@pytest.mark.parametrize('ratio', [1 / 12, 1 / 6.4, 1 / 3.7, 1 / 3, 0.3, 0.5, 1 / 1.3, 1, 1.7, 2, 3.3, 4])
@pytest.mark.parametrize('size', [(97, 60), (64, 131)])
def test_any_ratio_equals_the_host(size, ratio):
    # The whole result is compared, so the borders too. The host's ratio is not that of the sizes, which it rounds up.
    image = noise(*size, 3)
    expected = imresize(image, ratio)
    result = resize_bicubic(image, expected.shape[:2], ratio)
    assert result.dtype == np.float32
    assert np.abs(result - expected).max() <= HOST_TOLERANCE


@pytest.mark.parametrize('ratio', [1 / 1.3, 1 / 3.7, 0.5, 1 / 12])
def test_long_axes_equal_the_host(ratio):
    image = noise(2040, 53, 1)
    expected = imresize(image, ratio)
    assert np.abs(resize_bicubic(image, expected.shape[:2], ratio) - expected).max() <= HOST_TOLERANCE


def test_photograph_and_single_plane_equal_the_host(photograph):
    for image in (photograph, photograph[..., 1]):
        expected = imresize(image, 1 / 3.3)
        result = resize_bicubic(image, expected.shape[:2], 1 / 3.3)
        assert result.shape == expected.shape
        assert np.abs(result - expected).max() <= HOST_TOLERANCE


@pytest.mark.parametrize(
    ('shape', 'size'),
    [
        ((30, 21, 3), (10, 7)),
        ((17, 40, 2), (40, 17)),
        ((12, 12, 3), (29, 5)),
        ((9, 11), (9, 33)),
        ((48, 50, 1), (13, 49)),
    ],
)
def test_unequal_axes_equal_the_definition(shape, size):
    image = noise(*shape).astype(np.float64)
    ratios = (size[0] / shape[0], size[1] / shape[1])
    # Float64 throughout: sums of up to 40 terms of size 1.
    assert np.abs(resize_bicubic(image, size) - resize_float64(image, size, ratios)).max() <= 1e-13


@pytest.mark.parametrize(
    ('shape', 'size'), [((1, 1, 3), (5, 4)), ((2, 3, 3), (1, 1)), ((3, 40, 3), (2, 2)), ((5, 5, 1), (1, 20))]
)
def test_images_smaller_than_the_kernel_mirror_more_than_once(shape, size):
    # The host cannot do these: it mirrors each border once.
    image = noise(*shape).astype(np.float64)
    ratios = (size[0] / shape[0], size[1] / shape[1])
    assert np.abs(resize_bicubic(image, size) - resize_float64(image, size, ratios)).max() <= 1e-13


def test_ratio_places_the_pixels():
    image = noise(41, 37, 3).astype(np.float64)
    expected = resize_float64(image, (12, 20), (1 / 3.7, 0.52))
    assert np.abs(resize_bicubic(image, (12, 20), (1 / 3.7, 0.52)) - expected).max() <= 1e-13
    assert np.abs(resize_bicubic(image, (12, 20)) - expected).max() > 1e-3


def test_constant_images_stay_constant_and_ramps_keep_their_mean():
    constant = np.full((50, 30, 3), 0.3)
    assert np.allclose(resize_bicubic(constant, (13, 61)), 0.3, atol=1e-14, rtol=0)
    ramp = np.arange(40.0)[:, None]
    # Symmetric weights about the middle of the axis.
    assert resize_bicubic(ramp, (10, 1)).mean() == pytest.approx(19.5, abs=1e-12)


def test_views_and_strides_do_not_matter():
    image = noise(60, 80, 3)
    expected = resize_bicubic(image, (20, 30))
    assert np.array_equal(resize_bicubic(np.asfortranarray(image), (20, 30)), expected)
    assert np.array_equal(resize_bicubic(image[:, :, ::-1], (20, 30)), expected[:, :, ::-1])
    assert expected.flags.c_contiguous


def test_weights_have_a_column_for_every_pixel():
    """Pixels that no output pixel shows, too: the last ones, where the ratio does not reach them."""
    assert axis_weights(10, 2, 1.0, 'float32').toarray().tolist() == np.eye(2, 10).tolist()


def test_weights_are_cached():
    axis_weights.cache_clear()
    resize_bicubic(noise(60, 60, 3), (20, 20))
    resize_bicubic(noise(60, 60, 3), (20, 20))
    assert axis_weights.cache_info().misses == 1


@pytest.mark.parametrize(
    ('image', 'size', 'ratio', 'error', 'message'),
    [
        (np.zeros((4, 4, 3), np.uint8), (2, 2), None, TypeError, 'image must be .* uint8'),
        ([[0.0]], (2, 2), None, TypeError, 'image must be .* list'),
        (np.zeros((0, 4, 3), np.float32), (2, 2), None, ValueError, r'not empty, got shape \(0, 4, 3\)'),
        (np.zeros(4, np.float32), (2, 2), None, ValueError, r'got shape \(4,\)'),
        (np.zeros((4, 4), np.float32), (0, 2), None, ValueError, r'size must be .* got \(0, 2\)'),
        (np.zeros((4, 4), np.float32), (2.5, 2), None, TypeError, 'float'),
        (np.zeros((4, 4), np.float32), (2, 2), 0, ValueError, 'ratio must be positive and finite, got 0'),
        (np.zeros((4, 4), np.float32), (2, 2), (1, math.nan), ValueError, 'ratio must be positive and finite'),
    ],
)
def test_wrong_arguments_are_named(image, size, ratio, error, message):
    with pytest.raises(error, match=message):
        resize_bicubic(image, size, ratio)
