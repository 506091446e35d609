"""The two-layer perceptron that closes every branch of the decoder."""

from __future__ import annotations

from torch import Tensor, nn

from gsasr_plugin.archs.linear import Linear


class MLP(nn.Module):
    """Linear, ReLU, Linear, all of width d, over the last dimension.

    Args:
        embed_dim: d.
    """

    def __init__(self, *, embed_dim: int) -> None:
        super().__init__()
        self.fc1 = Linear(embed_dim, embed_dim)
        self.fc2 = nn.Linear(embed_dim, embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., d) to (..., d)."""
        return self.fc2(self.fc1.relu(x))
