"""The metrics of one image, as `val.metrics` names them: BasicSR's, ours and other plugins'."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from basicsr.metrics import calculate_metric
from basicsr.utils.registry import METRIC_REGISTRY

from gsasr_plugin.metrics.image_pairs import is_network_metric
from gsasr_plugin.sizes import Scale

MAX_CROP_BORDER = 8  # the paper's protocol: s pixels, 8 above x8


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
        ValueError: the border leaves nothing of the images, or the metric is not a number. A metric may raise anything.
    """
    function = METRIC_REGISTRY.get(metric['type'])
    options = dict(metric)
    if options.get('crop_border') == 'auto':
        options['crop_border'] = crop_border(scale)
    border, (height, width) = options.get('crop_border', 0), images[0].shape[:2]
    if 2 * border >= min(height, width):
        raise ValueError(f'a border of {border} pixels is left out, and all of an image of {height} x {width} pixels')
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


def _takes(function: Callable[..., Any], name: str) -> bool:
    parameters = inspect.signature(function).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
