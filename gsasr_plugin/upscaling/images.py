"""`upscale`: one function for NumPy arrays, Pillow images and tensors, that gives back what it got, larger."""

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.tile_options import TileOptions
from gsasr_plugin.checkpoints.loading import load
from gsasr_plugin.checkpoints.model_file import PathLike
from gsasr_plugin.sizes import Size, output_sizes
from gsasr_plugin.upscaling.estimate import results_beyond_memory
from gsasr_plugin.upscaling.hardware import AUTO
from gsasr_plugin.upscaling.pictures.reading import from_pillow
from gsasr_plugin.upscaling.pictures.writing import to_pillow
from gsasr_plugin.upscaling.upscaler import Upscaler

AnyImage = TypeVar('AnyImage', np.ndarray, Image.Image, Tensor)


def upscale(
    image: AnyImage,
    *,
    scale: float | tuple[float, float] | None = None,
    size: Size | None = None,
    model: GSASR | PathLike | Sequence[PathLike] | None = None,
    device: str | None = None,
    dtype: str = AUTO,
    self_ensemble: bool = False,
    consistent: bool = False,
    tileable: bool = False,
    fill_hidden: bool = True,
    **tile_options: Any,
) -> AnyImage:
    """Upscales one image (tensors: or a batch). Give one of `scale` and `size`.

    Args:
        image: a NumPy array (H, W) or (H, W, channels) of grey, grey and alpha, RGB or RGBA: uint8, uint16, or floats
            in 0..1; an image of Pillow's; or a tensor (3, h, w), (1, h, w) or with a batch dimension in front, uint8 or
            floats in 0..1.
        scale: a number, or a tuple (rows, columns).
        size: (H, W).
        model: a network, or what `gsasr_plugin.load` takes; a network that is kept is read only once. It may be in
            training, and is left as it is, in its modes and on its device: a snapshot computes, in evaluation mode.
        device: 'auto', 'cpu', 'cuda', ...; None: where a given network is, else 'auto'.
        dtype: 'auto', 'float32', 'bf16' or 'fp16', of encoder and decoder.
        self_ensemble: average over the 8 flips and rotations.
        consistent, tileable: see `Upscaler`.
        fill_hidden: whether colours that are wholly transparent are replaced by the nearest visible ones.
        tile_options: see `Upscaler`.

    Returns:
        An image of the same kind, type and device. Integers are rounded and clipped, floats are neither. An image of
        Pillow's keeps its profile and EXIF data; of 16 bits those of grey; a palette becomes RGB.

    Raises:
        ValueError: an image of another form, with numbers that are none or floats beyond 0..1, or a scale, size, model,
            device or type that is not accepted.
        TypeError: no image, or an argument of another type.
        MemoryError: the result does not fit into memory; the message has the numbers.
    """
    _check_arguments(image, scale, size, model, tile_options)
    net = model if isinstance(model, GSASR) else load(model)
    where = device if device is not None or isinstance(model, GSASR) else AUTO
    ways = {'self_ensemble': self_ensemble, 'consistent': consistent, 'tileable': tileable}
    upscaler = Upscaler(net, device=where, dtype=dtype, **ways, **tile_options)

    def target(lq_size: Size) -> Size:
        H, W = output_sizes(lq_size, 1, scale, size)[0]
        if lq_size[0] > H or lq_size[1] > W:
            raise ValueError(f'size {(H, W)} is smaller than that of image, {tuple(lq_size)}: GSASR enlarges')
        _check_memory(upscaler, lq_size, (H, W))
        return H, W

    if isinstance(image, Tensor):
        return _upscale_tensor(upscaler, image, target)
    if isinstance(image, Image.Image):
        return _upscale_pillow(upscaler, image, target, fill_hidden)
    return _upscale_array(upscaler, image, target, fill_hidden)


def _check_arguments(image: Any, scale: Any, size: Any, model: Any, tile_options: dict[str, Any]) -> None:
    """Types, and that the image enlarges; what the values must be beyond that is said where they are used."""
    if not isinstance(image, np.ndarray | Image.Image | Tensor):
        raise TypeError(f'image must be a NumPy array, an image of Pillow or a tensor, got {type(image).__name__}')
    factors = scale if isinstance(scale, tuple | list) else () if scale is None else (scale,)
    if any(isinstance(x, bool) or not isinstance(x, int | float | np.number) for x in factors):
        raise TypeError(f'scale must be a number or a tuple of two, got {scale!r}')
    if any(not 1 <= x < math.inf for x in factors):
        raise ValueError(f'scale must be 1 or more, got {scale!r}: GSASR enlarges')
    sides = size if isinstance(size, tuple | list) else (None,) if size is not None else (1, 1)
    if len(sides) != 2 or any(isinstance(x, bool) or not isinstance(x, int | np.integer) for x in sides):
        raise TypeError(f'size must be a tuple of two whole numbers (H, W), got {size!r}')
    known = (GSASR, str, os.PathLike)
    if not (model is None or isinstance(model, known) or _all_are(model, (str, os.PathLike))):
        raise TypeError(f'model must be a network, a name, a path or a list of these, got {model!r}')
    unknown = sorted(set(tile_options) - {field.name for field in dataclasses.fields(TileOptions)})
    if unknown:
        raise TypeError(f'upscale() has no argument {", ".join(unknown)}')


def _all_are(values: Any, types: tuple[type, ...]) -> bool:
    return isinstance(values, tuple | list) and len(values) > 0 and all(isinstance(value, types) for value in values)


def _check_memory(upscaler: Upscaler, lq_size: Size, size: Size) -> None:
    problem = results_beyond_memory(upscaler, lq_size, [(size, 'PNG')], kept=True)
    if problem:
        raise MemoryError(f'a result of {size[1]} x {size[0]} pixels: {problem}')


def _check_range(lowest: float, highest: float) -> None:
    if not (lowest >= 0 and highest <= 1):  # NaN is neither
        raise ValueError(
            f'image must hold floats in 0..1, and holds {lowest:g} to {highest:g}: divide (levels by 255), clip '
            'or replace what is beyond'
        )


def _upscale_tensor(upscaler: Upscaler, image: Tensor, target: Any) -> Tensor:
    if image.ndim not in (3, 4) or image.shape[-3] not in (1, 3) or 0 in image.shape:
        raise ValueError(f'image must be a tensor ([B,] 3 or 1, h, w), got {tuple(image.shape)}')
    if not (image.is_floating_point() or image.dtype == torch.uint8):
        raise ValueError(f'image must be a tensor of uint8 or floats, got {image.dtype}')
    if image.is_floating_point():
        _check_range(float(image.min()), float(image.max()))
    lq = image.float() if image.is_floating_point() else image.float() / 255
    channels = image.shape[-3]
    lq = lq.reshape(-1, channels, *image.shape[-2:]).expand(-1, 3, -1, -1)
    size = target(tuple(image.shape[-2:]))
    (large,) = upscaler.tensors(lq, [size])
    large = large if channels == 3 else large.mean(1, keepdim=True)
    large = large.reshape(*image.shape[:-2], *size)
    if image.dtype == torch.uint8:
        large = (large.clamp(0, 1) * 255).round()
    return large.to(image.device, image.dtype)


def _upscale_array(upscaler: Upscaler, image: np.ndarray, target: Any, fill_hidden: bool) -> np.ndarray:
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or not 1 <= channels <= 4 or image.size == 0:
        raise ValueError(f'image must be an array (H, W) or (H, W, 1 to 4 channels), got {image.shape}')
    is_float = np.issubdtype(image.dtype, np.floating)
    if not is_float and image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f'image must be an array of uint8, uint16 or floats in 0..1, got {image.dtype}')
    if is_float:
        _check_range(float(image.min()), float(image.max()))
    top = np.float32(1 if is_float else np.iinfo(image.dtype).max)
    pixels = image.astype(np.float32).reshape(*image.shape[:2], channels) / top
    color, alpha = (pixels[..., :-1], pixels[..., -1]) if channels in (2, 4) else (pixels, None)
    ((large, large_alpha),) = upscaler.pixels(color, alpha, [target(image.shape[:2])], fill_hidden=fill_hidden)
    large = large if large_alpha is None else np.dstack([large, large_alpha])
    large = large if is_float else np.rint(large.clip(0, 1) * top)
    return np.ascontiguousarray(large.reshape(*large.shape[:2], *image.shape[2:]), image.dtype)


def _upscale_pillow(upscaler: Upscaler, image: Image.Image, target: Any, fill_hidden: bool) -> Image.Image:
    picture = from_pillow(image)
    sizes = [target(picture.size)]
    ((color, alpha),) = upscaler.pixels(picture.color, picture.alpha, sizes, fill_hidden=fill_hidden)
    if picture.bits == 16:
        return Image.fromarray(np.rint(color[..., 0].clip(0, 1) * 65535).astype(np.uint16))
    metadata = picture.metadata.of_size(color.shape[:2])
    large = to_pillow(dataclasses.replace(picture, color=color, alpha=alpha))
    for key, value in (('icc_profile', metadata.icc), ('exif', metadata.exif), ('dpi', metadata.dpi)):
        if value is not None:
            large.info[key] = value
    return large
