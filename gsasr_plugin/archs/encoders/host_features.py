"""The host's convolutional networks, cut off before their up-samplers.

Each class is the host's own, built by its own constructor, so that blocks, initialization and parameter names stay the
host's: a checkpoint of the host's network fits after its up-sampler's keys are left out. The up-sampler's modules are
deleted, for parameters without gradient would sit in the optimizer, the EMA and the checkpoints, and stop
DistributedDataParallel. Arguments keep the host's names, without those of the up-sampler (upscale, num_out_ch) and
num_in_ch, always 3 here.
"""

from collections.abc import Sequence
from typing import Literal

from basicsr.archs.arch_util import pixel_unshuffle
from basicsr.archs.rcan_arch import RCAN
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srresnet_arch import MSRResNet
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from torch import Tensor, nn
from torch.nn import functional as F

from gsasr_plugin.archs.encoders.edsr import add_mean

# Mean of the DIV2K training images, as the host states it.
DIV2K_MEAN = (0.4488, 0.4371, 0.4040)


class RCANFeatures(RCAN):
    """RCAN up to its global skip.

    Args:
        num_feat: channels of the features.
        num_group: residual groups.
        num_block: channel attention blocks of a group.
        squeeze_factor: num_feat over the hidden channels of the channel attention.
        res_scale: factor of each block's residual.
        img_range: factor of the input, after the mean is taken off. Here 1, so that the features that the decoder sees
            are of the size of those of the other encoders; BasicSR's default, 255, fits its checkpoints.
        rgb_mean: mean colour that is taken off the input, in 0..1.

    Raises:
        ValueError: squeeze_factor exceeds num_feat.
    """

    def __init__(
        self,
        *,
        num_feat: int = 64,
        num_group: int = 10,
        num_block: int = 16,
        squeeze_factor: int = 16,
        res_scale: float = 1.0,
        img_range: float = 1.0,
        rgb_mean: tuple[float, float, float] = DIV2K_MEAN,
    ):
        if not 1 <= squeeze_factor <= num_feat:
            raise ValueError(f'squeeze_factor is {squeeze_factor}; 1 to num_feat ({num_feat}) is accepted')
        super().__init__(
            num_in_ch=3,
            num_out_ch=3,
            num_feat=num_feat,
            num_group=num_group,
            num_block=num_block,
            squeeze_factor=squeeze_factor,
            upscale=1,
            res_scale=res_scale,
            img_range=img_range,
        )
        del self.upsample, self.conv_last
        mean_to_buffer(self, rgb_mean)

    def forward(self, lq: Tensor) -> Tensor:
        """LR image B x 3 x h x w (0..1) -> features B x num_feat x h x w."""
        shallow = self.conv_first((lq - self.mean) * self.img_range)  # B x num_feat x h x w
        return self.conv_after_body(self.body(shallow)) + shallow


class MSRResNetFeatures(MSRResNet):
    """MSRResNet (SRResNet without batch norm) up to its up-sampler; it has no global skip.

    Args:
        num_feat: channels of the features.
        num_block: residual blocks.
    """

    def __init__(self, *, num_feat: int = 64, num_block: int = 16):
        # upscale 2 is the smallest up-sampler that the host's constructor can make.
        super().__init__(num_in_ch=3, num_out_ch=3, num_feat=num_feat, num_block=num_block, upscale=2)
        del self.upconv1, self.pixel_shuffle, self.conv_hr, self.conv_last, self.upscale

    def forward(self, lq: Tensor) -> Tensor:
        """LR image B x 3 x h x w (0..1) -> features B x num_feat x h x w."""
        return self.body(self.lrelu(self.conv_first(lq)))


class RRDBNetFeatures(RRDBNet):
    """RRDBNet (ESRGAN, Real-ESRGAN) up to the grid of the LR image.

    Args:
        scale: which of BasicSR's three networks. 4: features before the up-sampler. 2 and 1 fold the image by
            pixel-unshuffle (2 or 4 pixels a side) first, work on the coarser grid at a fraction of the cost, and keep
            one or two steps of the up-sampler, which lead back to the LR grid. Not the factor of GSASR.
        num_feat: channels of the features.
        num_block: residual-in-residual dense blocks.
        num_grow_ch: channels that each layer of a dense block adds.
    """

    def __init__(self, *, scale: Literal[4, 2, 1] = 4, num_feat: int = 64, num_block: int = 23, num_grow_ch: int = 32):
        super().__init__(
            num_in_ch=3, num_out_ch=3, scale=scale, num_feat=num_feat, num_block=num_block, num_grow_ch=num_grow_ch
        )
        self.padding_multiple = 4 // scale
        del self.conv_hr, self.conv_last
        if scale >= 2:
            del self.conv_up2
        if scale == 4:
            del self.conv_up1

    def forward(self, lq: Tensor) -> Tensor:
        """LR image B x 3 x h x w (0..1; h, w multiples of 4 / scale) -> features B x num_feat x h x w."""
        x = pixel_unshuffle(lq, self.padding_multiple) if self.padding_multiple > 1 else lq
        x = self.conv_first(x)
        x = x + self.conv_body(self.body(x))
        if self.scale <= 2:
            x = self.lrelu(self.conv_up1(F.interpolate(x, scale_factor=2, mode='nearest')))
        if self.scale == 1:
            x = self.lrelu(self.conv_up2(F.interpolate(x, scale_factor=2, mode='nearest')))
        return x


class SRVGGNetCompactFeatures(SRVGGNetCompact):
    """SRVGGNetCompact (the small Real-ESRGAN network) up to its last convolution.

    Args:
        num_feat: channels of the features.
        num_conv: convolutions after the first.
        act_type: activation after each of them.
    """

    def __init__(
        self, *, num_feat: int = 64, num_conv: int = 16, act_type: Literal['relu', 'prelu', 'leakyrelu'] = 'prelu'
    ):
        super().__init__(num_in_ch=3, num_out_ch=3, num_feat=num_feat, num_conv=num_conv, upscale=1, act_type=act_type)
        del self.body[-1], self.upsampler

    def forward(self, lq: Tensor) -> Tensor:
        """LR image B x 3 x h x w (0..1) -> features B x num_feat x h x w."""
        x = lq
        for layer in self.body:
            x = layer(x)
        return x


def mean_to_buffer(net: nn.Module, rgb_mean: Sequence[float]) -> None:
    """Replace the plain attribute ``mean`` of BasicSR's networks by a buffer outside the state dict.

    BasicSR moves it to the input's device and type by assignment in forward; a buffer follows the module instead, so
    forward changes nothing, while checkpoints keep BasicSR's keys.
    """
    del net.mean
    add_mean(net, rgb_mean)
