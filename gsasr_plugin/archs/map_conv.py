"""3 x 3 convolutions, by a kernel of gsasr_ops where that is faster: of maps, (B, h, w, d), and of planes."""

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
            assert self.bias is not None
            operands = cpu_dtype(x)
            dtype = operands if residual is None else torch.float32
            return gsasr_ops.convolution(x, self.weight, self.bias, residual=residual, operands=operands, dtype=dtype)
        y = super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return y if residual is None else residual + y


class PlaneConv(MapConv):
    """The same of planes, (B, in_channels, h, w) to (B, out_channels, h, w)."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Convolves planes. From then on their channels lie side by side in memory."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


# Of fewer channels the transformations of the kernel cost more than they save.
LEAST_CHANNELS = 16


def convolve_by_kernel(net: nn.Module) -> None:
    """Makes each 3 x 3 convolution of a network a `PlaneConv`, in place: the same parameters and results.

    Those with strides, dilation, groups, other padding or fewer than 16 input channels stay as they are, and so do
    subclasses of nn.Conv2d.
    """
    for module in net.modules():
        if type(module) is nn.Conv2d and (
            module.kernel_size == (3, 3)
            and module.stride == (1, 1)
            and module.padding == (1, 1)
            and module.dilation == (1, 1)
            and module.groups == 1
            and module.padding_mode == 'zeros'
            and module.bias is not None
            and module.in_channels >= LEAST_CHANNELS
        ):
            module.__class__ = PlaneConv


class MapShuffle(nn.PixelShuffle):
    """Pixel shuffle, (B, h, w, r * r * d) to (B, r * h, r * w, d)."""

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges a map."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
