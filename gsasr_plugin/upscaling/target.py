"""How large the result shall be: what a user asks for, turned into a size for each picture."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from gsasr_plugin.sizes import Scale, Size, as_scale, enlarged_size, format_scale

MULTIPLIERS = {'': 1, 'k': 10**3, 'm': 10**6, 'g': 10**9}


@dataclass(frozen=True)
class Target:
    """One wish: a scale, or lengths in pixels; and a bound on the number of pixels, which can stand alone.

    Attributes:
        scale: (rows, columns).
        height: of the result; with `width` alone, the proportions are kept.
        width: of the result; with `height` alone, the proportions are kept.
        max_pixels: H * W is at most this; alone, the result is as large as that.
    """

    scale: Scale | None = None
    height: int | None = None
    width: int | None = None
    max_pixels: int | None = None

    def size_for(self, lq_size: Size) -> Size:
        """(H, W) of the result for a picture of (h, w).

        Raises:
            ValueError: it would be smaller than the picture.
        """
        h, w = lq_size
        if self.scale is not None:
            factors = self.scale
        elif self.height is not None and self.width is not None:
            factors = (self.height / h, self.width / w)
        elif self.height is not None:
            factors = (self.height / h,) * 2
        elif self.width is not None:
            factors = (self.width / w,) * 2
        else:
            factors = (math.inf,) * 2
        bound = self.max_pixels
        if bound is not None and (math.isinf(factors[0]) or factors[0] * h * factors[1] * w > bound):
            ratio = 1.0 if math.isinf(factors[0]) else factors[0] / factors[1]
            columns = math.sqrt(bound / (h * w * ratio))
            H, W = math.floor(h * columns * ratio), math.floor(w * columns)
        else:
            H, W = enlarged_size(lq_size, factors)
            # A side that is given is that: of millions of pixels, the tolerance of factors is more than half a pixel.
            H, W = self.height or H, self.width or W
        if h > H or w > W:
            raise ValueError(f'{W} x {H} pixels would be smaller than the picture, {w} x {h}: GSASR enlarges')
        return H, W

    def label(self, size: Size) -> str:
        """For the names of files: x3.14, x2x3.5 (rows, columns), or the size, 1920x1080 (width, height)."""
        return f'x{format_scale(self.scale)}' if self.scale is not None else f'{size[1]}x{size[0]}'


def parse_scale(words: Sequence[str]) -> Scale:
    """One factor, or those of rows and columns.

    Raises:
        ValueError: other words, or a factor below 1.
    """
    try:
        factors = [float(word) for word in words]
        return as_scale(factors[0] if len(factors) == 1 else factors)
    except ValueError:
        raise ValueError(
            f'a scale is one number from 1 on, or two (rows and columns), such as 3.14 or 2 3.5; got {" ".join(words)}'
        ) from None


def parse_size(text: str) -> Size:
    """'WIDTHxHEIGHT', such as 1920x1080, as (H, W).

    Raises:
        ValueError: another text.
    """
    match = re.fullmatch(r'(\d+)\s*[x×X]\s*(\d+)', text.strip())  # noqa: RUF001 (what a user may copy)
    if match is None or 0 in (width := int(match[1]), height := int(match[2])):
        raise ValueError(f'a size is WIDTHxHEIGHT in pixels, such as 1920x1080; got {text!r}')
    return height, width


def parse_pixels(text: str) -> int:
    """A number of pixels, such as 8000000, 8e6 or 8M.

    Raises:
        ValueError: another text, or less than one.
    """
    match = re.fullmatch(r'(\d+(?:\.\d+)?(?:e\d+)?)([kmg]?)', text.strip().lower())
    number = float(match[1]) * MULTIPLIERS[match[2]] if match else 0.0
    count = int(number) if math.isfinite(number) else 0
    if count < 1:
        raise ValueError(f'a number of pixels is such as 8000000, 8e6 or 8M; got {text!r}')
    return count
