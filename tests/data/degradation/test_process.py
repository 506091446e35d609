"""The whole process: sizes, places, ranges, randomness."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import cv2
import numpy as np
import pytest

from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.data.degradation import process
from gsasr_plugin.data.degradation.options import PRESETS, DegradationOptions
from gsasr_plugin.data.degradation.process import Degradation
from gsasr_plugin.sizes import protocol_sizes

# Twenty factors, rows and columns.
SCALES = [
    *((s, s) for s in (1, 1.1, 1.37, 1.5, 2, 2.25, 2.718, 3, 3.14, 3.5, 4, 5.3, 6, 8)),
    *((1, 4), (4, 1.3), (2, 3.5), (2.85, 3.37), (1.01, 2.99), (7.7, 5.5)),
]
NO_JPEG = {'jpeg_prob': 0, 'jpeg_prob2': 0}
QUIET = {'noise_prob': 0, 'noise_prob2': 0, 'gt_usm': False}


@pytest.mark.parametrize('preset', PRESETS)
@pytest.mark.parametrize('scale', SCALES)
def test_lr_has_its_size(photograph: np.ndarray, preset: str, scale: tuple[float, float]) -> None:
    degradation = Degradation(DegradationOptions.of(preset))
    gt = photograph[:97, :83]
    lq_size, size = protocol_sizes((97, 83), scale)
    for seed in range(3):
        lq = degradation(np.random.default_rng(seed), np.ascontiguousarray(gt[: size[0], : size[1]]), lq_size)
        assert lq.shape == (*lq_size, 3) and lq.dtype == np.float32
        assert lq.min() >= 0 and lq.max() <= 1


def test_the_smallest_images_are_degraded_too() -> None:
    for preset in PRESETS:
        degradation = Degradation(DegradationOptions.of(preset))
        for seed in range(20):
            rng = np.random.default_rng(seed)
            for size in ((1, 1), (1, 5), (3, 2)):
                assert degradation(rng, np.full((*size, 3), 0.5, np.float32), size).shape == (*size, 3)


def blob(size: tuple[int, int], centre: tuple[float, float], sigma: tuple[float, float]) -> np.ndarray:
    """A bump on grey, its centre in pixels from the image's corner."""
    y, x = (np.arange(length) + 0.5 for length in size)
    rows = np.exp(-(((y - centre[0]) / sigma[0]) ** 2) / 2)
    columns = np.exp(-(((x - centre[1]) / sigma[1]) ** 2) / 2)
    return np.repeat((0.3 + 0.4 * np.outer(rows, columns))[..., None], 3, axis=2).astype(np.float32)


def centroid(image: np.ndarray, around: tuple[float, float], radius: int) -> np.ndarray:
    """Of a bump within a radius, in pixels from the image's corner."""
    light = image.mean(axis=2, dtype=np.float64) - 0.3
    y, x = np.meshgrid(np.arange(light.shape[0]) + 0.5, np.arange(light.shape[1]) + 0.5, indexing='ij')
    light = np.where(np.hypot(y - around[0], x - around[1]) <= radius, light, 0)
    return np.array([(light * y).sum(), (light * x).sum()]) / light.sum()


@pytest.mark.slow
@pytest.mark.parametrize('preset', PRESETS)
def test_nothing_is_shifted(preset: str) -> None:
    """A bump stays where it is, to 0.05 LR pixels, in a box with borders between GT pixels.

    At every scale without noise and JPEG, which do not shift but scatter, by 0.1 LR pixels for a JPEG of quality 50; on
    average over all scales with JPEG too.
    """
    size, where = (48, 48), (21.3, 26.8)  # LR pixels
    before = (3.37, 5.81)  # GT pixels above and left of the LR image
    rng = np.random.default_rng(1)
    compressed = []
    for scale in SCALES:
        gt_size = tuple(int(np.ceil(length * s + 12)) for length, s in zip(size, scale))
        centre = [place * s + offset for place, s, offset in zip(where, scale, before)]
        gt = blob(gt_size, tuple(centre), tuple(3 * s for s in scale))
        box = (*before, before[0] + size[0] * scale[0], before[1] + size[1] * scale[1])
        for without in (NO_JPEG, {}):
            degradation = Degradation(DegradationOptions.of({'preset': preset, **QUIET, **without}))
            shifts = [centroid(degradation(rng, gt, size, box), where, 15) - where for _ in range(10)]
            if without:
                assert np.abs(np.mean(shifts, axis=0)).max() < 0.05, scale
            else:
                compressed += shifts
    assert np.abs(np.mean(compressed, axis=0)).max() < 0.05


@pytest.mark.slow
@pytest.mark.parametrize('preset', PRESETS)
def test_with_noise_and_all_nothing_is_shifted(photograph: np.ndarray, preset: str) -> None:
    """On average over 100 draws below 0.05 LR pixels against the bicubic reduction, along both axes.

    A shift of d pixels changes an image by -d times its slope, so its least-squares estimate is the product of slope
    and change over the slope's square; blur is symmetrical and noise has no slope.
    """
    degradation = Degradation(DegradationOptions.of(preset))
    rng = np.random.default_rng(3)
    gt = np.ascontiguousarray(photograph[40:240, 100:300])
    shifts = []
    for _ in range(100):
        scale = rng.uniform(1.5, 4, size=2)
        lq_size = (int(200 / scale[0]), int(200 / scale[1]))
        clean, lq = (
            image.mean(axis=2, dtype=np.float64)
            for image in (resize_bicubic(gt, lq_size), degradation(rng, gt, lq_size))
        )
        slopes = np.gradient(clean)
        shifts.append([-float((slope * (lq - clean)).sum() / (slope**2).sum()) for slope in slopes])
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.05


def test_a_call_depends_on_its_generator_alone(photograph: np.ndarray) -> None:
    gt = np.ascontiguousarray(photograph[:120, :130])
    for preset in PRESETS:
        degradation = Degradation(DegradationOptions.of(preset))
        made = []
        for threads in (1, 4):
            cv2.setNumThreads(threads)
            np.random.seed(threads)
            made.append([degradation(np.random.default_rng(seed), gt, (40, 43)) for seed in range(8)])
        cv2.setNumThreads(-1)
        assert all(np.array_equal(one, other) for one, other in zip(*made))
        assert not np.array_equal(made[0][0], made[0][1])


class Drawn:
    """What the process asks of its functions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.values: dict[str, list[Any]] = defaultdict(list)

        def spy(name: str, note: Any) -> None:
            function = getattr(process, name)

            def spied(*arguments: Any, **named: Any) -> Any:
                note(*arguments, **named)
                return function(*arguments, **named)

            monkeypatch.setattr(process, name, spied)

        def kernel(kind: str, size: int, x: float, y: float, angle: float, beta: float) -> None:
            self.values['kind'].append(kind)
            self.values['kernel_size'].append(size)
            self.values['sigma'] += [x, y]
            self.values['angle'].append(angle)
            self.values['betap' if kind.startswith('plateau') else 'betag'].append(beta)

        def resized(image: np.ndarray, size: tuple[int, int], mode: str, *_: Any) -> None:
            self.values['mode'].append(mode)
            self.values['size'].append(size[0])

        spy('blur_kernel', kernel)
        spy('sinc_kernel', lambda cutoff, size: self.values['cutoff'].append(cutoff))
        spy('gaussian_noise', lambda rng, image, sigma, gray: self.values['noise'].append((sigma, gray)))
        spy('poisson_noise', lambda rng, image, scale, gray: self.values['poisson'].append((scale, gray)))
        spy('jpeg', lambda image, quality: self.values['quality'].append(quality))
        spy('resample', resized)

    def reach(self, name: str, lowest: float, highest: float, *, part: float = 0.1) -> None:
        """All values are in the range, and reach to within a part of its width from both ends."""
        values = [value[0] if isinstance(value, tuple) else value for value in self.values[name]]
        slack = part * (highest - lowest)
        assert lowest <= min(values) <= lowest + slack and highest - slack <= max(values) <= highest, name


def test_the_ranges_of_light_are_reached(monkeypatch: pytest.MonkeyPatch, photograph: np.ndarray) -> None:
    drawn = Drawn(monkeypatch)
    degradation = Degradation(DegradationOptions.of('light'))
    gt, rng = np.ascontiguousarray(photograph[:60, :60]), np.random.default_rng(0)
    for _ in range(400):
        degradation(rng, gt, (30, 30))
    values = drawn.values
    drawn.reach('quality', 50, 95)
    drawn.reach('sigma', 0.1, 1.0)
    drawn.reach('noise', 0, 5)
    drawn.reach('poisson', 0, 0.4)
    assert set(values['mode']) == {'area', 'antialiased_bilinear', 'antialiased_bicubic', 'lanczos'}
    assert set(values['kind']) == {'iso', 'aniso'} and set(values['kernel_size']) == {7} and not values['cutoff']
    # How often, to five standard deviations of 400 draws.
    rates = {'kind': 0.8, 'noise': 0.35, 'poisson': 0.15}
    for name, rate in rates.items():
        assert abs(len(values[name]) / 400 - rate) < 5 * (rate * (1 - rate) / 400) ** 0.5, name
    assert abs(len(values['quality']) / 400 - 1.1) < 5 * ((0.2 * 0.8 + 0.9 * 0.1) / 400) ** 0.5
    # Three resizings each: to 1..2 times the size, then to it, then to it once more.
    first = values['size'][::3]
    assert min(first) == 30 and 57 <= max(first) <= 60 and set(values['size'][1::3]) == {30}
    assert abs(first.count(30) / 400 - 0.7 - 0.3 / 60) < 0.12


def test_the_ranges_of_real_esrgan_are_reached(monkeypatch: pytest.MonkeyPatch, photograph: np.ndarray) -> None:
    drawn = Drawn(monkeypatch)
    degradation = Degradation(DegradationOptions.of('real_esrgan'))
    gt, rng = np.ascontiguousarray(photograph[:40, :40]), np.random.default_rng(0)
    for _ in range(400):
        degradation(rng, gt, (20, 20))
    values = drawn.values
    drawn.reach('quality', 30, 95)
    drawn.reach('sigma', 0.2, 3)
    drawn.reach('noise', 1, 30)
    drawn.reach('poisson', 0.05, 3)
    drawn.reach('betag', 0.5, 4)
    drawn.reach('betap', 1, 2)
    drawn.reach('angle', -np.pi, np.pi)
    drawn.reach('cutoff', np.pi / 5, np.pi)
    assert set(values['kernel_size']) == {7, 9, 11, 13, 15, 17, 19, 21}
    assert len(set(values['kind'])) == 6 and set(values['mode']) == {'area', 'bilinear', 'bicubic'}
    assert len(values['quality']) == 800 and len(values['noise']) + len(values['poisson']) == 800
    grey = [gray for _, gray in values['noise'] + values['poisson']]
    assert abs(np.mean(grey) - 0.4) < 5 * (0.24 / 800) ** 0.5
    # Sizes: 0.15..1.5 times GT, 0.3..1.2 times LR, LR.
    assert min(values['size'][::3]) == 6 and max(values['size'][::3]) >= 58
    assert min(values['size'][1::3]) == 6 and max(values['size'][1::3]) >= 23
    assert set(values['size'][2::3]) == {20}
