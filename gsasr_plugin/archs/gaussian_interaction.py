"""Gaussian interaction: the Gaussian embeddings adapt to each other (Fig. 2 and Sec. 3.2 of the paper)."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from gsasr_plugin.archs.attention_block import AttentionBlock, AttentionLayer


class GaussianInteractionLayer(AttentionLayer):
    """Window self-attention among embeddings."""

    def attend(self, y: Tensor, *context: Tensor) -> Tensor:
        """Maps embeddings (B, h, w, d) to (B, h, w, d)."""
        return self.attention(y, shift=self.shift)


GaussianInteractionBlock = partial(AttentionBlock, layer=GaussianInteractionLayer)
