"""Drawing a part of an image, with borders between its pixels, at any size, in the ways that programs do."""

import math
from collections.abc import Callable

import numpy as np
from scipy import sparse

from gsasr_plugin.bicubic_weights import cubic_kernel, mirrored
from gsasr_plugin.data.degradation.options import ResizeMode
from gsasr_plugin.sizes import Size

Box = tuple[float, float, float, float]  # top, left, bottom, right, in pixels from the image's corner

LANCZOS_LOBES = 3


def resample(image: np.ndarray, size: Size, mode: ResizeMode, box: Box | None = None) -> np.ndarray:
    """The part of an image in a box, at a size.

    The pixels of the result divide the box evenly, and none moves: it is neither shifted nor stretched. Beyond the
    image's borders it continues mirrored.

    Args:
        image: (H, W, 3), float32.
        size: (rows, columns) of the result.
        mode: area takes means over what a pixel of the result covers (enlarging, it is bilinear); bilinear and
            bicubic look at the nearest pixels only, as torch's `interpolate`; antialiased ones look at all that a
            pixel covers.
        box: None: the whole image.
    """
    height, width = image.shape[:2]
    if box is None and (height, width) == tuple(size):
        return image
    top, left, bottom, right = box or (0, 0, height, width)
    vertical = _axis_matrix(height, size[0], top, bottom, mode)
    horizontal = _axis_matrix(width, size[1], left, right, mode)
    rows = (vertical @ image.reshape(height, width * 3)).reshape(size[0], width, 3)
    rows = np.ascontiguousarray(rows.transpose(1, 0, 2)).reshape(width, size[0] * 3)
    result = (horizontal @ rows).reshape(size[1], size[0], 3)
    return np.ascontiguousarray(result.transpose(1, 0, 2))


def _axis_matrix(in_length: int, out_length: int, start: float, stop: float, mode: ResizeMode) -> sparse.csr_array:
    """The resampling of one axis: (out_length, in_length), float32, of rows that sum to 1."""
    step = (stop - start) / out_length  # pixels of the image per pixel of the result
    width = 1.0 if mode in ('bilinear', 'bicubic') else max(step, 1.0)
    radius, kernel = _KERNELS[mode]
    reach = radius(width)
    centres = start + (np.arange(out_length) + 0.5) * step - 0.5  # pixels count from 0 at their centres
    taps = math.ceil(2 * reach) + 1
    pixels = np.floor(centres - reach)[:, None] + np.arange(taps + 1)
    weights = kernel(np.abs(centres[:, None] - pixels), width)
    weights /= weights.sum(axis=1, keepdims=True)
    columns = mirrored(pixels.astype(np.int32), in_length)
    ends = np.arange(0, columns.size + 1, columns.shape[1], dtype=np.int32)  # of rows, which are equally long
    return sparse.csr_array((weights.astype(np.float32).ravel(), columns.ravel(), ends), shape=(out_length, in_length))


def _area(distance: np.ndarray, width: float) -> np.ndarray:
    """How much of a pixel lies within `width` pixels around a centre."""
    return np.clip((width + 1) / 2 - distance, 0, 1)


def _triangle(distance: np.ndarray, width: float) -> np.ndarray:
    return np.clip(1 - distance / width, 0, None)


def _keys(distance: np.ndarray, width: float) -> np.ndarray:
    """Keys' cubic with a = -1/2."""
    return cubic_kernel(distance / width)


def _torchs_cubic(distance: np.ndarray, width: float) -> np.ndarray:
    """Keys' cubic with a = -3/4, torch's and OpenCV's."""
    x, a = distance / width, -0.75
    inner = (a + 2) * x**3 - (a + 3) * x**2 + 1
    outer = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, inner, np.where(x <= 2, outer, 0))


def _lanczos(distance: np.ndarray, width: float) -> np.ndarray:
    x = distance / width
    return np.where(x < LANCZOS_LOBES, np.sinc(x) * np.sinc(x / LANCZOS_LOBES), 0)


# How far a kernel of a width reaches, in pixels, and its values at distances.
_KERNELS: dict[str, tuple[Callable[[float], float], Callable[[np.ndarray, float], np.ndarray]]] = {
    'area': (lambda width: (width + 1) / 2, _area),
    'bilinear': (lambda width: width, _triangle),
    'bicubic': (lambda width: 2 * width, _torchs_cubic),
    'antialiased_bilinear': (lambda width: width, _triangle),
    'antialiased_bicubic': (lambda width: 2 * width, _keys),
    'lanczos': (lambda width: LANCZOS_LOBES * width, _lanczos),
}
