"""Condition injection: the Gaussian embeddings read the image features (Fig. 2 and Sec. 3.2 of the paper)."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from gsasr_plugin.archs.attention_block import AttentionBlock, AttentionLayer


class ConditionInjectionLayer(AttentionLayer):
    """Window cross-attention from embeddings plus their positions to the features of the same window.

    The features are rolled, and not rolled back: the embeddings stay in place.
    """

    def attend(self, x: Tensor, *context: Tensor) -> Tensor:
        """Maps embeddings (B, h, w, d), features (B, h, w, d) and positional embeddings (h, w, d) to (B, h, w, d)."""
        features, query_pos = context
        return self.attention(x + query_pos, self.roll(features, -1))


ConditionInjectionBlock = partial(AttentionBlock, layer=ConditionInjectionLayer)
