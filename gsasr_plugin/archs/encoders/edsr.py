"""EDSR up to its up-sampler.

B. Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR workshops 2017. Parameters have
the names, the order and the initialization of BasicSR's EDSR, whose checkpoints fit after the up-sampler's keys are
left out; it stands here because the packaged model needs it, and BasicSR takes seconds to import.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class EDSRFeatures(nn.Module):
    """EDSR up to its up-sampler. The defaults are EDSR-baseline as the released GSASR models use it.

    Args:
        num_feat: channels of the features.
        num_block: residual blocks.
        res_scale: factor of each block's residual.
        img_range: factor of the input, after the mean is taken off (BasicSR's default is 255).
        rgb_mean: mean colour that is taken off the input, in 0..1 (BasicSR's default is DIV2K's).
        global_skip: add the features of the first convolution to those of the last, as the paper and BasicSR do. The
            released models have no such skip: their features are met to 1e-6 without it and missed by 4 % with it
            (tests/golden/encoder_edsr.npz).
    """

    mean: Tensor

    def __init__(
        self,
        *,
        num_feat: int = 64,
        num_block: int = 16,
        res_scale: float = 1.0,
        img_range: float = 1.0,
        rgb_mean: tuple[float, float, float] = (0.0, 0.0, 0.0),
        global_skip: bool = False,
    ):
        super().__init__()
        self.img_range = img_range
        self.global_skip = global_skip
        add_mean(self, rgb_mean)
        self.conv_first = nn.Conv2d(3, num_feat, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(num_feat, res_scale) for _ in range(num_block)))
        self.conv_after_body = nn.Conv2d(num_feat, num_feat, 3, padding=1)

    def forward(self, lq: Tensor) -> Tensor:
        """LR image B x 3 x h x w (0..1) -> features B x num_feat x h x w."""
        shallow = self.conv_first((lq - self.mean) * self.img_range)  # B x num_feat x h x w
        deep = self.conv_after_body(self.body(shallow))
        return deep + shallow if self.global_skip else deep


class ResidualBlock(nn.Module):
    """The paper's block, without normalization: x + res_scale * conv(relu(conv(x)))."""

    def __init__(self, num_feat: int, res_scale: float):
        super().__init__()
        self.res_scale = res_scale
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            y = self.conv2(F.relu(self.conv1(x)))
            # The first operand decides in which order the sum lies in memory: that in which convolutions leave it.
            return (y if self.res_scale == 1 else y * self.res_scale) + x
        y = self.conv2(self.conv1(x).relu_())  # the same in place: the memory is in the cache
        return (y if self.res_scale == 1 else y.mul_(self.res_scale)).add_(x)


def add_mean(net: nn.Module, rgb_mean: Sequence[float]) -> None:
    """Give a network the mean colour ``mean`` (1 x 3 x 1 x 1): a buffer, which follows it, outside its state dict."""
    net.register_buffer('mean', torch.tensor(rgb_mean, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)
