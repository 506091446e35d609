"""The process of Real-ESRGAN: two rounds of blur, resizing, noise and JPEG between a GT and an LR image."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from gsasr_plugin.data.degradation.functions import blur_kernel, gaussian_noise, jpeg, poisson_noise, sinc_kernel
from gsasr_plugin.data.degradation.options import DegradationOptions, ResizeMode, Stage
from gsasr_plugin.data.degradation.resampling import Box, resample
from gsasr_plugin.sizes import Size

LEAST_KERNEL_SIZE = 7  # of those that are drawn
FINAL_SINC_SIZE = 21  # the largest one


class Degradation:
    """Makes LR images as the options say; all that is random comes from the generator of each call.

    Where Real-ESRGAN resizes to sizes that are rounded to whole pixels, the part of the image that LR shows is kept
    exact here: LR and GT are not shifted against each other at any scale.
    """

    def __init__(self, options: DegradationOptions) -> None:
        self.options = options
        self.first, self.second = options.stages

    @property
    def reach(self) -> int:
        """How many GT pixels around the LR image the first round looks at."""
        return self.first.blur_kernel_size // 2 if self.options.blur_prob > 0 else 0

    def __call__(
        self, rng: np.random.Generator, image: np.ndarray, lq_size: Size, box: Box | None = None
    ) -> np.ndarray:
        """The LR image of a GT image.

        Args:
            rng: draws everything.
            image: (H, W, 3), float32, RGB, 0..1.
            lq_size: (h, w) of the result.
            box: the part of the image that the result shows, in GT pixels; None: all.

        Returns:
            (h, w, 3), float32, RGB, 0..1, not rounded to 8 bits.
        """
        image = _blurred(rng, image, self.first)
        image, box = self._resized_first(rng, image, lq_size, box)
        image = _noisy(rng, image, self.first)
        image = _compressed(rng, image, self.first)

        image = _blurred(rng, image, self.second)
        image = resample(image, _times(lq_size, _factor(rng, self.second)), self._mode(rng), box)
        image = _noisy(rng, image, self.second)
        if rng.random() < self.options.jpeg_last_prob:
            image = _compressed(rng, self._finished(rng, image, lq_size), self.second)
        else:
            image = self._finished(rng, _compressed(rng, image, self.second), lq_size)
        return np.clip(image, 0, 1)

    def _resized_first(
        self, rng: np.random.Generator, image: np.ndarray, lq_size: Size, box: Box | None
    ) -> tuple[np.ndarray, Box | None]:
        """The image after the first resizing, and the box in it."""
        factor, mode = _factor(rng, self.first), self._mode(rng)
        if self.options.resize_unit == 'lq':
            return resample(image, _times(lq_size, factor), mode, box), None
        before = image.shape[:2]
        image = resample(image, _times(before, factor), mode)
        if box is not None:
            rows, columns = image.shape[0] / before[0], image.shape[1] / before[1]
            box = (box[0] * rows, box[1] * columns, box[2] * rows, box[3] * columns)
        return image, box

    def _finished(self, rng: np.random.Generator, image: np.ndarray, lq_size: Size) -> np.ndarray:
        """At the size of the LR image, perhaps filtered once more."""
        image = resample(image, lq_size, self._mode(rng))
        if rng.random() < self.options.final_sinc_prob:
            size = _kernel_size(rng, FINAL_SINC_SIZE)
            image = _filtered(image, sinc_kernel(rng.uniform(math.pi / 3, math.pi), size))
        return image

    def _mode(self, rng: np.random.Generator) -> ResizeMode:
        return self.options.resize_modes[rng.integers(len(self.options.resize_modes))]


def _blurred(rng: np.random.Generator, image: np.ndarray, stage: Stage) -> np.ndarray:
    if rng.random() >= stage.blur_prob:
        return image
    size = _kernel_size(rng, stage.blur_kernel_size)
    if rng.random() < stage.sinc_prob:
        return _filtered(image, sinc_kernel(rng.uniform(math.pi / (3 if size < 13 else 5), math.pi), size))
    kind = stage.kernel_list[_choice(rng, stage.kernel_prob)]
    sigma_x, sigma_y = _within(rng, stage.blur_sigma), _within(rng, stage.blur_sigma)
    lowest, highest = stage.betap_range if kind.startswith('plateau') else stage.betag_range
    beta = rng.uniform(lowest, 1) if rng.random() < 0.5 else rng.uniform(1, highest)
    return _filtered(image, blur_kernel(kind, size, sigma_x, sigma_y, rng.uniform(-math.pi, math.pi), beta))


def _kernel_size(rng: np.random.Generator, largest: int) -> int:
    """An odd side."""
    least = min(LEAST_KERNEL_SIZE, largest)
    return least + 2 * int(rng.integers((largest - least) // 2 + 1))


def _filtered(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return cv2.filter2D(image, -1, kernel.astype(np.float32), borderType=cv2.BORDER_REFLECT_101)


def _factor(rng: np.random.Generator, stage: Stage) -> float:
    """Of the size."""
    way, (lowest, highest) = _choice(rng, stage.resize_prob), stage.resize_range
    return (rng.uniform(1, highest), rng.uniform(lowest, 1), 1.0)[way]


def _times(size: Size, factor: float) -> Size:
    return (max(1, round(size[0] * factor)), max(1, round(size[1] * factor)))


def _noisy(rng: np.random.Generator, image: np.ndarray, stage: Stage) -> np.ndarray:
    if rng.random() >= stage.noise_prob:
        return image
    is_gaussian, is_gray = rng.random(2) < (stage.gaussian_noise_prob, stage.gray_noise_prob)
    if is_gaussian:
        noise = gaussian_noise(rng, image, _within(rng, stage.noise_range), gray=bool(is_gray))
    else:
        noise = poisson_noise(rng, image, _within(rng, stage.poisson_scale_range), gray=bool(is_gray))
    return np.clip(image + noise, 0, 1, dtype=np.float32)


def _compressed(rng: np.random.Generator, image: np.ndarray, stage: Stage) -> np.ndarray:
    if rng.random() >= stage.jpeg_prob:
        return image
    lowest, highest = stage.jpeg_range
    return jpeg(image, int(rng.integers(lowest, highest + 1)))


def _within(rng: np.random.Generator, limits: Sequence[float]) -> float:
    return rng.uniform(limits[0], limits[1])


def _choice(rng: np.random.Generator, weights: Sequence[float]) -> int:
    """A position, by weights."""
    total = np.cumsum(weights)
    return int(np.searchsorted(total, rng.random() * total[-1], side='right'))
