"""The whole picture, enlarged: for the page's slider, and as a file. Computed here, without the page."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.data.eight_bit import to_8_bit
from gsasr_plugin.picture_colors import with_hidden_filled
from gsasr_plugin.sizes import Size, enlarged_size
from gsasr_plugin.upscaling.estimate import results_beyond_memory
from gsasr_plugin.upscaling.pictures.formats import FORMATS
from gsasr_plugin.upscaling.pictures.picture import Picture, PictureError
from gsasr_plugin.upscaling.pictures.writing import as_result, cannot_hold, fit_for_format, losses, write_picture
from gsasr_plugin.upscaling.upscaler import Upscaler

# A browser shows no more pixels under the slider: what is larger is shown smaller, and written as it is.
SHOWN_PIXELS = 4_000_000
WHITE = (1.0, 1.0, 1.0)
NEARLY_ALL = 0.999  # shares of tiles do not add up exactly


@dataclass(frozen=True)
class WholeView:
    """A result.

    Attributes:
        bicubic, sr: (H, W, 3 or 4), uint8, RGB and alpha, of at most `SHOWN_PIXELS`.
        size: (H, W) of the result in the file.
        remarks: what the file does not keep, and what was said of the picture.
    """

    bicubic: np.ndarray
    sr: np.ndarray
    size: Size
    remarks: tuple[str, ...]


def enlarge_whole(
    upscaler: Upscaler,
    picture: Picture,
    scale: float,
    file: Path,
    progress: Callable[..., object] = lambda share, desc: None,
) -> WholeView:
    """Upscales a picture and writes the result.

    Args:
        scale: from 1 on.
        file: what to write; its ending says the format. One without alpha gets a white background.
        progress: called with the share that is done, 0..1, and `desc`, what is being done.

    Raises:
        PictureError: the format cannot hold the result, or the memory cannot; the message has the numbers.
    """
    size = enlarged_size(picture.size, (scale, scale))
    format = next(known.name for known in FORMATS.values() if file.suffix in known.suffixes)
    problem = cannot_hold(size, format, alpha=False)
    problem = problem or results_beyond_memory(
        upscaler, picture.size, [(size, format)], kept=True, lossless=picture.lossless
    )
    if problem:
        raise PictureError(f'{size[1]} x {size[0]} pixels: {problem}')
    done = 0.0

    def count(pixels: float) -> None:
        nonlocal done
        done += pixels / (picture.size[0] * picture.size[1])
        progress(min(done, 1.0), desc='Drawing' if done > NEARLY_ALL else 'Enlarging')

    count(0)
    ((color, alpha),) = upscaler.pixels(picture.color, picture.alpha, [size], progress=count)
    progress(1.0, desc='Writing')
    large = dataclasses.replace(as_result(picture, size, format), color=color, alpha=alpha)
    large, bands = fit_for_format(large, [(color, alpha)], WHITE)
    large = dataclasses.replace(large, color=next(iter(bands))[0])
    remarks = [*picture.remarks, *losses(large)]
    if alpha is not None and large.alpha is None and (alpha < 1).any():
        remarks.append(f'{format} files hold no alpha channel: it has a white background')
    write_picture(large, file)
    shown = shown_size(size)
    return WholeView(
        bicubic=levels(picture.color, picture.alpha, shown),
        sr=levels(color, alpha, shown),
        size=size,
        remarks=tuple(remarks),
    )


def shown_size(size: Size, most: int = SHOWN_PIXELS) -> Size:
    """(H, W) of what a browser shows of a picture, in so many pixels at most."""
    factor = math.sqrt(min(1.0, most / (size[0] * size[1])))
    return max(1, int(size[0] * factor)), max(1, int(size[1] * factor))


def levels(color: np.ndarray, alpha: np.ndarray | None, size: Size) -> np.ndarray:
    """A picture at a size (H, W) by bicubic interpolation: (H, W, 3), or 4 with alpha, uint8."""
    visible = color if alpha is None else with_hidden_filled(color, alpha)
    pixels = visible.astype(np.float32)
    pixels = pixels if pixels.shape[:2] == size else resize_bicubic(pixels, size)
    pixels = np.broadcast_to(pixels, (*size, 3))
    if alpha is not None:
        transparency = alpha if alpha.shape == size else resize_bicubic(alpha.astype(np.float32), size)
        pixels = np.dstack([pixels, transparency])
    return to_8_bit(pixels)
