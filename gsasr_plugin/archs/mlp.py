"""The two-layer perceptron that closes every branch of the decoder."""

from __future__ import annotations

from torch import Tensor, nn

from gsasr_plugin.archs.linear import is_fused, linear, perceptron


class MLP(nn.Module):
    """Linear, ReLU, Linear, all of width d, over the last dimension.

    Args:
        embed_dim: d.
    """

    def __init__(self, *, embed_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, embed_dim)
        self.fc2 = nn.Linear(embed_dim, embed_dim)

    def forward(
        self,
        x: Tensor,
        *,
        norm: nn.LayerNorm | None = None,
        added: Tensor | None = None,
        adds_x: bool = False,
        residual: Tensor | None = None,
    ) -> Tensor:
        """Maps (B, ..., d) to (B, ..., d).

        Args:
            x: (B, ..., d).
            norm: a normalisation before it.
            added: what is added to x before that, (B, d).
            adds_x: whether x + added is added to the result.
            residual: what else is added to the result, (B, ..., d).
        """
        if is_fused(x):
            return perceptron(x, (self.fc1, self.fc2), norm=norm, added=added, adds_x=adds_x, residual=residual)
        if added is not None:
            x = x + added.view(-1, *[1] * (x.dim() - 2), added.shape[-1])
        y = norm(x) if norm is not None else x
        y = linear(y, self.fc1.weight, self.fc1.bias, relu=True)
        y = linear(y, self.fc2.weight, self.fc2.bias)
        if residual is not None:
            y = residual + y
        return x + y if adds_x else y
