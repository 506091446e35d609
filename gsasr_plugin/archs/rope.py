"""RoPE-mixed: two-dimensional rotary position embedding with learnable frequencies.

B. Heo et al., "Rotary Position Embedding for Vision Transformer", ECCV 2024. Queries and keys are turned, channel pair
by channel pair, by an angle that is linear in the token's position, so that their product depends on the offset between
the two tokens. Letters: T tokens, x = t mod side and y = t div side the position of token t.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

THETA = 10.0  # the initial magnitudes fall from 1 radian per pixel towards 1 / THETA


def initial_frequencies(num_heads: int, head_dim: int) -> Tensor:
    """Frequencies at the start of training: head_dim / 4 magnitudes in two perpendicular directions, turned at random.

    Returns:
        (2, num_heads, head_dim / 2): the x parts and the y parts, in radians per pixel.
    """
    magnitudes = THETA ** (-4 * torch.arange(head_dim // 4) / head_dim)
    turn = 2 * math.pi * torch.rand(num_heads, 1)
    directions = (turn, turn + math.pi / 2)
    return torch.stack(
        [torch.cat([magnitudes * part(angle) for angle in directions], 1) for part in (torch.cos, torch.sin)]
    )


class MixedRotaryEmbedding(nn.Module):
    """The rotations of the tokens of a square window.

    Args:
        num_heads: attention heads, each with frequencies of its own.
        head_dim: channels of a head, a multiple of 4.
        side: side of the window over which tokens are counted.

    Raises:
        ValueError: head_dim is not a multiple of 4.
    """

    axis: Tensor

    def __init__(self, *, num_heads: int, head_dim: int, side: int) -> None:
        super().__init__()
        if head_dim % 4:
            raise ValueError(f'rotary positions need embed_dim / num_heads to be a multiple of 4, got {head_dim}')
        self.freqs = nn.Parameter(initial_frequencies(num_heads, head_dim))  # (2, heads, head_dim / 2)
        self.register_buffer('axis', torch.arange(side).to(self.freqs.dtype), persistent=False)

    def forward(self) -> Tensor:
        """The rotations: complex numbers of modulus 1, (heads, T, head_dim / 2), never in less than float32."""
        freqs = self.freqs.float() if self.freqs.dtype != torch.float64 else self.freqs
        angles = self.axis.to(freqs.dtype)[:, None] * freqs[:, :, None]  # (2, heads, side, head_dim / 2)
        x, y = torch.polar(torch.ones_like(angles), angles)
        return (y[:, :, None] * x[:, None]).flatten(1, 2)
