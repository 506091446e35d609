"""The Gaussian decoder: image features to Gaussians (Fig. 2 of the paper).

Letters: B images, C feature channels, h x w LR map (multiples of the window, if there are any), d embedding width.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from gsasr_plugin.archs.attention_block import AttentionBlock, ConditionInjectionLayer, GaussianInteractionLayer
from gsasr_plugin.archs.gaussians import Gaussians
from gsasr_plugin.archs.map_conv import MapConv
from gsasr_plugin.archs.primary_head import GaussianPrimaryHead
from gsasr_plugin.archs.scale_condition import ScaleAttention, ScaleEmbedding
from gsasr_plugin.archs.window_attention import PositionEncoding

# EDSR's features start at a standard deviation of about 0.15, the embeddings at 1.
FEATURE_GAIN = 5.0

CheckpointedParts = Literal['heads', 'decoder']


class GaussianDecoder(nn.Module):
    """Gaussian embeddings -> condition injection -> Gaussian interaction -> primary head.

    The authors' later, enhanced version has `position_encoding='rope'` and `closing_conv=True`, and shares all else
    with the paper's. Without condition injection there is no attention: the head reads the features and the scale.

    The arguments are those of `GSASR` of the same names, which checks their bounds, and `num_features`, the width C of
    the features; the primary head's are passed on.

    Attributes:
        multiple: both sides of the map are multiples of it: of the window, if there is attention.
    """

    def __init__(
        self,
        *,
        num_features: int,
        embed_dim: int,
        num_heads: int,
        window_size: int,
        num_injection_blocks: int,
        num_injection_layers: int,
        num_interaction_blocks: int,
        num_interaction_layers: int,
        scale_condition: bool,
        position_encoding: PositionEncoding,
        closing_conv: bool,
        feature_skip: bool,
        **of_head: Any,
    ) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f'num_heads must divide embed_dim: got num_heads {num_heads}, embed_dim {embed_dim}')
        self.window_size = window_size
        self.attends = num_injection_blocks > 0
        self.multiple = window_size if self.attends else 1
        attention: dict[str, Any] = {
            'embed_dim': embed_dim,
            'num_heads': num_heads,
            'window_size': window_size,
            'scale_condition': scale_condition,
            'position_encoding': position_encoding,
            'closing_conv': closing_conv,
        }
        if self.attends:
            # One embedding per LR pixel of a window, the same for all windows (Sec. 3.2: shared initial weights).
            self.gaussian_embed = nn.Parameter(torch.randn(window_size, window_size, embed_dim))
            self.query_pos = nn.Parameter(torch.randn(window_size, window_size, embed_dim))
        self.scale_embedding = ScaleEmbedding(embed_dim=embed_dim) if scale_condition else None
        self.feature_projection = nn.Sequential(
            MapConv(num_features, embed_dim), nn.ReLU(), MapConv(embed_dim, embed_dim)
        )
        self.condition_injection = nn.ModuleList(
            AttentionBlock(layer=ConditionInjectionLayer, num_layers=num_injection_layers, **attention)
            for _ in range(num_injection_blocks)
        )
        self.gaussian_interaction = nn.ModuleList(
            AttentionBlock(layer=GaussianInteractionLayer, num_layers=num_interaction_layers, **attention)
            for _ in range(num_interaction_blocks)
        )
        self.interaction_conv = MapConv(embed_dim, embed_dim) if closing_conv and self.attends else None
        self.scale_attention = None
        if scale_condition and not self.attends:
            self.scale_attention = ScaleAttention(embed_dim=embed_dim)
        self.primary_head = GaussianPrimaryHead(embed_dim=embed_dim, **of_head)
        self.feature_skip = feature_skip
        if feature_skip:
            self._start_with_gain()

    def _start_with_gain(self) -> None:
        """Initial weights (He's) through which the features reach the head's outputs at full strength."""
        for layer in (*self.feature_projection.modules(), *self.primary_head.modules()):
            if not isinstance(layer, nn.Linear | nn.Conv2d):
                continue
            assert layer.bias is not None
            # Numbers whose weights are zero start there on purpose.
            free = layer.weight.detach().flatten(1).any(1)
            if free.any():
                weight = nn.init.kaiming_normal_(torch.empty_like(layer.weight), nonlinearity='relu')
                layer.weight.data[free] = weight[free]
                layer.bias.data[free] = 0
        last = self.feature_projection[-1]
        assert isinstance(last, nn.Conv2d)
        last.weight.data *= FEATURE_GAIN

    def checkpoint_gradients(self, parts: CheckpointedParts | None) -> None:
        """Trades time for memory in training: what is computed again in the backward pass instead of being kept.

        Args:
            parts: 'heads', the hidden layers of the primary head, most of the memory for little of the time; 'decoder',
                the attention layers too; None, nothing.
        """
        self.primary_head.recompute = parts is not None
        for block in (*self.condition_injection, *self.gaussian_interaction):
            block.recompute = parts == 'decoder'

    def forward(self, features: Tensor, scale: Tensor, base: Tensor | None = None) -> Gaussians:
        """Predicts the Gaussians of each image.

        Args:
            features: encoder features, (B, C, h, w); h and w multiples of `multiple`.
            scale: the super-resolution factor s of each image, (B,); unused without scale conditioning.
            base: see `GaussianPrimaryHead.forward`.

        Raises:
            ValueError: h or w is no such multiple.
        """
        h, w = features.shape[2:]
        if h % self.multiple or w % self.multiple:
            raise ValueError(f'features of {h} x {w} do not divide into windows of {self.multiple}')
        scale_embed = self.scale_embedding(scale) if self.scale_embedding is not None else None  # (B, d)
        features = self.feature_projection(features.permute(0, 2, 3, 1))  # (B, h, w, d)
        if self.attends:
            x = self._attended(features, scale_embed)
            if self.feature_skip:
                x = x + features
        else:
            x = features if self.scale_attention is None else features + self.scale_attention(scale_embed)
        return self.primary_head(x, base)

    def _attended(self, features: Tensor, scale_embed: Tensor | None) -> Tensor:
        """The embeddings that have taken from the features and from each other: (B, h, w, d)."""
        B, h, w, _ = features.shape
        x = self._tile(self.gaussian_embed, h, w).expand(B, -1, -1, -1)  # (B, h, w, d)
        query_pos = self._tile(self.query_pos, h, w)  # (h, w, d)
        for injection in self.condition_injection:
            x = injection(x, scale_embed, features, query_pos)
        injected = x
        for interaction in self.gaussian_interaction:
            x = interaction(x, scale_embed)
        return injected + (x if self.interaction_conv is None else self.interaction_conv(x))

    def _tile(self, window: Tensor, h: int, w: int) -> Tensor:
        return window.repeat(h // self.window_size, w // self.window_size, 1)
