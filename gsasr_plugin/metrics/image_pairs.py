"""From BasicSR's 8-bit images to batches that the metrics' networks read."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

# The most pixels of a batch: the first maps of VGG16 then take 1 GiB.
BATCH_PIXELS = 1 << 22

Metric = TypeVar('Metric', bound=Callable[..., Any])


def network_metric(metric: Metric) -> Metric:
    """Marks a metric as a network of ours: `img` may be a list of images, and `device` says where to compute."""
    metric.is_network_metric = True  # type: ignore[attr-defined]
    return metric


def is_network_metric(metric: Callable[..., Any]) -> bool:
    """Whether a metric is marked so; a parameter that only has the name `device` may mean anything."""
    return getattr(metric, 'is_network_metric', False)


def compare(
    build: Callable[[], nn.Module],
    img: np.ndarray | Sequence[np.ndarray],
    img2: np.ndarray,
    *,
    crop_border: int,
    input_order: str,
    device: str,
    least_side: int,
) -> float | list[float]:
    """The distance of one or several images to another.

    Args:
        build: gives the network, which takes images (K, 3, H, W) and another (1, 3, H, W), RGB in 0..1, to K distances.
        img: uint8 image, BGR, or K of them.
        img2: the image that they are compared with, of the same size.
        crop_border: pixels to leave out at each border.
        input_order: 'HWC' or 'CHW'.
        device: where the network is.
        least_side: the fewest rows and columns that the network can read.

    Returns:
        A number, or K of them for a list.

    Raises:
        ValueError: the sizes differ or are too small.
    """
    given = [img] if isinstance(img, np.ndarray) else img
    images = [_cropped(image, crop_border, input_order) for image in given]
    other = _cropped(img2, crop_border, input_order)
    for image in images:
        if image.shape != other.shape:
            raise ValueError(f'images of {image.shape} and {other.shape} (rows, columns, channels) cannot be compared')
    height, width = other.shape[:2]
    if min(height, width) < least_side:
        raise ValueError(
            f'images of {height} x {width} pixels, without the border of {crop_border}, are too small for this '
            f'metric: {least_side} x {least_side} at least'
        )
    network = build()
    reference = _to_tensor(other, device)
    together = max(1, BATCH_PIXELS // (height * width) - 1)
    values: list[float] = []
    # TF32, torch's default for convolutions on GPUs, would change the third digit.
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for start in range(0, len(images), together):
            batch = torch.cat([_to_tensor(image, device) for image in images[start : start + together]])
            values += network(batch, reference).tolist()
    return values[0] if isinstance(img, np.ndarray) else values


def _cropped(image: np.ndarray, border: int, input_order: str) -> np.ndarray:
    if input_order not in ('HWC', 'CHW'):
        raise ValueError(f"input_order must be 'HWC' or 'CHW', got {input_order!r}")
    image = image if input_order == 'HWC' else image.transpose(1, 2, 0)
    return image[border : image.shape[0] - border, border : image.shape[1] - border]


def _to_tensor(image: np.ndarray, device: str) -> Tensor:
    """(H, W, 3) BGR, 0..255 -> (1, 3, H, W) RGB, 0..1."""
    rgb = torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)))
    return rgb[None].to(device).float() / 255
