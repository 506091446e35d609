"""What the page shows of one region of a picture: computed here, without the page."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.data.eight_bit import to_8_bit, to_float
from gsasr_plugin.sizes import enlarged_size
from gsasr_plugin.upscaling.upscaler import Upscaler, lq_tensor
from gsasr_plugin.upscaling.visuals import layers
from gsasr_plugin.upscaling.visuals.layers import Cutoff, Region
from gsasr_plugin.upscaling.visuals.sheet import PANEL_PIXELS, close_up_panel, close_up_side, panel_png

# What the network sees around the region: so the time is the same in a picture of any size.
CONTEXT = 24


@dataclass(frozen=True)
class RegionView:
    """Pictures (H, W, 3), uint8.

    Attributes:
        region: in pixels of the picture.
        bicubic, sr: the region, enlarged.
        positions: where the region's Gaussians are.
        close_up: the middle of the region, with the contours of its Gaussians.
        count: Gaussians that reach into the region.
    """

    region: Region
    bicubic: np.ndarray
    sr: np.ndarray
    positions: np.ndarray
    close_up: np.ndarray
    count: int


def view_region(
    upscaler: Upscaler, picture: np.ndarray, centre: tuple[float, float], side: int, scale: float
) -> RegionView:
    """Upscales a square around a point of a picture, as far as it lies in the picture.

    Args:
        picture: (h, w, 3), uint8.
        centre: (x, y) in its pixels.
        side: of the square, in its pixels.
        scale: from 1 on.
    """
    h, w = picture.shape[:2]
    region = _around(centre, side, (h, w))
    left, top = max(0, region.x - CONTEXT), max(0, region.y - CONTEXT)
    right = min(w, region.x + region.width + CONTEXT)
    bottom = min(h, region.y + region.height + CONTEXT)
    seen = to_float(picture[top:bottom, left:right])
    seen_size = enlarged_size(seen.shape[:2], (scale, scale))
    gaussians = upscaler.gaussians(lq_tensor(seen), seen_size)
    inside = Region(region.x - left, region.y - top, region.width, region.height)
    cutoff = Cutoff.of(upscaler.net, (h, w))
    drawn = layers.draw(gaussians, seen_size, cutoff)
    gaussians = layers.crop_gaussians(gaussians, inside, cutoff.support)

    size = enlarged_size((region.height, region.width), (scale, scale))
    # Of the whole neighbourhood, so that the border of the region is no border.
    enlarged = resize_bicubic(seen, seen_size)
    y, x = round(inside.y * seen_size[0] / seen.shape[0]), round(inside.x * seen_size[1] / seen.shape[1])
    density = upscaler.net.density_per_axis**2
    zoom = PANEL_PIXELS / max(region.width, region.height)
    near_side = min(close_up_side(density), region.width, region.height)
    near = Region((region.width - near_side) // 2, (region.height - near_side) // 2, near_side, near_side)
    shown = (round(region.height * zoom), round(region.width * zoom))
    return RegionView(
        region=region,
        bicubic=to_8_bit(enlarged[y : y + size[0], x : x + size[1]]),
        sr=to_8_bit(drawn[y : y + size[0], x : x + size[1]]),
        positions=to_8_bit(layers.positions(gaussians, shown, density)),
        close_up=np.asarray(Image.open(io.BytesIO(panel_png(close_up_panel(gaussians, near, cutoff)))).convert('RGB')),
        count=gaussians.means.shape[1],
    )


def _around(centre: tuple[float, float], side: int, lq_size: tuple[int, int]) -> Region:
    h, w = lq_size
    width, height = min(side, w), min(side, h)
    x = min(max(0, round(centre[0] - width / 2)), w - width)
    y = min(max(0, round(centre[1] - height / 2)), h - height)
    return Region(x, y, width, height)
