"""BasicSR's functions of `basicsr.data.degradations`, drawing from a generator of the caller's.

They draw from NumPy's global state, which other code shares and other threads may use in between. Here they find a
generator under its name instead: the global states are neither read nor changed, and threads do not meet.

Images are (H, W, 3), float32, RGB, 0..1.
"""

import functools
import types
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from gsasr_plugin.data.degradation.options import KernelKind


class _InsteadOf:
    """A module of which some names mean something else."""

    def __init__(self, module: types.ModuleType, **others: Any) -> None:
        self.__dict__.update(others)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


@functools.cache
def _basicsr() -> types.ModuleType:
    from basicsr.data import degradations  # takes seconds, and comes after this package's repairs of BasicSR

    return degradations


def _with(function: Any, **names: Any) -> Callable[..., Any]:
    """A function whose module's names mean something else."""
    return types.FunctionType(function.__code__, {**function.__globals__, **names}, None, function.__defaults__)


def blur_kernel(kind: KernelKind, size: int, sigma_x: float, sigma_y: float, angle: float, beta: float) -> np.ndarray:
    """A kernel (size, size) that sums to 1.

    Args:
        kind: `*_iso` takes sigma_x for both axes; `generalized_*` and `plateau_*` have the exponent beta.
        sigma_x, sigma_y: standard deviations in pixels.
        angle: of the x axis, radians.
    """
    is_round = kind.endswith('iso') and not kind.endswith('aniso')
    if kind in ('iso', 'aniso'):
        return _basicsr().bivariate_Gaussian(size, sigma_x, sigma_y, angle, isotropic=is_round)
    make = _basicsr().bivariate_plateau if kind.startswith('plateau') else _basicsr().bivariate_generalized_Gaussian
    return make(size, sigma_x, sigma_y, angle, beta, isotropic=is_round)


def sinc_kernel(cutoff: float, size: int) -> np.ndarray:
    """A circular low-pass filter (size, size) that sums to 1; the cutoff in radians, at most pi."""
    with np.errstate(divide='ignore', invalid='ignore'):  # in its centre, which has a value of its own
        return _basicsr().circular_lowpass_kernel(cutoff, size)


def gaussian_noise(rng: np.random.Generator, image: np.ndarray, sigma: float, *, gray: bool) -> np.ndarray:
    """Noise for an image, sigma in levels of 255."""
    make = _with(_basicsr().generate_gaussian_noise, np=_drawing_from(rng))
    return make(image, sigma, gray)


def poisson_noise(rng: np.random.Generator, image: np.ndarray, scale: float, *, gray: bool) -> np.ndarray:
    """Noise of an image, as of counted light, times `scale`."""
    make = _with(_basicsr().generate_poisson_noise, np=_drawing_from(rng))
    bgr = np.ascontiguousarray(image[..., ::-1])  # it takes the grey of BGR
    return make(bgr, scale, gray)[..., ::-1]


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """An image written as JPEG (4:2:0) and read again."""
    compress = _with(_basicsr().add_jpg_compression, cv2=_InsteadOf(cv2, imencode=_encoded))
    return np.ascontiguousarray(compress(np.ascontiguousarray(image[..., ::-1]), quality)[..., ::-1])


def _encoded(suffix: str, image: np.ndarray, parameters: list[int]) -> Any:
    # OpenCV rounds floats in the same way, with a warning.
    return cv2.imencode(suffix, np.rint(image).astype(np.uint8), parameters)


def _drawing_from(rng: np.random.Generator) -> _InsteadOf:
    """NumPy, whose old functions of random numbers draw from a generator."""
    return _InsteadOf(np, random=np.random.RandomState(rng.bit_generator))


def sharpened(image: np.ndarray) -> np.ndarray:
    """Unsharp masking as Real-ESRGAN sharpens GT, within `USM_REACH` pixels around each one."""
    from basicsr.utils.img_process_util import usm_sharp

    return usm_sharp(image).astype(np.float32)


USM_REACH = 50  # pixels: of its blur, and of that of its mask
