"""A network that is ready to work: on its device, in its precision, and with the averages of a self-ensemble.

Letters: B images, h x w LR size, H x W output size.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gsasr_plugin import precision
from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.consistency import resized
from gsasr_plugin.archs.gaussians import Gaussians
from gsasr_plugin.archs.inference import for_inference
from gsasr_plugin.archs.padding import up_to_multiple, wrapped
from gsasr_plugin.archs.tile_options import TILE_OVERLAP, TileOptions
from gsasr_plugin.precision import autocast
from gsasr_plugin.sizes import Size
from gsasr_plugin.upscaling.hardware import AUTO, choose_device, choose_dtype

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

    def draw(self, gaussians: Gaussians, size: Size) -> Tensor:
        """Draws Gaussians of B images at (H, W): (B, 3, H, W), float32, on the CPU, not clipped."""
        with torch.inference_mode():
            drawn = self.net.render(gaussians, size)
        assert isinstance(drawn, Tensor)
        return drawn.float().cpu()

    def tiles(self, lq_size: Size) -> list[Size]:
        """The sizes of the parts in which an image of (h, w) goes through the network: one, if there are no tiles."""
        seen = (lq_size[0] + 2 * self.margin, lq_size[1] + 2 * self.margin)
        with torch.inference_mode():
            return self.net.tiles(seen, **self.tile_options) or [seen]

    def passes(self, sizes: int, *, one_encoding: bool) -> int:
        """How often the network sees each picture, for that many sizes."""
        return (8 if self.self_ensemble else 1) * (1 if one_encoding else sizes)

    def tensors(
        self, lq: Tensor, sizes: Sequence[Size], *, one_encoding: bool = False, progress: PixelsDone = no_progress
    ) -> list[Tensor]:
        """Upscales LR images to several sizes.

        Args:
            lq: (B, 3, h, w), RGB in 0..1, on any device.
            sizes: (H, W) of each result.
            one_encoding: draw all sizes from the Gaussians of the largest, not from those of each.
            progress: see `gaussians`.

        Returns:
            For each size (B, 3, H, W), float32, on the CPU, not clipped.
        """
        sums: dict[int, Tensor] = {}
        turns = [(k, flip) for k in range(4) for flip in (False, True)] if self.self_ensemble else [(0, False)]
        for k, flip in turns:
            turned = _turn(lq, k, flip)
            turned_sizes = [(W, H) if k % 2 else (H, W) for H, W in sizes]
            gaussians = None
            for i, size in enumerate(turned_sizes):
                if gaussians is None or not one_encoding:
                    largest = max(turned_sizes, key=lambda size: size[0] * size[1])
                    gaussians = self.gaussians(turned, largest if one_encoding else size, progress)
                drawn = _turn_back(self.draw(gaussians, size), k, flip)
                sums[i] = sums[i] + drawn if i in sums else drawn
        return [total / len(turns) for total in sums.values()]

    def pixels(
        self,
        color: np.ndarray,
        alpha: np.ndarray | None,
        sizes: Sequence[Size],
        *,
        one_encoding: bool = False,
        progress: PixelsDone = no_progress,
        fill_hidden: bool = True,
    ) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """Upscales a picture, grey or in colour, with its alpha channel.

        Alpha is enlarged by bicubic interpolation and not by the network, which has learnt photographs: what is wholly
        opaque or transparent stays exactly so, and at edges it changes as smoothly as the colours do.

        Args:
            color: (h, w, 1 or 3), float32, 0..1.
            alpha: (h, w), float32, 0..1, or None.
            sizes: see `tensors`, as are the other arguments.
            fill_hidden: see `lq_tensor`.

        Returns:
            For each size colour (H, W, 1 or 3), not clipped, and alpha (H, W) in 0..1 or None.
        """
        wraps = self.margin > 0
        lq = lq_tensor(color, alpha if fill_hidden else None, wraps=wraps)
        tensors = self.tensors(lq, sizes, one_encoding=one_encoding, progress=progress)
        return [result_pixels(drawn, color, alpha, wraps=wraps) for drawn in tensors]


def lq_tensor(color: np.ndarray, alpha: np.ndarray | None = None, *, wraps: bool = False) -> Tensor:
    """What the network sees of a picture: a batch of one LR image (1, 3, h, w), 0..1.

    Args:
        color: (h, w, 1 or 3), 0..1; grey is repeated.
        alpha: (h, w), 0..1. Colours that cannot be seen are replaced by the nearest that can: they do not seep into
            the edges. None: colours stay as they are, as in textures whose alpha is something else than opacity.
        wraps: whether the picture goes on at its opposite borders.
    """
    if alpha is not None and (alpha == 0).any() and (alpha > 0).any():
        from scipy import ndimage

        (h, w), hidden = alpha.shape, alpha == 0
        around = (h // 2, w // 2) if wraps else (0, 0)  # nothing that repeats is further away
        hidden = np.pad(hidden, [(length, length) for length in around], 'wrap')
        nearest = ndimage.distance_transform_edt(hidden, return_distances=False, return_indices=True)
        rows, columns = nearest[:, around[0] : around[0] + h, around[1] : around[1] + w]
        color = color[(rows - around[0]) % h, (columns - around[1]) % w]
    return torch.from_numpy(np.ascontiguousarray(color)).permute(2, 0, 1)[None].expand(-1, 3, -1, -1)


def result_pixels(
    drawn: Tensor, color: np.ndarray, alpha: np.ndarray | None, *, wraps: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """What is drawn of a picture (1, 3, H, W) as `Upscaler.pixels` gives it; the other arguments are of the picture."""
    drawn = drawn.mean(1, keepdim=True) if color.shape[2] == 1 else drawn
    large_alpha = None if alpha is None else _enlarged_alpha(alpha, (drawn.shape[2], drawn.shape[3]), wraps)
    return drawn[0].permute(1, 2, 0).numpy(), large_alpha


def _enlarged_alpha(alpha: np.ndarray, size: Size, wraps: bool) -> np.ndarray:
    # In float64, where the sum of the weights is so near to one that opaque stays opaque in 16 bits too.
    exact = torch.from_numpy(alpha.astype(np.float64))[None, None]
    return resized(exact, size, wraps=wraps)[0, 0].clamp(0, 1).float().numpy()


def _of_the_inside(gaussians: Gaussians, lq: Tensor, margin: int) -> Gaussians:
    """Of Gaussians of images with such a margin, those of the images `lq`, which go on at their opposite borders."""
    completion = gaussians.completion and dataclasses.replace(gaussians.completion, lq=lq, wraps=True)
    size = (lq.shape[2], lq.shape[3])
    return dataclasses.replace(gaussians, means=gaussians.means - margin, lq_size=size, completion=completion)


def _turn(x: Tensor, k: int, flip: bool) -> Tensor:
    """Rotates (B, C, h, w) by k quarters, then mirrors it if `flip`."""
    x = torch.rot90(x, k, (2, 3))
    return x.flip(3) if flip else x


def _turn_back(x: Tensor, k: int, flip: bool) -> Tensor:
    return torch.rot90(x.flip(3) if flip else x, -k, (2, 3))
