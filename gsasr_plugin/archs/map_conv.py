"""3 x 3 convolutions and pixel shuffles of maps, (B, h, w, d)."""

from __future__ import annotations

from torch import Tensor, nn


class MapConv(nn.Conv2d):
    """3 x 3 convolution with zeros around, (B, h, w, in_channels) to (B, h, w, out_channels).

    Args:
        in_channels, out_channels: widths.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Convolves a map."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class MapShuffle(nn.PixelShuffle):
    """Pixel shuffle, (B, h, w, r * r * d) to (B, r * h, r * w, d)."""

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges a map."""
        if self.upscale_factor == 1:
            return x
        if x.device.type == 'cpu':
            return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.shuffled(x, self.upscale_factor)

    @staticmethod
    def shuffled(x: Tensor, r: int) -> Tensor:
        """The same on GPUs, where PyTorch's own would leave planes, and whoever comes next make maps of them again."""
        return x.unflatten(-1, (-1, r, r)).permute(0, 1, 4, 2, 5, 3).flatten(3, 4).flatten(1, 2)
