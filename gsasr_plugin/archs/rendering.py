"""Gaussians to images: what the rasterizer is told of a record of Gaussians. No network is needed for it.

Letters: B images, h x w LR size, H x W output size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from gsasr_ops import rasterize_gaussians
from gsasr_plugin.archs.completion import band_rows
from gsasr_plugin.archs.gaussians import Gaussians
from gsasr_plugin.archs.transfer import to_device
from gsasr_plugin.sizes import Grid, OffsetsLike, ScaleLike, Size, SizesLike, is_pair, output_grids

# Half-width of the box in which a Gaussian is drawn, in standard deviations, where nothing else is said: it loses at
# most 8e-5 of the range 0..1, 0.02 of an 8-bit level.
SUPPORT = 4.5


def render(
    gaussians: Gaussians,
    size: SizesLike,
    *,
    scale: ScaleLike | None = None,
    offset: OffsetsLike | None = None,
    support: float = SUPPORT,
    raster_ratio: float | None = None,
) -> Tensor | list[Tensor]:
    """Draws Gaussians (Eq. 4): output pixel (i, j) samples ((j + 0.5) w / W, (i + 0.5) h / H), or as an offset says.

    Args:
        gaussians: of B images. The drawing is completed as they say.
        size: (H, W), or a list of B pairs.
        scale, offset: both or none, see `GSASR.forward`.
        support, raster_ratio: see `GSASR`.

    Returns:
        (B, 3, H, W) for one size, a list of (3, H_i, W_i) for a list of them.

    Raises:
        ValueError: as `output_grids`; or an offset with `consistency`, which compares images that show the same.
    """
    completion = gaussians.completion
    grids = output_grids(gaussians.lq_size, gaussians.means.shape[0], scale, size, offset)
    if offset is not None and completion is not None and completion.consistency:
        raise ValueError(
            'an offset does not go with consistency, for which output and LR image show the same: set consistency 0'
        )
    sizes = [grid.size for grid in grids]
    target = sizes[0] if is_pair(size.tolist() if hasattr(size, 'tolist') else size) else sizes
    drawn = _rasterized(_shifted(gaussians, grids), target, [grid.scale for grid in grids], support, raster_ratio)
    if completion is None:
        return drawn
    if isinstance(drawn, Tensor) and len(set(grids)) == 1:
        return completion(drawn, grids[0])
    images = [completion.of(i)(image[None], grids[i])[0] for i, image in enumerate(drawn)]
    return torch.stack(images) if isinstance(drawn, Tensor) else images


def render_bands(
    gaussians: Gaussians, size: Size, *, support: float = SUPPORT, raster_ratio: float | None = None
) -> Iterator[Tensor]:
    """Draws Gaussians as `render` does, the same bits, in bands of rows from the top: in the memory that these take.

    Args:
        gaussians: of B images.
        size: (H, W) of all of them.
        support, raster_ratio: see `GSASR`.

    Returns:
        (B, 3, rows, W), of various heights, H in all.
    """
    (H, W), (h, w) = size, gaussians.lq_size
    height = band_rows(W)
    bands = (
        _rasterized(gaussians, size, (H / h, W / w), support, raster_ratio, (top, min(top + height, H)))
        for top in range(0, H, height)
    )
    return bands if gaussians.completion is None else gaussians.completion.bands(bands, size)


def _shifted(gaussians: Gaussians, grids: list[Grid]) -> Gaussians:
    """The Gaussians with the origin of their positions where each output image begins."""
    if not any(length for grid in grids for length in grid.offset):
        return gaussians
    means = gaussians.means
    offsets = torch.tensor([grid.offset[::-1] for grid in grids], dtype=torch.float64)  # (B, 2), (x, y)
    offsets = to_device(offsets, means.device, means.dtype)
    return dataclasses.replace(gaussians, means=means - offsets[:, None])


def render_part(
    gaussians: Gaussians, size: Size, whole: Size, *, support: float = SUPPORT, raster_ratio: float | None = None
) -> Tensor:
    """Draws a part of an image as `render` draws it in the whole, whose size the raster ratio refers to.

    Args:
        gaussians: those that reach into the part, with positions and `lq_size` of the part.
        size: (H, W) of the part.
        whole: (h, w) of the whole LR image.
        support, raster_ratio: see `GSASR`. A cut may be off by half an output pixel along one axis where part and whole
            differ in shape.

    Returns:
        (B, 3, H, W).
    """
    if raster_ratio is None:
        image = render(gaussians, size, support=support)
        assert isinstance(image, Tensor)
        return image
    (H, W), (h, w) = size, gaussians.lq_size
    # The rasterizer's window is a share of what it draws along both axes: so it draws an area of the whole's
    # proportions, of which the part is a corner.
    share = max(h / whole[0], w / whole[1])
    area = (round(H * share * whole[0] / h), round(W * share * whole[1] / w))
    image = _rasterized(gaussians, area, (H / h, W / w), support, raster_ratio / share)
    assert isinstance(image, Tensor)
    image = image[..., :H, :W]
    return image if gaussians.completion is None else gaussians.completion(image)


def _rasterized(
    gaussians: Gaussians,
    size: Size | list[Size],
    factors: Any,
    support: float,
    window: float | None,
    rows: tuple[int, int] | None = None,
) -> Any:
    return rasterize_gaussians(
        gaussians.means,
        gaussians.sigmas,
        gaussians.rhos,
        gaussians.opacities,
        gaussians.colors,
        size,
        factors,
        support=support,
        window=window,
        rows=rows,
    )
