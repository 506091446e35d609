"""Condition injection: the Gaussian embeddings read the image features (Fig. 2 and Sec. 3.2 of the paper)."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from gsasr_plugin.archs.attention_block import AttentionBlock, AttentionLayer


class ConditionInjectionLayer(AttentionLayer):
    """Window cross-attention from embeddings plus their positions to the features of the same window.

    Only the windows of the features are shifted: the embeddings of a window look half a window off.
    """

    def attend(self, y: Tensor, *context: Tensor) -> Tensor:
        """Maps embeddings (B, h, w, d), features (B, h, w, d) and positional embeddings (h, w, d) to (B, h, w, d)."""
        features, query_pos = context
        return self.attention(y + query_pos, features, shift=self.shift)


ConditionInjectionBlock = partial(AttentionBlock, layer=ConditionInjectionLayer)
