"""How the decoder is told the super-resolution factor (Sec. 3.2: scale-aware cross-attention)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ScaleEmbedding(nn.Module):
    """Embeds the factor s as MLP(1 / s).

    Args:
        embed_dim: d.
    """

    def __init__(self, *, embed_dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(1, 4 * embed_dim), nn.ReLU(), nn.Linear(4 * embed_dim, embed_dim))

    def forward(self, scale: Tensor) -> Tensor:
        """Maps factors (B,), positive, to embeddings (B, d)."""
        return self.mlp((1 / scale[:, None]).to(next(self.parameters()).dtype))


class ScaleAttention(nn.Module):
    """Cross-attention of every Gaussian embedding to the scale embedding, in its exact closed form.

    All keys of this attention are the one scale embedding, so its softmax is uniform whatever the query, and its
    output is the projected value: one vector per image. Queries and keys need not exist.

    Args:
        embed_dim: d.
    """

    def __init__(self, *, embed_dim: int) -> None:
        super().__init__()
        self.value = nn.Linear(embed_dim, embed_dim)
        self.out = nn.Linear(embed_dim, embed_dim)

    def forward(self, scale_embed: Tensor) -> Tensor:
        """Maps scale embeddings (B, d) to (B, 1, 1, d), to be added to every embedding of a map."""
        with torch.autocast(scale_embed.device.type, enabled=False):  # one row: casting the weights would take longer
            return self.out(self.value(scale_embed.to(self.value.weight.dtype)))[:, None, None]
