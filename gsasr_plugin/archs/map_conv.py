"""Convolutions of maps of embeddings, (B, h, w, d): by a kernel of gsasr_ops where that is faster."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import gsasr_ops
from gsasr_plugin.archs.linear import cpu_dtype, is_fused


class MapConv(nn.Conv2d):
    """3 x 3 convolution with zeros around, (B, h, w, in_channels) to (B, h, w, out_channels).

    Args:
        in_channels, out_channels: widths.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Convolves a map, and adds another one of the results' shape."""
        if is_fused(x):
            operands = cpu_dtype(x)
            dtype = operands if residual is None else torch.float32
            return gsasr_ops.convolution(x, self.weight, self.bias, residual=residual, operands=operands, dtype=dtype)
        y = super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return y if residual is None else residual + y


class MapShuffle(nn.PixelShuffle):
    """Pixel shuffle, (B, h, w, r * r * d) to (B, r * h, r * w, d)."""

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges a map."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
