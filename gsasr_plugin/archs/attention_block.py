"""Condition injection and Gaussian interaction (Fig. 2 and Sec. 3.2 of the paper): blocks of attention layers.

Letters: B images, h x w LR map (multiples of the window), d channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gsasr_plugin.archs.map_conv import MapConv
from gsasr_plugin.archs.mlp import MLP
from gsasr_plugin.archs.scale_condition import ScaleAttention
from gsasr_plugin.archs.window_attention import PositionEncoding, WindowAttention


class AttentionLayer(nn.Module):
    """Scale attention, MLP, window attention, MLP: four pre-norm residual branches (no norm where it has no effect).

    A subclass says in `attend` what the window attention looks at.

    Args:
        embed_dim: d.
        num_heads: heads of the window attention.
        window_size: side of a window.
        shift: where the windows of the attended map begin, in pixels (`WindowAttention.forward`).
        scale_condition: whether there is a scale attention (without it, its MLP stays).
        position_encoding: of the window attention.
    """

    def __init__(
        self,
        *,
        embed_dim: int,
        num_heads: int,
        window_size: int,
        shift: int,
        scale_condition: bool,
        position_encoding: PositionEncoding,
    ) -> None:
        super().__init__()
        self.shift = shift
        self.scale_attention = ScaleAttention(embed_dim=embed_dim) if scale_condition else None
        self.scale_norm = nn.LayerNorm(embed_dim)
        self.scale_mlp = MLP(embed_dim=embed_dim)
        self.attention_norm = nn.LayerNorm(embed_dim)
        self.attention = WindowAttention(
            embed_dim=embed_dim, num_heads=num_heads, window_size=window_size, position_encoding=position_encoding
        )
        self.mlp_norm = nn.LayerNorm(embed_dim)
        self.mlp = MLP(embed_dim=embed_dim)

    def forward(self, x: Tensor, scale_embed: Tensor | None, *context: Tensor) -> Tensor:
        """Maps embeddings to embeddings.

        Args:
            x: Gaussian embeddings, (B, h, w, d).
            scale_embed: (B, d); None where there is no scale conditioning.
            context: what else the subclass attends to.
        """
        if self.scale_attention is not None:
            x = x + self.scale_attention(scale_embed)
        x = x + self.scale_mlp(self.scale_norm(x))
        x = x + self.attend(self.attention_norm(x), *context)
        return x + self.mlp(self.mlp_norm(x))

    def attend(self, y: Tensor, *context: Tensor) -> Tensor:
        """The window attention's branch, from normalised embeddings (B, h, w, d) to the same shape."""
        raise NotImplementedError(f'{type(self).__name__} does not say what it attends to')


class ConditionInjectionLayer(AttentionLayer):
    """The embeddings read the image features: window cross-attention from them, plus their positions, to the features.

    Only the windows of the features are shifted: the embeddings of a window look half a window off.
    """

    def attend(self, y: Tensor, *context: Tensor) -> Tensor:
        """Maps embeddings (B, h, w, d), features (B, h, w, d) and positional embeddings (h, w, d) to (B, h, w, d)."""
        features, query_pos = context
        return self.attention(y + query_pos, features, shift=self.shift)


class GaussianInteractionLayer(AttentionLayer):
    """The embeddings adapt to each other: window self-attention."""

    def attend(self, y: Tensor, *context: Tensor) -> Tensor:
        """Maps embeddings (B, h, w, d) to (B, h, w, d)."""
        return self.attention(y, shift=self.shift)


class AttentionBlock(nn.Module):
    """LayerNorm, layers, MLP (and convolution), plus the block's input.

    Every second layer's windows lie half a window off.

    Args:
        layer: the class of its layers.
        num_layers: how many.
        embed_dim: d.
        window_size: side of a window.
        closing_conv: whether a 3 x 3 convolution over the whole map follows the MLP (the enhanced version).
        layer_options: what else the layers take.

    Attributes:
        recompute: compute the layers again in the backward pass, one by one, instead of keeping what is in them.
    """

    def __init__(
        self,
        *,
        layer: type[AttentionLayer],
        num_layers: int,
        embed_dim: int,
        window_size: int,
        closing_conv: bool,
        **layer_options: Any,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim)
        self.layers = nn.ModuleList(
            layer(embed_dim=embed_dim, window_size=window_size, shift=i % 2 * (window_size // 2), **layer_options)
            for i in range(num_layers)
        )
        self.mlp = MLP(embed_dim=embed_dim)
        self.conv = MapConv(embed_dim, embed_dim) if closing_conv else None
        self.recompute = False

    def forward(self, x: Tensor, scale_embed: Tensor | None, *context: Tensor) -> Tensor:
        """Maps embeddings (B, h, w, d) to the same shape; arguments as for its layers."""
        y = self.norm(x)
        for layer in self.layers:
            if self.recompute and torch.is_grad_enabled():
                y = checkpoint(layer, y, scale_embed, *context, use_reentrant=False, preserve_rng_state=False)
            else:
                y = layer(y, scale_embed, *context)
        y = self.mlp(y)
        return x + (y if self.conv is None else self.conv(y))
