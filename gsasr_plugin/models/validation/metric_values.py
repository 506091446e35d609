"""The metrics of one image, as `val.metrics` names them: BasicSR's, ours and other plugins'."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from basicsr.metrics import calculate_metric
from basicsr.utils.registry import METRIC_REGISTRY

from gsasr_plugin.metrics.backbone import LEAST_SIDE
from gsasr_plugin.metrics.image_pairs import is_network_metric
from gsasr_plugin.sizes import Scale, Size

MAX_CROP_BORDER = 8  # the paper's protocol: s pixels, 8 above x8
# The least sides of an image, the shorter and the longer, of which BasicSR's metrics make a number: SSIM's window, and
# the two blocks that NIQE has to see.
_LEAST_SIDES = {'calculate_ssim': (11, 11), 'calculate_niqe': (96, 192)}


def crop_border(scale: Scale) -> int:
    """The border that the metrics leave out: the scale, rounded up where it is not an integer, at most 8 pixels."""
    return min(MAX_CROP_BORDER, math.ceil(max(scale) - 1e-6))


def needs_gt(metric: Callable[..., Any]) -> bool:
    """Whether a registered metric compares with ground truth; others judge an image alone."""
    reference = inspect.signature(metric).parameters.get('img2')
    return reference is not None and reference.default is inspect.Parameter.empty


def computed(metrics: Mapping[str, Mapping[str, Any]], *, with_gt: bool) -> dict[str, Mapping[str, Any]]:
    """Those of `val.metrics` that images with or without ground truth have."""
    return {
        name: options
        for name, options in metrics.items()
        if with_gt or not needs_gt(METRIC_REGISTRY.get(options['type']))
    }


def size_fault(metric: Mapping[str, Any], size: Size, scale: Scale) -> str | None:
    """Why a metric cannot be computed of an image (H, W), for anything that its size says, or None.

    Args:
        metric: its entry in `val.metrics`.
        size: (H, W) in pixels.
        scale: the nominal scale.
    """
    border = _border(metric, scale)
    left = sorted(length - 2 * border for length in size)
    where = f'an image of {size[0]} x {size[1]} pixels'
    if left[0] <= 0:
        return f'a border of {border} pixels is left out, and all of {where}'
    least = _LEAST_SIDES.get(metric['type'], (1, 1))
    if metric['type'] == 'calculate_lpips':
        least = (LEAST_SIDE[metric.get('net', 'alex')],) * 2
    if any(length < shortest for length, shortest in zip(left, least)):
        return f'{least[0]} x {least[1]} pixels are needed, without a border of {border}, and this is {where}'
    return None


def measure(
    metric: Mapping[str, Any], images: Sequence[np.ndarray], gt: np.ndarray | None, *, scale: Scale, device: str
) -> list[float]:
    """One metric of each of several images.

    Args:
        metric: its entry in `val.metrics`: type and options, where `crop_border: auto` follows the scale.
        images: (H, W, 3), BGR, uint8.
        gt: the image to compare with, of the same size, or None.
        scale: the nominal scale.
        device: where our metrics that are networks compute.

    Raises:
        ValueError: the images are too small, or the metric is not a number. A metric may raise anything.
    """
    function = METRIC_REGISTRY.get(metric['type'])
    options = dict(metric)
    if 'crop_border' in options:
        options['crop_border'] = _border(metric, scale)
    fault = size_fault(metric, images[0].shape[:2], scale)
    if fault is not None:
        raise ValueError(fault)
    if 'better' in options and not _takes(function, 'better'):
        del options['better']  # for whoever looks for the best value
    reference = {'img2': gt} if gt is not None and _takes(function, 'img2') else {}
    if is_network_metric(function):
        values = calculate_metric({'img': list(images), **reference}, {'device': device, **options})
    else:
        values = [calculate_metric({'img': image, **reference}, options) for image in images]
    values = [float(value) for value in values]
    if any(math.isnan(value) for value in values):
        raise ValueError('the result is not a number')
    return values


def build_network_metrics(metrics: Mapping[str, Mapping[str, Any]], device: str) -> None:
    """Builds those of our metrics that are networks, so that what they lack is known before anything is computed."""
    image = np.zeros((64, 64, 3), np.uint8)
    for metric in metrics.values():
        if is_network_metric(METRIC_REGISTRY.get(metric['type'])):
            measure({**metric, 'crop_border': 0}, [image], image, scale=(1, 1), device=device)


def _border(metric: Mapping[str, Any], scale: Scale) -> int:
    border = metric.get('crop_border', 0)
    return crop_border(scale) if border == 'auto' else border


def _takes(function: Callable[..., Any], name: str) -> bool:
    parameters = inspect.signature(function).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
