"""Gaussian interaction: the Gaussian embeddings adapt to each other (Fig. 2 and Sec. 3.2 of the paper)."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from gsasr_plugin.archs.attention_block import AttentionBlock, AttentionLayer


class GaussianInteractionLayer(AttentionLayer):
    """Window self-attention among embeddings; the map is rolled before it and rolled back after it."""

    def attend(self, x: Tensor, *context: Tensor) -> Tensor:
        """Maps embeddings (B, h, w, d) to (B, h, w, d)."""
        x = self.roll(x, -1)
        return self.roll(self.attention(x, x), 1)


GaussianInteractionBlock = partial(AttentionBlock, layer=GaussianInteractionLayer)
