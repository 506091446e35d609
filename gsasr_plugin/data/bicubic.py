"""MATLAB-style antialiased bicubic resampling of numpy images, to any size.

Resampling is separable and linear, so each axis is one sparse matrix: a row holds the weights with which the input
pixels make one output pixel, borders included. The matrices are cached, and SciPy's product sums each output in a fixed
order on one thread: a crop gives the same bits in every DataLoader worker, however many threads the main process has.
"""

import math
import operator
from functools import lru_cache

import numpy as np
from scipy import sparse

from gsasr_plugin.bicubic_weights import axis_taps


def resize_bicubic(
    image: np.ndarray, size: tuple[int, int], ratio: float | tuple[float, float] | None = None
) -> np.ndarray:
    """Resize an image as MATLAB's `imresize(image, size)` does (bicubic, antialiased when an axis shrinks).

    The LR patches of the paper's training (Section 4.1) and the LR images of its protocol are made this way. A float32
    image gives the numbers of `basicsr.utils.matlab_functions.imresize`, which works out positions and weights in
    float32; a float64 image is resampled in float64. Nothing is rounded or clipped: values may overshoot the input's
    range.

    Args:
        image: (H, W) or (H, W, C), float32 or float64, any range.
        size: (rows, columns) of the result, in pixels, each at least 1. Axes may grow and shrink independently.
        ratio: output pixels per input pixel, one number or (rows, columns), which places the output pixels. The default
            is the ratio of the sizes. MATLAB's `imresize(image, ratio)` and BasicSR round the size up, so their ratio
            is not quite the ratio of the sizes; give it here to have their result.

    Returns:
        The resized image, (rows, columns) or (rows, columns, C), C-contiguous, of the image's dtype.

    Raises:
        TypeError: the image is not a float32 or float64 array, or a size is not an integer.
        ValueError: the image is empty or not two- or three-dimensional, a size is below 1, a ratio is not positive and
            finite.
    """
    if not isinstance(image, np.ndarray) or image.dtype not in (np.float32, np.float64):
        given = f'{image.dtype} array' if isinstance(image, np.ndarray) else type(image).__name__
        raise TypeError(f'image must be a float32 or float64 numpy array, got {given}')
    if image.ndim not in (2, 3) or image.size == 0:
        raise ValueError(f'image must be (H, W) or (H, W, C) and not empty, got shape {image.shape}')
    rows, columns = (operator.index(length) for length in size)
    if rows < 1 or columns < 1:
        raise ValueError(f'size must be at least (1, 1), got {(rows, columns)}')
    height, width = image.shape[:2]
    if ratio is None:
        ratios = (rows / height, columns / width)
    else:
        ratios = (float(ratio), float(ratio)) if isinstance(ratio, (int, float)) else (float(ratio[0]), float(ratio[1]))
    if not all(math.isfinite(r) and r > 0 for r in ratios):
        raise ValueError(f'ratio must be positive and finite, got {ratio}')

    channels = image.size // (height * width)
    vertical = axis_weights(height, rows, ratios[0], image.dtype.name)  # (rows, H)
    horizontal = axis_weights(width, columns, ratios[1], image.dtype.name)  # (columns, W)
    # Rows first, as BasicSR: the second pass then works on the smaller image when shrinking.
    resized = (vertical @ image.reshape(height, width * channels)).reshape(rows, width, channels)
    resized = np.ascontiguousarray(resized.transpose(1, 0, 2)).reshape(width, rows * channels)
    resized = (horizontal @ resized).reshape(columns, rows, channels)
    return np.ascontiguousarray(resized.transpose(1, 0, 2)).reshape(rows, columns, *image.shape[2:])


# Training uses 145 sizes; a matrix of a whole photograph's axis takes about 100 kB.
@lru_cache(maxsize=512)
def axis_weights(in_length: int, out_length: int, ratio: float, dtype: str) -> sparse.csr_array:
    """The resampling of one axis as a sparse (out_length, in_length) matrix whose rows sum to 1; see `axis_taps`."""
    pixels, weights = axis_taps(in_length, out_length, ratio, dtype)
    rows = np.repeat(np.arange(out_length), pixels.shape[1])
    matrix = sparse.coo_array((weights.ravel(), (rows, pixels.ravel())), shape=(out_length, in_length)).tocsr()
    matrix.eliminate_zeros()
    return matrix
