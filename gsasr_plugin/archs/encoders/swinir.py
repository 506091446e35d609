"""The host's SwinIR up to its up-sampler, for any input size.

J. Liang et al., "SwinIR: Image Restoration Using Swin Transformer", ICCV workshops 2021. The host's blocks carry the
attention mask of one training size in every second block, as a buffer that lands in checkpoints, and compute the mask
anew in every block for any other size. Here the mask is made once per forward and handed down, so that nothing depends
on a size; the parts of the blocks, their initialization and their parameter names are the host's.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from basicsr.archs.swinir_arch import SwinIR, SwinTransformerBlock, window_partition
from basicsr.archs.swinir_arch import WindowAttention as SwinAttention
from torch import Tensor, nn

from gsasr_ops import window_attention
from gsasr_plugin.archs.encoders.encoder import WindowSize, check_heads
from gsasr_plugin.archs.encoders.host_features import mean_to_buffer
from gsasr_plugin.archs.linear import Preparing
from gsasr_plugin.archs.window_attention import from_windows, padded_heads, to_windows
from gsasr_plugin.precision import product_dtype


class SwinIRFeatures(SwinIR):
    """SwinIR up to the convolution and LeakyReLU(0.01) that precede its up-sampler: 64 features.

    The defaults are the classical SwinIR as the released GSASR models use it. Of the host's arguments, those are not
    accepted that belong to the up-sampler (upscale, upsampler), tie the network to one input size (img_size, ape,
    patch_size) or cannot come from an option file (norm_layer); use_checkpoint fails in the host itself; in_chans is 3.

    Args:
        embed_dim: width of the blocks.
        depths: blocks of each residual group.
        num_heads: attention heads of each residual group; each divides embed_dim.
        window_size: side of the attention windows in LR pixels; h and w of the input are multiples of it.
        mlp_ratio: hidden width of the MLPs over embed_dim.
        qkv_bias: bias in the projections to queries, keys and values.
        qk_scale: factor of the attention logits; None for head width ** -0.5.
        drop_rate: dropout of the embeddings and projections.
        attn_drop_rate: dropout of the attention weights.
        drop_path_rate: stochastic depth of the last block, in training; it grows linearly from 0 at the first.
        patch_norm: LayerNorm after the embedding.
        img_range: factor of the input, after the mean is taken off.
        rgb_mean: mean colour that is taken off the input, in 0..1. The released models take off none
            (tests/golden/encoder_swinir.npz); BasicSR always takes off DIV2K's, (0.4488, 0.4371, 0.4040).
        resi_connection: '1conv' or '3conv', the convolutions that close each group.

    Raises:
        ValueError: depths and num_heads differ in length, or num_heads does not divide embed_dim.
    """

    def __init__(
        self,
        *,
        embed_dim: int = 180,
        depths: Sequence[int] = (6, 6, 6, 6, 6, 6),
        num_heads: Sequence[int] = (6, 6, 6, 6, 6, 6),
        window_size: WindowSize = 8,
        mlp_ratio: float = 2.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        patch_norm: bool = True,
        img_range: float = 1.0,
        rgb_mean: tuple[float, float, float] = (0.0, 0.0, 0.0),
        resi_connection: Literal['1conv', '3conv'] = '1conv',
    ):
        check_heads(embed_dim, depths, num_heads)
        super().__init__(
            # The host leaves out the shift where a window fills img_size; twice the window keeps it. No other trace
            # of img_size is left below.
            img_size=2 * window_size,
            patch_size=1,
            in_chans=3,
            embed_dim=embed_dim,
            depths=depths,
            num_heads=num_heads,
            window_size=window_size,
            mlp_ratio=mlp_ratio,
            qkv_bias=qkv_bias,
            qk_scale=qk_scale,
            drop_rate=drop_rate,
            attn_drop_rate=attn_drop_rate,
            drop_path_rate=drop_path_rate,
            patch_norm=patch_norm,
            upscale=1,
            img_range=img_range,
            upsampler='pixelshuffle',
            resi_connection=resi_connection,
        )
        del self.upsample, self.conv_last
        mean_to_buffer(self, rgb_mean)
        self.window_size = window_size
        self.padding_multiple = window_size
        self.feature_channels = self.conv_before_upsample[0].out_channels
        for group in self.layers:
            group.residual_group.blocks = nn.ModuleList(AnySizeBlock(b) for b in group.residual_group.blocks)

    def forward_features(self, x: Tensor) -> Tensor:
        """Shallow features B x embed_dim x h x w -> deep features of the same shape."""
        size = h, w = x.shape[-2:]
        mask = shifted_window_mask(h, w, window_size=self.window_size, like=x)
        x = self.pos_drop(self.patch_embed(x))  # B x h*w x embed_dim, as all tokens below
        for group in self.layers:
            tokens = x
            for block in group.residual_group.blocks:
                tokens = block(tokens, size, mask)
            x = group.patch_embed(group.conv(group.patch_unembed(tokens, size))) + x
        return self.patch_unembed(self.norm(x), size)

    def forward(self, lq: Tensor) -> Tensor:
        """LR image B x 3 x h x w (0..1; h, w multiples of the window) -> features B x 64 x h x w."""
        shallow = self.conv_first((lq - self.mean) * self.img_range)  # B x embed_dim x h x w
        deep = self.conv_after_body(self.forward_features(shallow)) + shallow
        return self.conv_before_upsample(deep)


class AnySizeBlock(nn.Module):
    """The parts of one of BasicSR's Swin blocks, under BasicSR's names, with the mask as an argument."""

    def __init__(self, block: SwinTransformerBlock):
        super().__init__()
        self.window_size = block.window_size
        self.shift_size = block.shift_size
        self.norm1 = block.norm1
        self.attn = block.attn
        self.attn.__class__ = FusibleAttention
        self.drop_path = block.drop_path
        self.norm2 = block.norm2
        self.mlp = block.mlp

    def forward(self, x: Tensor, size: tuple[int, int], mask: Tensor) -> Tensor:
        """Tokens B x h*w x d, size (h, w) and the mask of shifted windows -> tokens B x h*w x d."""
        x = x + self.drop_path(self._attention(x, size, mask))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _attention(self, x: Tensor, size: tuple[int, int], mask: Tensor) -> Tensor:
        tokens = self.norm1(x).unflatten(1, size)  # B x h x w x d
        if x.device.type != 'cpu':
            tokens = tokens.to(product_dtype(tokens))  # fewer bytes to move into windows
        windows = to_windows(tokens, self.window_size, self.shift_size)  # B*windows x n x d, n = window_size**2
        windows = self.attn(windows, mask=mask if self.shift_size > 0 else None)
        return from_windows(windows, self.window_size, *size, self.shift_size).flatten(1, 2)


class FusibleAttention(Preparing, SwinAttention):
    """BasicSR's window attention with its parameters; on GPUs by a fused kernel, as `archs/window_attention.py`."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens of B*windows x n x d -> the same shape.

        Args:
            x: windows of B images.
            mask: what is added to the logits, windows x n x n; None: nothing.
        """
        drops = self.training and self.attn_drop.p > 0
        return self.fused(x, mask) if self.pads(x) and not drops else super().forward(x, mask)

    def fused(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The same to the last bit but for the order of sums, without weights of all tokens in memory."""
        qkv = F.linear(x, *self.kept(x, self.joined)).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()  # B*windows x heads x n x a padded width
        (bias,) = self.kept(x, self.bias)
        if mask is not None:
            bias = bias.to(x.dtype) + mask[:, None].to(x.dtype)  # of all windows: not in float32 under autocast
        mixed = window_attention(q, k, v, bias, scale=self.scale)
        return self.proj_drop(F.linear(mixed, *self.kept(x, self.closing)))

    def joined(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of queries, keys and values, with rows of zeros after those of each head."""
        head_dim, bias = self.dim // self.num_heads, self.qkv.bias
        return padded_heads(self.qkv.weight, head_dim), None if bias is None else padded_heads(bias, head_dim)

    def closing(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of `proj`, with columns of zeros after those of each head."""
        return padded_heads(self.proj.weight, self.dim // self.num_heads, axis=1), self.proj.bias

    def bias(self) -> tuple[Tensor]:
        """What is added to the logits of (query, key) in every window, heads x n x n."""
        n = self.relative_position_index.shape[0]
        by_pair = self.relative_position_bias_table[self.relative_position_index.flatten()]
        return (by_pair.t().contiguous().view(-1, n, n),)  # the keys side by side, as the kernels read them


def shifted_window_mask(h: int, w: int, *, window_size: int, like: Tensor) -> Tensor:
    """Attention mask of a map that was rolled by minus half a window: windows x n x n, n = window_size**2.

    The roll brings the first rows and columns to the end, into windows with pixels from the other side of the image.
    -100 (as in the host) parts tokens that come from different sides, 0 joins the others.

    Args:
        h, w: size of the map in pixels, multiples of window_size.
        window_size: side of the windows.
        like: tensor whose device and type the mask takes.
    """
    shift = window_size // 2

    def bands(length: int) -> Tensor:  # 0: untouched windows, 1: last window, near part, 2: what the roll brought
        position = torch.arange(length, device=like.device)
        return (position >= length - window_size).int() + (position >= length - shift).int()

    regions = 3 * bands(h)[:, None] + bands(w)  # h x w
    regions = window_partition(regions[None, :, :, None], window_size).flatten(1)  # windows x n
    return (regions[:, :, None] != regions[:, None, :]).to(like.dtype) * -100.0
