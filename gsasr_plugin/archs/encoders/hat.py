"""HAT with rotary positions, up to its features: the encoder of the authors' ultra variant. The host has no HAT.

X. Chen et al., "Activating More Pixels in Image Super-Resolution Transformer", CVPR 2023. Letters: B images, h x w LR
map (multiples of the window), d channels, T = window_size ** 2 tokens of a window, O = overlap_size ** 2 tokens of an
overlapping window, M = B * h * w / T windows.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from gsasr_ops import window_attention
from gsasr_plugin.archs.encoders.encoder import WindowSize, check_heads
from gsasr_plugin.archs.linear import Preparing
from gsasr_plugin.archs.rope import MixedRotaryEmbedding
from gsasr_plugin.archs.window_attention import WindowAttention, from_windows, to_windows


class HATFeatures(nn.Module):
    """HAT up to the convolution and LeakyReLU(0.01) that precede its up-sampler. The defaults are the released HAT-L.

    It departs from the published HAT as the released model does: RoPE-mixed in place of the tables of relative position
    biases, no attention masks in shifted windows, no mean shift.

    Args:
        embed_dim: d.
        depths: hybrid attention blocks of each group.
        num_heads: attention heads of each group; embed_dim / num_heads is a multiple of 4.
        window_size: side of the attention windows in LR pixels; h and w of the input are multiples of it.
        mlp_ratio: hidden width of the MLPs over embed_dim.
        compress_ratio: embed_dim over the hidden channels of the convolutional branch (beta).
        squeeze_factor: embed_dim over the hidden channels of the branch's channel attention.
        conv_scale: factor of the convolutional branch (alpha).
        overlap_ratio: how far overlapping windows reach beyond a window, in all, over its side (gamma); the reach in
            pixels is even, so that it is the same on both sides.
        num_feat: channels of the features.
        drop_path_rate: stochastic depth of the last block, in training; it grows linearly from 0 at the first.

    Raises:
        ValueError: a size is out of range, or depths and num_heads differ in length; the message names it.
    """

    def __init__(
        self,
        *,
        embed_dim: int = 192,
        depths: Sequence[int] = (6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6),
        num_heads: Sequence[int] = (6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6),
        window_size: WindowSize = 16,
        mlp_ratio: float = 2.0,
        compress_ratio: int = 3,
        squeeze_factor: int = 32,
        conv_scale: float = 0.01,
        overlap_ratio: float = 0.5,
        num_feat: int = 64,
        drop_path_rate: float = 0.1,
    ) -> None:
        super().__init__()
        check_heads(embed_dim, depths, num_heads)
        for name, divisor in (('compress_ratio', compress_ratio), ('squeeze_factor', squeeze_factor)):
            if not 1 <= divisor <= embed_dim:
                raise ValueError(f'{name} is {divisor}; 1 to embed_dim ({embed_dim}) is accepted')
        reach = _reach(window_size, overlap_ratio)
        self.padding_multiple, self.feature_channels = window_size, num_feat
        hidden_dim = int(embed_dim * mlp_ratio)
        drop_rates = iter(drop_path_rate * i / max(1, sum(depths) - 1) for i in range(sum(depths)))
        self.conv_first = nn.Conv2d(3, embed_dim, 3, padding=1)
        self.embed_norm = nn.LayerNorm(embed_dim)
        self.groups = nn.ModuleList(
            HybridAttentionGroup(
                blocks=[
                    HybridAttentionBlock(
                        embed_dim=embed_dim,
                        num_heads=heads,
                        window_size=window_size,
                        shift=i % 2 * (window_size // 2),
                        hidden_dim=hidden_dim,
                        conv_branch=ConvBranch(
                            embed_dim=embed_dim,
                            hidden_dim=embed_dim // compress_ratio,
                            squeezed_dim=embed_dim // squeeze_factor,
                        ),
                        conv_scale=conv_scale,
                        drop_rate=next(drop_rates),
                    )
                    for i in range(depth)
                ],
                overlap=OverlappingAttentionBlock(
                    embed_dim=embed_dim,
                    num_heads=heads,
                    window_size=window_size,
                    overlap_size=window_size + reach,
                    hidden_dim=hidden_dim,
                ),
                conv=nn.Conv2d(embed_dim, embed_dim, 3, padding=1),
            )
            for depth, heads in zip(depths, num_heads)
        )
        self.norm = nn.LayerNorm(embed_dim)
        self.conv_after_body = nn.Conv2d(embed_dim, embed_dim, 3, padding=1)
        self.conv_features = nn.Sequential(nn.Conv2d(embed_dim, num_feat, 3, padding=1), nn.LeakyReLU(inplace=True))
        self.apply(_initialise)

    def forward(self, lq: Tensor) -> Tensor:
        """LR image B x 3 x h x w (0..1; h, w multiples of the window) -> features B x num_feat x h x w."""
        shallow = self.conv_first(lq)  # B x d x h x w
        x = self.embed_norm(shallow.permute(0, 2, 3, 1))  # B x h x w x d
        for group in self.groups:
            x = group(x)
        deep = self.conv_after_body(self.norm(x).permute(0, 3, 1, 2)) + shallow
        return self.conv_features(deep)


class HybridAttentionGroup(nn.Module):
    """Hybrid attention blocks, an overlapping attention block, a convolution; plus the group's input."""

    def __init__(self, *, blocks: Sequence[nn.Module], overlap: nn.Module, conv: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.overlap = overlap
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, h, w, d) to (B, h, w, d)."""
        y = x
        for block in self.blocks:
            y = block(y)
        return x + self.conv(self.overlap(y).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ConvBranch(nn.Module):
    """Two convolutions around a bottleneck, and channel attention over the whole map."""

    def __init__(self, *, embed_dim: int, hidden_dim: int, squeezed_dim: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(embed_dim, hidden_dim, 3, padding=1), nn.GELU(), nn.Conv2d(hidden_dim, embed_dim, 3, padding=1)
        )
        self.channel_weights = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(embed_dim, squeezed_dim, 1),
            nn.ReLU(),
            nn.Conv2d(squeezed_dim, embed_dim, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, h, w, d) to (B, h, w, d)."""
        y = self.convs(x.permute(0, 3, 1, 2))
        return (y * self.channel_weights(y)).permute(0, 2, 3, 1)


class HybridAttentionBlock(nn.Module):
    """Window self-attention beside a convolutional branch, then an MLP; pre-norm, residual.

    Every second block's windows lie half a window off, cyclically and without a mask.
    """

    def __init__(
        self,
        *,
        embed_dim: int,
        num_heads: int,
        window_size: int,
        shift: int,
        hidden_dim: int,
        conv_branch: ConvBranch,
        conv_scale: float,
        drop_rate: float,
    ) -> None:
        super().__init__()
        self.shift = shift
        self.conv_scale = conv_scale
        self.attention_norm = nn.LayerNorm(embed_dim)
        self.attention = WindowAttention(
            embed_dim=embed_dim, num_heads=num_heads, window_size=window_size, position_encoding='rope'
        )
        self.conv_branch = conv_branch
        self.mlp_norm = nn.LayerNorm(embed_dim)
        self.mlp = _mlp(embed_dim, hidden_dim)
        self.drop_path = StochasticDepth(drop_rate, mode='row')

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, h, w, d) to (B, h, w, d)."""
        y = self.attention_norm(x)
        mixed = self.attention(y, shift=self.shift)
        x = x + self.drop_path(mixed) + self.conv_scale * self.conv_branch(y)
        return x + self.drop_path(self.mlp(self.mlp_norm(x)))


class OverlappingAttentionBlock(Preparing, nn.Module):
    """Attention of each window to a larger window around it, then an MLP; pre-norm, residual.

    One set of rotary frequencies serves queries and keys. Tokens are counted in the larger window; the T queries take
    the first T positions of that count, though their own window is narrower: the released weights were trained so.
    Outside the map keys and values are zero, and are attended to.
    """

    def __init__(self, *, embed_dim: int, num_heads: int, window_size: int, overlap_size: int, hidden_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window_size = window_size
        self.overlap_size = overlap_size
        self.attention_norm = nn.LayerNorm(embed_dim)
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key = nn.Linear(embed_dim, embed_dim)
        self.value = nn.Linear(embed_dim, embed_dim)
        self.out = nn.Linear(embed_dim, embed_dim)
        self.rope = MixedRotaryEmbedding(num_heads=num_heads, head_dim=embed_dim // num_heads, side=overlap_size)
        self.mlp_norm = nn.LayerNorm(embed_dim)
        self.mlp = _mlp(embed_dim, hidden_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, h, w, d) to (B, h, w, d)."""
        _, h, w, _ = x.shape
        y = self.attention_norm(x)
        q = self._heads(to_windows(self.query(y), self.window_size))  # (M, heads, T, d / heads)
        k = self._heads(self._overlapping_windows(self.key(y)))  # (M, heads, O, d / heads)
        v = self._heads(self._overlapping_windows(self.value(y)))
        (rotations,) = self.kept(q, self.rotations)
        mixed = window_attention(q, k, v, rotations=rotations)
        x = x + from_windows(self.out(mixed), self.window_size, h, w)
        return x + self.mlp(self.mlp_norm(x))

    def rotations(self) -> tuple[Tensor]:
        """Those of the tokens of an overlapping window."""
        return (self.rope(),)

    def _overlapping_windows(self, x: Tensor) -> Tensor:
        """Cuts a map (B, h, w, d) into windows (M, O, d) around those of `to_windows`, with zeros outside."""
        reach = (self.overlap_size - self.window_size) // 2
        x = F.pad(x, (0, 0, reach, reach, reach, reach))
        x = x.unfold(1, self.overlap_size, self.window_size).unfold(2, self.overlap_size, self.window_size)
        return x.permute(0, 1, 2, 4, 5, 3).flatten(3, 4).flatten(0, 2)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def _mlp(embed_dim: int, hidden_dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(embed_dim, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, embed_dim))


def _initialise(module: nn.Module) -> None:
    """The published initialization. (It cuts the normal distribution at 100 deviations, which takes seconds.)"""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def _reach(window_size: int, overlap_ratio: float) -> int:
    """How many pixels an overlapping window is longer than a window."""
    reach = int(window_size * overlap_ratio)
    if reach < 0 or reach % 2:
        raise ValueError(
            f'overlap_ratio is {overlap_ratio}; window_size * overlap_ratio has to be even, and is {reach}'
        )
    return reach
