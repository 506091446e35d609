"""BasicSR's functions with generators of their own: what they do, measured, and what they leave alone."""

from __future__ import annotations

import io
import math
import random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gsasr_plugin.data.degradation import functions
from gsasr_plugin.data.degradation.functions import blur_kernel, gaussian_noise, jpeg, poisson_noise, sinc_kernel
from gsasr_plugin.data.degradation.options import KernelKind

# isort: split
from basicsr.data import degradations


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def moments(kernel: np.ndarray, angle: float = 0) -> tuple[float, float]:
    """Variances along the axis at an angle and across it."""
    places = np.arange(len(kernel)) - len(kernel) // 2
    y, x = np.meshgrid(places, places, indexing='ij')
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    return float((kernel * along**2).sum()), float((kernel * across**2).sum())


KINDS: list[KernelKind] = ['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso']


@pytest.mark.parametrize('kind', KINDS)
def test_kernels_sum_to_1_around_their_centre(kind: KernelKind) -> None:
    for size, beta in ((7, 0.5), (21, 1.0), (13, 4.0)):
        kernel = blur_kernel(kind, size, 0.8, 2.1, 0.6, beta)
        assert kernel.shape == (size, size) and kernel.min() >= 0
        assert abs(kernel.sum() - 1) < 1e-12
        assert np.abs(kernel - kernel[::-1, ::-1]).max() < 1e-12
        turned = np.abs(kernel - np.rot90(kernel)).max()
        assert turned < 1e-12 if kind in ('iso', 'generalized_iso', 'plateau_iso') else turned > 1e-3


def test_gaussian_kernels_have_their_deviations() -> None:
    """A sampled Gaussian of sigma >= 0.7 has its variance but for 1e-3, where the kernel is wide enough."""
    assert moments(blur_kernel('iso', 21, 1.7, 9, 0, 1)) == pytest.approx((1.7**2, 1.7**2), rel=1e-3)
    assert moments(blur_kernel('aniso', 41, 3.0, 1.2, 0.4, 1), 0.4) == pytest.approx((9, 1.44), rel=1e-3)
    # exp(-(x^2 / 2 s^2)^b) is the Gaussian for b = 1, and has more or less of its variance for other exponents.
    flat = blur_kernel('generalized_iso', 21, 1.7, 9, 0, 1.0)
    assert np.abs(flat - blur_kernel('iso', 21, 1.7, 9, 0, 1)).max() < 1e-12
    radius = 1.7
    plateau = blur_kernel('plateau_iso', 21, radius, 9, 0, 2.0)
    assert plateau[10, 12] / plateau[10, 10] == pytest.approx(1 / (1 + (2 / radius) ** 4))


def test_a_sinc_filter_is_a_low_pass() -> None:
    kernel = sinc_kernel(math.pi / 2, 21)
    assert abs(kernel.sum() - 1) < 1e-12
    answer = np.abs(np.fft.fft2(kernel, (64, 64)))
    # In radians 2 pi k / 64: well below the cutoff, 16, all passes but for the ripples of 21 taps; well above nothing.
    assert np.abs(answer[0, :12] - 1).max() < 0.15
    assert answer[0, 21:33].max() < 0.15


@pytest.mark.parametrize('sigma', [0.5, 5.0, 30.0])
def test_gaussian_noise_has_its_sigma(rng: np.random.Generator, sigma: float) -> None:
    image = np.full((200, 200, 3), 0.5, np.float32)
    noise = gaussian_noise(rng, image, sigma, gray=False) * 255
    # Five standard errors, of 120,000 values: sigma / sqrt(2 n), sigma / sqrt(n).
    assert abs(noise.std() - sigma) < 5 * sigma / math.sqrt(2 * noise.size)
    assert abs(noise.mean()) < 5 * sigma / math.sqrt(noise.size)
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.03
    gray = gaussian_noise(rng, image, sigma, gray=True)
    assert np.array_equal(gray[..., 0], gray[..., 1]) and np.array_equal(gray[..., 0], gray[..., 2])
    assert abs(gray[..., 0].std() * 255 - sigma) < 5 * sigma / math.sqrt(2 * 40000)


def test_poisson_noise_grows_with_the_light(rng: np.random.Generator) -> None:
    """With v = 2^n distinct values, BasicSR counts v photons at 1: the variance of a value p is scale^2 p / v."""
    values = np.float32([51, 102, 153, 204]) / 255
    image = np.repeat(values[:, None, None], 20000, axis=1).repeat(3, axis=2)
    noise = poisson_noise(rng, image, 0.7, gray=False)
    for row, value in zip(noise, values):
        expected = 0.7**2 * float(value) / 4
        # The variance of a sample variance of n Poisson numbers of mean m is (2 + 1 / m) / n of its square.
        assert abs(row.var() / expected - 1) < 5 * math.sqrt((2 + 1 / (4 * float(value))) / row.size)
        assert abs(row.mean()) < 5 * math.sqrt(expected / row.size)
    gray = poisson_noise(rng, image, 0.7, gray=True)
    assert np.array_equal(gray[..., 0], gray[..., 2])


def test_grey_noise_is_of_the_grey_of_rgb(rng: np.random.Generator) -> None:
    """Pure red is darker than pure green: 0.299 and 0.587 of the light."""
    noise = []
    for channel in (0, 1, 2):
        image = np.zeros((300, 300, 3), np.float32)
        image[..., channel] = 1
        noise.append(float(poisson_noise(rng, image, 1, gray=True).var()))
    assert noise == pytest.approx([0.299, 0.587, 0.114], rel=0.05)


# Luminance, ITU-T T.81, table K.1.
LUMINANCE = [
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
]


@pytest.mark.parametrize('quality', [30, 50, 75, 95])
def test_a_jpeg_has_its_quality(monkeypatch: pytest.MonkeyPatch, quality: int) -> None:
    """Its tables are those of the standard, scaled as by libjpeg; its colours are in the right order."""
    files: list[bytes] = []
    encode = functions._encoded

    def spied(*arguments: Any) -> Any:
        done, content = encode(*arguments)
        files.append(content.tobytes())
        return done, content

    monkeypatch.setattr(functions, '_encoded', spied)
    image = np.tile(np.float32([0.9, 0.2, 0.1]), (40, 56, 1))
    image += np.linspace(0, 0.1, 56, dtype=np.float32)[:, None]
    found = jpeg(image, quality)
    file = Image.open(io.BytesIO(files[0]))
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    table = [min(max((value * scale + 50) // 100, 1), 255) for value in LUMINANCE]
    # Files hold tables in zigzag order, which Pillow undoes since 8.3.
    assert list(file.quantization[0]) == table
    assert file.size == (56, 40) and file.layer[0][1:3] == (2, 2)  # 4:2:0
    decoded = np.asarray(file.convert('RGB'), np.float32) / 255
    assert found.dtype == np.float32 and np.abs(found - decoded).max() < 2.5 / 255  # two decoders
    assert np.abs(found - image).mean() < 0.03


def test_it_is_basicsrs_jpeg(capfd: pytest.CaptureFixture[str]) -> None:
    """But for the order of colours, and without OpenCV's warning."""
    image = np.random.default_rng(0).random((30, 50, 3)).astype(np.float32)
    found = jpeg(image, 60)
    assert capfd.readouterr().err == ''
    assert np.array_equal(found, degradations.add_jpg_compression(image[..., ::-1], 60)[..., ::-1])


def test_the_global_generators_are_left_alone(rng: np.random.Generator) -> None:
    image = np.full((8, 8, 3), 0.5, np.float32)
    before = np.random.get_state()[1].copy(), random.getstate()
    one = gaussian_noise(rng, image, 5, gray=False), poisson_noise(rng, image, 1, gray=True)
    assert np.array_equal(np.random.get_state()[1], before[0]) and random.getstate() == before[1]
    np.random.seed(1)
    rng = np.random.default_rng(7)
    again = gaussian_noise(rng, image, 5, gray=False), poisson_noise(rng, image, 1, gray=True)
    assert all(np.array_equal(a, b) for a, b in zip(one, again))
    # And BasicSR's own go on drawing from them.
    assert not np.array_equal(degradations.generate_gaussian_noise(image), degradations.generate_gaussian_noise(image))
