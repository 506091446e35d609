"""The rasterizer in plain PyTorch: the twin that the kernels are tested against, and the way out where there are none.

Letters: B images, N Gaussians, C channels, H x W output pixels; the last dimension of coordinates is (x, y). Lengths
are in LR pixels with the origin at the image's top-left corner. Any dtype and device.

Images are drawn in tiles, and a tile evaluates the Gaussians whose box meets it: the same sum as over all Gaussians, in
bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# Pixels of a tile along each axis: about twice as many as the boxes have, within these limits. Smaller tiles are too
# many, larger ones evaluate too many pixels outside of the boxes.
SMALLEST_TILE, LARGEST_TILE = 8, 64
# (pixel, Gaussian) pairs evaluated at once.
PAIRS = 1 << 17


class Gaussians(NamedTuple):
    """The Gaussians of one image."""

    means: Tensor  # (N, 2)
    sigmas: Tensor  # (N, 2)
    rhos: Tensor  # (N,)
    opacities: Tensor  # (N,)
    colors: Tensor  # (N, C)


class Tile(NamedTuple):
    """A rectangle of pixels of one image and the Gaussians that reach it."""

    rows: slice
    columns: slice
    ids: Tensor  # (n,)
    ranges: Tensor  # (n, 2, 2): per axis (x, y) the first pixel and the one after the last


def rasterize_flat(
    means: Tensor,
    sigmas: Tensor,
    rhos: Tensor,
    opacities: Tensor,
    colors: Tensor,
    sizes: Sequence[int],
    scales: Sequence[float],
    support: float | None,
    window: float | None,
) -> Tensor:
    """The operator `gsasr::rasterize_gaussians` in PyTorch; `support=None` leaves nothing out."""
    images = []
    for index, (H, W, first, end) in enumerate(sizes_and_rows(sizes, means.shape[0])):
        gaussians = Gaussians(means[index], sigmas[index], rhos[index], opacities[index], colors[index])
        scale = (scales[2 * index], scales[2 * index + 1])
        images.append(_draw(gaussians, (H, W), scale, support, window, range(first, end)).flatten())
    # Without images nothing is drawn, but autograd still finds its way back.
    return torch.cat(images or [tensor.flatten() for tensor in (means, sigmas, rhos, opacities, colors)])


def sizes_and_rows(sizes: Sequence[int], B: int) -> list[Sequence[int]]:
    """H, W, the first row that is drawn and the one after the last, of each image."""
    if B and len(sizes) == 4 * B:
        return [sizes[4 * b : 4 * b + 4] for b in range(B)]
    return [(H, W, 0, H) for H, W in zip(sizes[::2], sizes[1::2])]


def _draw(
    gaussians: Gaussians,
    size: tuple[int, int],
    scale: tuple[float, float],
    support: float | None,
    window: float | None,
    drawn: range,
) -> Tensor:
    """Some rows of one image, (C, rows, W)."""
    # Under autograd a tile is evaluated again in the backward pass instead of keeping all its pairs.
    differentiated = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in gaussians)
    strips: list[Tensor] = []  # of (C, rows, W)
    for tiles in _tiles(gaussians, size, scale, support, window):
        top, bottom = tiles[0].rows.start, tiles[0].rows.stop
        if bottom <= drawn.start or top >= drawn.stop:
            continue
        strip = [
            checkpoint(_draw_tile, gaussians, tile, scale, use_reentrant=False)
            if differentiated and len(tile.ids)
            else _draw_tile(gaussians, tile, scale)
            for tile in tiles
        ]
        strips.append(torch.cat(strip, dim=2)[:, max(drawn.start - top, 0) : drawn.stop - top])
    return torch.cat(strips, dim=1)


def _draw_tile(gaussians: Gaussians, tile: Tile, scale: tuple[float, float]) -> Tensor:
    """The pixels of one tile (C, rows, columns)."""
    channels = gaussians.colors.shape[1]
    rows, columns = _length(tile.rows), _length(tile.columns)
    total = gaussians.colors.new_zeros(channels, rows, columns)
    for start in range(0, len(tile.ids), max(1, PAIRS // (rows * columns))):
        part = slice(start, start + max(1, PAIRS // (rows * columns)))
        chosen = Gaussians(*(tensor[tile.ids[part]] for tensor in gaussians))
        falloff, inside, *_ = _evaluate(chosen, tile, tile.ranges[part], scale)  # (n, rows, columns)
        weights = chosen.opacities[:, None] * chosen.colors  # (n, C)
        # Products and sums, not a matrix product: that may be rounded to TF32 on a GPU. Outside of the box there is 0,
        # also where a colour is infinite.
        terms = [(weights[:, c, None, None] * falloff).where(inside, 0.0) for c in range(channels)]
        total = total + torch.stack([term.sum(dim=0) for term in terms])
    return total


def rasterize_flat_backward(
    v_images: Tensor,
    means: Tensor,
    sigmas: Tensor,
    rhos: Tensor,
    opacities: Tensor,
    colors: Tensor,
    sizes: Sequence[int],
    scales: Sequence[float],
    support: float | None,
    window: float | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The operator `gsasr::rasterize_gaussians_backward` in PyTorch, by formulas (gaussian.h derives them)."""
    v_images = v_images.contiguous()
    inputs = (means, sigmas, rhos, opacities, colors)
    gradients = [torch.zeros_like(tensor, memory_format=torch.contiguous_format) for tensor in inputs]
    channels = colors.shape[2]
    offset = 0
    for index, (H, W, first, end) in enumerate(sizes_and_rows(sizes, means.shape[0])):
        scale = (scales[2 * index], scales[2 * index + 1])
        drawn = channels * (end - first) * W
        v_image = v_images.new_zeros(channels, H, W)  # of other rows nobody asks anything
        v_image[:, first:end] = v_images[offset : offset + drawn].view(channels, end - first, W)
        offset += drawn
        gaussians = Gaussians(*(tensor[index] for tensor in inputs))
        v_gaussians = Gaussians(*(gradient[index] for gradient in gradients))
        for tiles in _tiles(gaussians, (H, W), scale, support, window):
            for tile in tiles:
                _add_gradients(v_gaussians, v_image[:, tile.rows, tile.columns], gaussians, tile, scale)
        undefined = (gaussians.means.isnan() | gaussians.sigmas.isnan()).any(dim=1) | gaussians.rhos.isnan()  # (N,)
        for gradient in v_gaussians:
            gradient[undefined] = float('nan')
    return gradients[0], gradients[1], gradients[2], gradients[3], gradients[4]


def _add_gradients(
    v_gaussians: Gaussians, v_tile: Tensor, gaussians: Gaussians, tile: Tile, scale: tuple[float, float]
) -> None:
    """Add one tile's share to the gradients; v_tile is (C, rows, columns)."""
    step = max(1, PAIRS // max(1, v_tile[0].numel()))
    for start in range(0, len(tile.ids), step):
        part = slice(start, start + step)
        ids = tile.ids[part]
        chosen = Gaussians(*(tensor[ids] for tensor in gaussians))
        falloff, inside, v, t = _evaluate(chosen, tile, tile.ranges[part], scale)  # each (n, rows, columns)
        v_pixels = [v_channel.where(inside, 0.0) for v_channel in v_tile]  # of each channel
        # (n, C): how much each Gaussian's colour is asked for
        asked = torch.stack([(falloff * v_channel).sum(dim=(1, 2)) for v_channel in v_pixels], dim=1)
        v_falloff = sum(chosen.colors[:, c, None, None] * v_channel for c, v_channel in enumerate(v_pixels))
        w = chosen.opacities[:, None, None] * v_falloff * falloff  # (n, rows, columns)
        w_t, w_v, w_tt, w_tv, w_vv = ((w * factor).sum(dim=(1, 2)) for factor in (t, v, t * t, t * v, v * v))  # (n,)
        kappa = (1 - chosen.rhos.square()).rsqrt()
        kappa_rho = kappa * chosen.rhos
        v_mean = torch.stack((kappa * w_t, w_v - kappa_rho * w_t), dim=1) / chosen.sigmas
        v_sigma = torch.stack((w_tt + kappa_rho * w_tv, w_vv - kappa_rho * w_tv), dim=1) / chosen.sigmas
        v_gaussians.means.index_add_(0, ids, v_mean)
        v_gaussians.sigmas.index_add_(0, ids, v_sigma)
        v_gaussians.rhos.index_add_(0, ids, kappa * (w_tv - kappa_rho * w_tt))
        v_gaussians.opacities.index_add_(0, ids, (chosen.colors * asked).sum(dim=1))
        v_gaussians.colors.index_add_(0, ids, chosen.opacities[:, None] * asked)


def _evaluate(
    chosen: Gaussians, tile: Tile, ranges: Tensor, scale: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """exp(-q / 2) inside each Gaussian's box and 0 outside, what is inside, and v and t with q = v^2 + t^2; each of the
    shape (n, rows, columns)."""
    j, x, x_low = _centres(tile.columns, scale[1], chosen.means)  # (columns,)
    i, y, y_low = _centres(tile.rows, scale[0], chosen.means)  # (rows,)
    inside_x = (j >= ranges[:, 0, :1]) & (j < ranges[:, 0, 1:])  # (n, columns)
    inside_y = (i >= ranges[:, 1, :1]) & (i < ranges[:, 1, 1:])  # (n, rows)
    # Nothing but zeros outside of the box: the square of a distance in tiny sigmas might overflow there.
    dx = (x - chosen.means[:, :1] + x_low).where(inside_x, 0.0)
    dy = (y - chosen.means[:, 1:] + y_low).where(inside_y, 0.0)
    u = (dx / chosen.sigmas[:, :1])[:, None, :]
    v = (dy / chosen.sigmas[:, 1:])[:, :, None]
    rhos = chosen.rhos[:, None, None]
    t = (u - rhos * v) * (1 - rhos.square()).rsqrt()
    inside = inside_y[:, :, None] & inside_x[:, None, :]
    falloff = torch.exp(-0.5 * (v.square() + t.square())).where(inside, 0.0)
    return falloff, inside, v.expand_as(t), t


def _centres(pixels: slice, scale: float, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of the pixels, their centres in LR pixels, and what rounding the centres lost: far from the origin the
    centres alone are off by 1e-5 in float32."""
    indices = torch.arange(pixels.start, pixels.stop)
    exact = (indices.double() + 0.5) / scale
    rounded = exact.to(like.dtype)
    low = (exact - rounded.double()).to(like.dtype)
    return indices.to(like.device), rounded.to(like.device), low.to(like.device)


def _tiles(
    gaussians: Gaussians, size: tuple[int, int], scale: tuple[float, float], support: float | None, window: float | None
) -> Iterator[list[Tile]]:
    """The tiles of an image, strip by strip."""
    H, W = size
    ranges = _touched(gaussians, size, scale, support, window)  # (N, 2, 2)
    lengths = (ranges[:, :, 1] - ranges[:, :, 0]).float()  # not every device has float64
    typical = 2 * lengths[(lengths > 0).all(dim=1)].mean().nan_to_num(0.0).item()
    side = round(min(max(typical, SMALLEST_TILE), LARGEST_TILE))
    for top in range(0, H, side):
        bottom = min(top + side, H)
        in_strip = ((ranges[:, 1, 0] < bottom) & (ranges[:, 1, 1] > top)).nonzero()[:, 0]
        strip = ranges[in_strip]
        tiles = []
        for left in range(0, W, side):
            right = min(left + side, W)
            chosen = ((strip[:, 0, 0] < right) & (strip[:, 0, 1] > left)).nonzero()[:, 0]
            tiles.append(Tile(slice(top, bottom), slice(left, right), in_strip[chosen], strip[chosen]))
        yield tiles


@torch.no_grad()
def _touched(
    gaussians: Gaussians, size: tuple[int, int], scale: tuple[float, float], support: float | None, window: float | None
) -> Tensor:
    """Pixels that each Gaussian reaches, (N, 2, 2): per axis (x, y) the first one and the one after the last.

    The rule of gaussian.h: |d| <= support * sigma, and |d| < window where there is one; empty for what is no
    Gaussian.
    """
    means, sigmas, rhos = gaussians.means, gaussians.sigmas, gaussians.rhos
    factor = means.new_tensor((scale[1], scale[0]))  # (x, y)
    limit = means.new_tensor((size[1], size[0]))
    reach = torch.full_like(sigmas, float('inf')) if support is None else support * sigmas
    first = torch.ceil((means - reach) * factor - 0.5)
    end = torch.floor((means + reach) * factor - 0.5) + 1
    if window is not None:
        # Half of the image is limit / factor / 2 LR pixels.
        half = 0.5 * window * limit / factor
        first = torch.maximum(first, torch.floor((means - half) * factor - 0.5) + 1)
        end = torch.minimum(end, torch.ceil((means + half) * factor - 0.5))
    drawable = (
        (sigmas >= torch.finfo(sigmas.dtype).tiny).all(dim=1) & (1 - rhos.square() > 0) & ~means.isnan().any(dim=1)
    )
    ranges = torch.stack((first, end), dim=2)  # (N, 2, 2)
    ranges = torch.minimum(ranges.clamp(min=0), limit[:, None]).where(drawable[:, None, None], 0.0)
    return ranges.nan_to_num(0.0).long()  # inf - inf


def _length(part: slice) -> int:
    return part.stop - part.start
