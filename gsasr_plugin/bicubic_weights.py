"""The weights of MATLAB-style antialiased bicubic resampling along one axis: which pixels make a pixel, and how much.

Both who resizes pictures (`gsasr_plugin.data.bicubic`) and the network that stays consistent with its input
(`gsasr_plugin.archs.consistency`) take them from here.
"""

from __future__ import annotations

import math

import numpy as np

# Half the width of the cubic kernel, in pixels of the coarser grid.
KERNEL_RADIUS = 2


def axis_taps(
    in_length: int, out_length: int, ratio: float, dtype: str, start: float = 0.0, *, wraps: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The pixels that make each pixel of a resampled axis, and their weights, which sum to 1.

    Output pixel k covers start + [k / ratio, (k + 1) / ratio] in input pixels, origin at the edge of the first one.
    When the axis shrinks, the kernel is stretched by 1 / ratio, which is the antialiasing. Beyond the borders the image
    continues mirrored, the border pixel included, as often as the kernel needs, or goes on at the opposite border.

    Args:
        in_length: input pixels along the axis.
        out_length: output pixels along the axis.
        ratio: output pixels per input pixel.
        dtype: 'float32' or 'float64', in which positions and weights are worked out. Positions near 2,000 have an error
            of 1e-4 in float32, and BasicSR's results have it too: in another precision they would differ by 8e-5.
        start: where the first output pixel begins, in input pixels.
        wraps: whether the image goes on at the opposite border.

    Returns:
        Pixels, int64, and weights, both (out_length, taps). Near borders a pixel may stand twice in a row.
    """
    real = np.dtype(dtype).type
    shrink = min(ratio, 1.0)
    radius = KERNEL_RADIUS / shrink
    # Pixel centres on the input axis, counted from 1 as MATLAB and BasicSR do: the rounding of float32 depends on the
    # origin.
    origin = real(0.5 * (1 - 1 / ratio) + start)
    centres = np.arange(1, out_length + 1, dtype=real) / real(ratio) + origin  # (out_length,)
    first = np.floor(centres - real(radius))
    taps = math.ceil(2 * radius) + 2
    pixels = first[:, None] + np.arange(taps, dtype=real)  # (out_length, taps)
    weights = cubic_kernel((centres[:, None] - pixels) * real(shrink))
    weights /= weights.sum(axis=1, keepdims=True)

    pixels = pixels.astype(np.int64) - 1
    return np.mod(pixels, in_length) if wraps else mirrored(pixels, in_length), weights


def mirrored(pixels: np.ndarray, length: int) -> np.ndarray:
    """The pixels 0 .. length - 1 of an axis that continues mirrored beyond its borders, border pixel included."""
    pixels = np.mod(pixels, 2 * length)  # the period, whose second half is reversed
    return np.where(pixels < length, pixels, 2 * length - 1 - pixels)


def cubic_kernel(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -1/2, the one MATLAB calls 'cubic'; zero beyond |x| = 2."""
    x = np.abs(x)
    x2, x3 = x**2, x**3
    inner = 1.5 * x3 - 2.5 * x2 + 1
    outer = -0.5 * x3 + 2.5 * x2 - 4 * x + 2
    return np.where(x <= 1, inner, np.where(x <= KERNEL_RADIUS, outer, 0)).astype(x.dtype)
