"""What there is to see of the Gaussians of one image, as arrays: images (H, W, 3) in 0..1, maps (H, W).

Letters: N Gaussians, h x w LR size, H x W size of what is drawn.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np
import torch
from scipy import special

from gsasr_plugin.archs.gaussians import Gaussians
from gsasr_plugin.archs.gsasr_arch import GSASR
from gsasr_plugin.archs.rendering import SUPPORT, render_part
from gsasr_plugin.sizes import Size

# Deviation of the dots that show positions: of the grid's spacing, but not finer than the pixels show.
DOT_OF_SPACING, DOT_PIXELS = 1 / 4, 0.6
DENSITY_BLUR = 0.5  # LR pixels
RED = (1.0, 0.0, 0.0)


class Region(NamedTuple):
    """A part of the LR image, in its pixels."""

    x: int
    y: int
    width: int
    height: int


class Cutoff(NamedTuple):
    """How far a network draws a Gaussian; in drawings that are diagrams, as far as can be seen.

    Attributes:
        support, raster_ratio: see `GSASR`.
        whole: (h, w) of the LR image to which the raster ratio refers; None where there is no ratio.
    """

    support: float = SUPPORT
    raster_ratio: float | None = None
    whole: Size | None = None

    @classmethod
    def of(cls, net: GSASR, whole: Size) -> Cutoff:
        """That of a network in an LR image of (h, w)."""
        return cls(net.support, net.raster_ratio, whole)


DIAGRAM = Cutoff()


class Ellipses(NamedTuple):
    """Where f = exp(-1/2) of its peak: contours of one standard deviation, in LR pixels.

    Attributes:
        centres: (N, 2), (x, y).
        axes: (N, 2), whole lengths, the longer one first.
        angles: (N,), of the longer axis, in degrees from x towards y.
    """

    centres: np.ndarray
    axes: np.ndarray
    angles: np.ndarray


def crop_gaussians(gaussians: Gaussians, region: Region, support: float) -> Gaussians:
    """The Gaussians that reach into a region, as those of an image that is the region; of one image.

    What the LR image gives to the drawing is that of the region alone, so that within a few LR pixels of its borders
    the drawing differs from the whole image's.

    Args:
        support: standard deviations to which a Gaussian is drawn.
    """
    means = gaussians.means - gaussians.means.new_tensor((region.x, region.y))
    size = means.new_tensor((region.width, region.height))
    reach = support * gaussians.sigmas
    completion = gaussians.completion
    (here,) = ((means + reach > 0) & (means - reach < size)).all(-1)[0].nonzero(as_tuple=True)
    return Gaussians(
        means=means[:, here],
        sigmas=gaussians.sigmas[:, here],
        rhos=gaussians.rhos[:, here],
        opacities=gaussians.opacities[:, here],
        colors=gaussians.colors[:, here],
        lq_size=(region.height, region.width),
        completion=completion
        and completion.crop(slice(region.y, region.y + region.height), slice(region.x, region.x + region.width)),
    )


def draw(gaussians: Gaussians, size: Size, cutoff: Cutoff = DIAGRAM) -> np.ndarray:
    """The image itself: (H, W, 3), clipped to 0..1."""
    return _drawn(gaussians, size, cutoff).clip(0, 1)


def _drawn(gaussians: Gaussians, size: Size, cutoff: Cutoff) -> np.ndarray:
    """(H, W, channels)."""
    support, raster_ratio, whole = cutoff
    with torch.inference_mode():
        image = render_part(gaussians, size, whole or gaussians.lq_size, support=support, raster_ratio=raster_ratio)
    return image[0].permute(1, 2, 0).cpu().numpy()


def positions(gaussians: Gaussians, size: Size, density: float) -> np.ndarray:
    """The distribution of positions (H, W, 3): sigma, rho and colour fixed, as in Fig. 6 and 9; opacities as they are.

    Args:
        density: Gaussians per LR pixel, which sets the size of the dots.
    """
    zoom = size[0] / gaussians.lq_size[0]
    sigma = max(DOT_OF_SPACING / density**0.5, DOT_PIXELS / zoom)
    # An average dot alone reaches white.
    opacities = gaussians.opacities / gaussians.opacities.mean()
    dots = dataclasses.replace(
        gaussians,
        sigmas=torch.full_like(gaussians.sigmas, sigma),
        rhos=torch.zeros_like(gaussians.rhos),
        opacities=opacities,
        colors=torch.ones_like(gaussians.colors),
        completion=None,
    )
    return draw(dots, size)


def choose(gaussians: Gaussians, count: int, seed: int = 0) -> np.ndarray:
    """Indices of `count` Gaussians at random, of those with their centres inside the image."""
    h, w = gaussians.lq_size
    means = gaussians.means[0]
    (inside,) = ((means > 0) & (means < means.new_tensor((w, h)))).all(-1).cpu().numpy().nonzero()
    return np.random.default_rng(seed).permutation(inside)[:count]


def with_red(gaussians: Gaussians, chosen: np.ndarray) -> Gaussians:
    """The same with the chosen ones in red."""
    colors = gaussians.colors.clone()
    colors[:, torch.from_numpy(chosen).to(colors.device)] = colors.new_tensor(RED)
    completion = gaussians.completion
    if completion is not None:  # consistency would take out the red, which the LR image does not have
        completion = dataclasses.replace(completion, consistency=0)
    return dataclasses.replace(gaussians, colors=colors, completion=completion)


def ellipses(gaussians: Gaussians, chosen: np.ndarray) -> Ellipses:
    """The contours of the chosen Gaussians."""
    means, sigmas = (getattr(gaussians, name)[0].double().cpu().numpy()[chosen] for name in ('means', 'sigmas'))
    rhos = gaussians.rhos[0].double().cpu().numpy()[chosen]
    covariances = np.empty((len(chosen), 2, 2))
    covariances[:, 0, 0], covariances[:, 1, 1] = sigmas[:, 0] ** 2, sigmas[:, 1] ** 2
    covariances[:, 0, 1] = covariances[:, 1, 0] = rhos * sigmas[:, 0] * sigmas[:, 1]
    variances, directions = np.linalg.eigh(covariances)  # ascending
    longer = directions[:, :, 1]
    angles = np.degrees(np.arctan2(longer[:, 1], longer[:, 0]))
    return Ellipses(means, 2 * np.sqrt(variances[:, ::-1].clip(0)), angles)


def density_map(gaussians: Gaussians, size: Size) -> np.ndarray:
    """Gaussians per LR pixel: their centres inside the image, each spread by `DENSITY_BLUR`: (H, W)."""
    h, w = gaussians.lq_size
    inside = choose(gaussians, gaussians.means.shape[1])
    means = gaussians.means[:, torch.from_numpy(inside).to(gaussians.means.device)]
    spread = Gaussians(
        means=means,
        sigmas=torch.full_like(means, DENSITY_BLUR),
        rhos=torch.zeros_like(means[..., 0]),
        opacities=torch.full_like(means[..., 0], 1 / (2 * math.pi * DENSITY_BLUR**2)),
        colors=means.new_ones(*means.shape[:2], 1),
        lq_size=(h, w),
    )
    image = _drawn(spread, size, DIAGRAM)[..., 0]
    # At the border a part of what is spread lies outside.
    rows, columns = (_part_inside(length, n) for length, n in zip((h, w), size))
    return image / np.outer(rows, columns)


def _part_inside(length: int, samples: int) -> np.ndarray:
    """How much of what is spread around each sample of 0..length stays in it."""
    at = (np.arange(samples) + 0.5) * length / samples
    return special.ndtr((length - at) / DENSITY_BLUR) - special.ndtr(-at / DENSITY_BLUR)


def error_map(image: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """Absolute difference, mean over the channels: (H, W)."""
    return np.abs(image.astype(np.float64) - gt).mean(2)


def psnr(image: np.ndarray, gt: np.ndarray) -> float:
    """Of all channels, in dB."""
    mse = np.square(image.astype(np.float64) - gt).mean()
    return float('inf') if mse == 0 else float(-10 * np.log10(mse))


def most_detailed(image: np.ndarray, lq_size: Size, side: int) -> Region:
    """The square of `side` LR pixels, or less in a smaller image, in which the image varies most."""
    h, w = lq_size
    height, width = min(side, h), min(side, w)
    grey = image.mean(2).astype(np.float64)
    rows, columns = (np.linspace(0, length, n + 1).astype(int)[:-1] for length, n in zip(grey.shape, (h, w)))
    slopes = np.hypot(*np.gradient(grey)) if min(grey.shape) > 1 else np.zeros_like(grey)
    slopes = np.add.reduceat(np.add.reduceat(slopes, rows, 0), columns, 1)  # per LR pixel
    sums = np.lib.stride_tricks.sliding_window_view(slopes, (height, width)).sum((2, 3))
    y, x = np.unravel_index(sums.argmax(), sums.shape)
    return Region(int(x), int(y), width, height)
