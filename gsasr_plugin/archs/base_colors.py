"""What of the LR image the colours of the Gaussians are relative to.

Either colours to start from, those with which a regular grid of Gaussians draws a bicubic enlargement of the LR image,
or the unit in which colours are measured that are added to such an enlargement.

Letters: B images, h x w LR size, N = k * h * k * w Gaussians.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# Colours stay this far inside (0, 1), half an 8-bit level, so that their logits stay finite and can still be moved.
MARGIN = 0.5 / 255
# What the blur takes, per pass: of the LR image's finest detail, 36 % is lost without, 2 % after three (sigma 0.3).
DEBLUR_PASSES = 3


def _blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian filter of (B, C, H, W), sigma in pixels, edges replicated."""
    radius = math.ceil(4 * sigma)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=x.dtype) / sigma) ** 2)
    weights = (taps / taps.sum()).tolist()
    for axis, padding in ((3, (radius, radius, 0, 0)), (2, (0, 0, radius, radius))):
        # The sum as it stands: convolutions of PyTorch's take ten times as long for three channels.
        length, padded = x.shape[axis], F.pad(x, padding, mode='replicate')
        x = padded.narrow(axis, 0, length) * weights[0]
        for i, weight in enumerate(weights[1:], 1):
            x.add_(padded.narrow(axis, i, length), alpha=weight)
    return x


def base_colors(lq: Tensor, density_per_axis: int, sigma: float | None) -> Tensor:
    """The logits of the colours at the reference points.

    Args:
        lq: LR images, (B, 3, h, w), in 0..1.
        density_per_axis: k, for k * k Gaussians per LR pixel.
        sigma: the deviation at which the Gaussians start, in LR pixels; their blur is then undone beforehand.

    Returns:
        (B, N, 3) in raster order, N = k * h * k * w.
    """
    k = density_per_axis
    lq = lq.float() if lq.dtype != torch.float64 else lq
    enlarged = F.interpolate(lq, scale_factor=k, mode='bicubic', align_corners=False) if k > 1 else lq
    colors = enlarged
    if sigma is not None:
        for _ in range(DEBLUR_PASSES):
            colors = colors + (enlarged - _blur(colors, k * sigma))
    return torch.logit(colors.clamp(MARGIN, 1 - MARGIN)).flatten(2).transpose(1, 2)


def local_contrast(lq: Tensor, density_per_axis: int) -> Tensor:
    """How much the colours vary around each reference point: 0 where the LR image is flat.

    Args:
        lq: LR images, (B, 3, h, w).
        density_per_axis: k, for k * k Gaussians per LR pixel.

    Returns:
        Maximum less minimum over the 3 x 3 neighbourhood of the LR pixel, of the channel where that is largest:
        (B, N, 1) in raster order.
    """
    k = density_per_axis
    lq = lq.float() if lq.dtype != torch.float64 else lq
    largest, smallest = (F.max_pool2d(x, 3, stride=1, padding=1) for x in (lq, -lq))
    contrast = (largest + smallest).amax(1)  # (B, h, w)
    return contrast.repeat_interleave(k, 1).repeat_interleave(k, 2).flatten(1)[..., None]
