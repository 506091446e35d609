"""A network that is ready to work: on its device, in its precision, and with the averages of a self-ensemble.

Letters: B images, h x w LR size, H x W output size.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gsasr_plugin import precision
from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.completion import band_rows
from gsasr_plugin.archs.consistency import drawn_on
from gsasr_plugin.archs.gaussians import Gaussians
from gsasr_plugin.archs.inference import for_inference
from gsasr_plugin.archs.padding import up_to_multiple, wrapped
from gsasr_plugin.archs.rendering import render_bands
from gsasr_plugin.archs.tile_options import TILE_OVERLAP, TileOptions
from gsasr_plugin.picture_colors import with_hidden_filled
from gsasr_plugin.precision import autocast, each_within
from gsasr_plugin.sizes import Grid, Size
from gsasr_plugin.upscaling.hardware import AUTO, choose_device, choose_dtype
from gsasr_plugin.upscaling.pictures.picture import Pixels

PixelsDone = Callable[[float], None]  # told how many LR pixels were done since the last call

# With them a network that has not learnt consistency keeps the brightness of nearly all patterns.
CONSISTENT_STEPS = 3


def no_progress(_: float) -> None:
    """For callers who do not ask."""


class Upscaler:
    """Upscales tensors and pictures of any size.

    Args:
        net: the network, which is left as it is, in training too: a snapshot of it is taken (`for_inference`). Its
            weights must not change before the last result: for those of further training, make another `Upscaler`.
        device: see `choose_device`; None: where the network is.
        dtype: see `choose_dtype`.
        self_ensemble: average the results of the 8 flips and rotations of each picture (8 times the work).
        consistent: make the results consistent with the picture also where the network is not built for it, see
            `consistency` of `GSASR`. It believes the picture: artefacts of a JPEG come back.
        tileable: pictures go on at their opposite borders, as textures do that repeat, and so do the results.
        tf32: on CUDA devices products of float32 may round their factors to 10 bits behind the point.
        cuda_graph: on CUDA devices replay the network for pictures of a size that has come before: the same results,
            in less time where they are small.
        tile_options: `tile`, `tile_overlap` and `memory_budget`, see `TileOptions`.

    Raises:
        ValueError: see `choose_device`, `choose_dtype`, `TileOptions` and `TileOptions.tile_size`.
    """

    def __init__(
        self,
        net: GSASR,
        *,
        device: str | None = AUTO,
        dtype: str = AUTO,
        self_ensemble: bool = False,
        consistent: bool = False,
        tileable: bool = False,
        tf32: bool = True,
        cuda_graph: bool = False,
        **tile_options: Any,
    ) -> None:
        parameter = next(net.parameters())
        self.device = parameter.device if device is None else choose_device(device)
        self.dtype = choose_dtype(dtype, self.device)
        self.tf32 = tf32
        self.net = for_inference(net, cuda_graph=cuda_graph).to(self.device)
        if consistent and not self.net.consistency:
            self.net.consistency = CONSISTENT_STEPS  # of the snapshot
        self.self_ensemble = self_ensemble
        # What the network sees of a picture that repeats beyond its borders: as tiles see of their neighbours.
        self.margin = up_to_multiple(TILE_OVERLAP, self.net.padding_multiple) if tileable else 0
        self.tile_options = dataclasses.asdict(TileOptions(**tile_options))
        self.tiles((1, 1))  # whether the network can have such tiles at all

    def gaussians(self, lq: Tensor, size: Size, progress: PixelsDone = no_progress) -> Gaussians:
        """The Gaussians of LR images (B, 3, h, w), conditioned on the scale that leads to (H, W).

        Args:
            progress: called with the LR pixels done since the last call.
        """
        h, w = lq.shape[2:]
        lq = lq.to(self.device, next(self.net.parameters()).dtype)
        seen = wrapped(lq, self.margin) if self.margin else lq

        def tile_done(_: int, total: int) -> None:
            progress(h * w / total)

        with torch.inference_mode(), precision.tf32(self.tf32), autocast(self.device, self.dtype):
            scale = (size[0] / h, size[1] / w)
            gaussians = self.net.gaussians(seen, scale, progress=tile_done, **self.tile_options)
            return _of_the_inside(gaussians, lq, self.margin) if self.margin else gaussians

    def bands(self, gaussians: Gaussians, size: Size) -> Iterator[Tensor]:
        """Draws Gaussians of B images at (H, W) in bands: (B, 3, rows, W), float32, on the CPU, not clipped."""
        drawn = render_bands(gaussians, size, support=self.net.support, raster_ratio=self.net.raster_ratio)
        return (band.float().cpu() for band in each_within(torch.inference_mode, drawn))

    def draw(self, gaussians: Gaussians, size: Size) -> Tensor:
        """As `bands`, but all rows, (B, 3, H, W)."""
        return _joined(self.bands(gaussians, size), size)

    def tiles(self, lq_size: Size) -> list[Size]:
        """The sizes of the parts in which an image of (h, w) goes through the network: one, if there are no tiles."""
        seen = (lq_size[0] + 2 * self.margin, lq_size[1] + 2 * self.margin)
        with torch.inference_mode():
            return self.net.tiles(seen, **self.tile_options) or [seen]

    def passes(self, sizes: int, *, one_encoding: bool) -> int:
        """How often the network sees each picture, for that many sizes."""
        return (8 if self.self_ensemble else 1) * (1 if one_encoding else sizes)

    def drawings(
        self, lq: Tensor, sizes: Sequence[Size], *, one_encoding: bool = False, progress: PixelsDone = no_progress
    ) -> Iterator[Iterator[Tensor]]:
        """Upscales LR images to several sizes, which are drawn one after another while they are taken.

        Args:
            lq: (B, 3, h, w), RGB in 0..1, on any device.
            sizes: (H, W) of each result.
            one_encoding: draw all sizes from the Gaussians of the largest, not from those of each.
            progress: see `gaussians`.

        Returns:
            For each size the rows of (B, 3, H, W), from the top, see `bands`. With `self_ensemble` the whole image is
            in memory all the same.
        """
        largest = max(sizes, key=lambda size: size[0] * size[1])
        kept: dict[tuple[int, bool], Gaussians] = {}

        def gaussians(k: int, flip: bool, size: Size) -> Gaussians:
            if (k, flip) in kept:
                return kept[k, flip]
            made = self.gaussians(_turn(lq, k, flip), _turned(largest if one_encoding else size, k), progress)
            if one_encoding:
                kept[k, flip] = made
            return made

        for size in sizes:
            if not self.self_ensemble:
                yield self.bands(gaussians(0, False, size), size)
                continue
            turns = [(k, flip) for k in range(4) for flip in (False, True)]
            total: Tensor | int = 0
            for k, flip in turns:
                total = total + _turn_back(self.draw(gaussians(k, flip, size), _turned(size, k)), k, flip)
            assert isinstance(total, Tensor)
            yield iter((total / len(turns)).split(band_rows(size[1]), 2))

    def tensors(self, lq: Tensor, sizes: Sequence[Size], **options: Any) -> list[Tensor]:
        """As `drawings`, but for each size all rows, (B, 3, H, W)."""
        return [_joined(bands, size) for bands, size in zip(self.drawings(lq, sizes, **options), sizes)]

    def pixel_bands(
        self,
        color: np.ndarray,
        alpha: np.ndarray | None,
        sizes: Sequence[Size],
        *,
        one_encoding: bool = False,
        progress: PixelsDone = no_progress,
        fill_hidden: bool = True,
    ) -> Iterator[Iterator[Pixels]]:
        """Upscales a picture, grey or in colour, with its alpha channel.

        Alpha is enlarged by bicubic interpolation and not by the network, which has learnt photographs: what is wholly
        opaque or transparent stays exactly so, and at edges it changes as smoothly as the colours do.

        Args:
            color: (h, w, 1 or 3), float32, 0..1.
            alpha: (h, w), float32, 0..1, or None.
            sizes: see `drawings`, as are the other arguments.
            fill_hidden: see `lq_tensor`.

        Returns:
            For each size bands of rows, from the top, which are drawn while they are taken: colour (rows, W, 1 or 3),
            not clipped, and alpha (rows, W) in 0..1 or None.
        """
        wraps = self.margin > 0
        lq = lq_tensor(color, alpha if fill_hidden else None, wraps=wraps)
        drawings = self.drawings(lq, sizes, one_encoding=one_encoding, progress=progress)
        return (_with_alpha(bands, color, alpha, size, wraps) for bands, size in zip(drawings, sizes))

    def pixels(
        self,
        color: np.ndarray,
        alpha: np.ndarray | None,
        sizes: Sequence[Size],
        *,
        fill_hidden: bool = True,
        **options: Any,
    ) -> list[Pixels]:
        """As `pixel_bands`, but for each size all rows."""
        wraps = self.margin > 0
        tensors = self.tensors(lq_tensor(color, alpha if fill_hidden else None, wraps=wraps), sizes, **options)
        return [result_pixels(drawn, color, alpha, wraps=wraps) for drawn in tensors]


def lq_tensor(color: np.ndarray, alpha: np.ndarray | None = None, *, wraps: bool = False) -> Tensor:
    """What the network sees of a picture: a batch of one LR image (1, 3, h, w), 0..1.

    Args:
        color: (h, w, 1 or 3), 0..1; grey is repeated.
        alpha: (h, w), 0..1. Colours that cannot be seen are replaced by the nearest that can: they do not seep into
            the edges. None: colours stay as they are, as in textures whose alpha is something else than opacity.
        wraps: whether the picture goes on at its opposite borders.
    """
    color = color if alpha is None else with_hidden_filled(color, alpha, wraps=wraps)
    return torch.from_numpy(np.ascontiguousarray(color)).permute(2, 0, 1)[None].expand(-1, 3, -1, -1)


def result_pixels(drawn: Tensor, color: np.ndarray, alpha: np.ndarray | None, *, wraps: bool = False) -> Pixels:
    """What is drawn of a picture (1, 3, H, W) as `Upscaler.pixels` gives it; the other arguments are of the picture."""
    (pixels,) = _with_alpha([drawn], color, alpha, (drawn.shape[2], drawn.shape[3]), wraps)
    return pixels


def _with_alpha(
    bands: Iterable[Tensor], color: np.ndarray, alpha: np.ndarray | None, size: Size, wraps: bool
) -> Iterator[Pixels]:
    """Bands of one image (1, 3, rows, W) as colour and alpha."""
    first = 0
    for band in bands:
        rows = band.shape[2]
        drawn = band.mean(1, keepdim=True) if color.shape[2] == 1 else band
        large_alpha = None if alpha is None else _enlarged_alpha(alpha, size, first, rows, wraps)
        yield drawn[0].permute(1, 2, 0).numpy(), large_alpha
        first += rows


def _enlarged_alpha(alpha: np.ndarray, size: Size, first: int, rows: int, wraps: bool) -> np.ndarray:
    """Some rows of it, from the first on."""
    # In float64, where the sum of the weights is so near to one that opaque stays opaque in 16 bits too.
    exact = torch.from_numpy(alpha.astype(np.float64))[None, None]
    scale = (size[0] / alpha.shape[0], size[1] / alpha.shape[1])
    grid = Grid((rows, size[1]), scale, (first / scale[0], 0.0))
    return drawn_on(exact, grid, wraps=wraps)[0, 0].clamp(0, 1).float().numpy()


def _of_the_inside(gaussians: Gaussians, lq: Tensor, margin: int) -> Gaussians:
    """Of Gaussians of images with such a margin, those of the images `lq`, which go on at their opposite borders."""
    completion = gaussians.completion and dataclasses.replace(gaussians.completion, lq=lq, wraps=True)
    size = (lq.shape[2], lq.shape[3])
    return dataclasses.replace(gaussians, means=gaussians.means - margin, lq_size=size, completion=completion)


def _joined(bands: Iterable[Tensor], size: Size) -> Tensor:
    """The rows of (B, C, H, W)."""
    whole, end = None, 0
    for band in bands:
        if band.shape[2] == size[0]:
            return band
        whole = band.new_empty(*band.shape[:2], *size) if whole is None else whole
        first, end = end, end + band.shape[2]
        whole[:, :, first:end] = band
    assert whole is not None and end == size[0]
    return whole


def _turned(size: Size, k: int) -> Size:
    return (size[1], size[0]) if k % 2 else size


def _turn(x: Tensor, k: int, flip: bool) -> Tensor:
    """Rotates (B, C, h, w) by k quarters, then mirrors it if `flip`."""
    x = torch.rot90(x, k, (2, 3))
    return x.flip(3) if flip else x


def _turn_back(x: Tensor, k: int, flip: bool) -> Tensor:
    return torch.rot90(x.flip(3) if flip else x, -k, (2, 3))
