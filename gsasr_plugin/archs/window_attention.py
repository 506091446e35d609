"""Attention inside non-overlapping windows of a map (Eq. 5 of the paper), with one of two position encodings.

Letters: B images, h x w map (multiples of the window), d channels, T = window_size ** 2 tokens of a window,
M = B * h * w / T windows.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gsasr_ops import window_attention
from gsasr_plugin.archs.linear import Preparing
from gsasr_plugin.archs.rope import MixedRotaryEmbedding
from gsasr_plugin.precision import product_dtype

PositionEncoding = Literal['bias', 'rope']

# The attention kernels for GPUs take heads of a multiple of so many channels, in every precision.
HEAD_MULTIPLE = 8


def to_windows(x: Tensor, window_size: int, shift: int = 0) -> Tensor:
    """Cuts a map (B, h, w, d) into windows (M, T, d), both in raster order.

    With a shift the first window begins that many pixels further down and to the right, and the map goes on cyclically.
    """
    B, h, w, d = x.shape
    x = _roll(x, -shift).reshape(B, h // window_size, window_size, w // window_size, window_size, d)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window_size * window_size, d)


def from_windows(windows: Tensor, window_size: int, h: int, w: int, shift: int = 0) -> Tensor:
    """Joins windows (M, T, d) to a map (B, h, w, d): the inverse of `to_windows`."""
    x = windows.view(-1, h // window_size, w // window_size, window_size, window_size, windows.shape[-1])
    return _roll(x.permute(0, 1, 3, 2, 4, 5).reshape(-1, h, w, windows.shape[-1]), shift)


def window_pixels(x: Tensor, window_size: int, shift: int = 0) -> Tensor:
    """The numbers of the pixels in each window, (M, T): as `to_windows` cuts a map (B, h, w, d), in raster order."""
    B, h, w, _ = x.shape
    return to_windows(torch.arange(B * h * w, device=x.device).view(B, h, w, 1), window_size, shift)[..., 0]


def padded_heads(parameter: Tensor, head_dim: int, axis: int = 0) -> Tensor:
    """Zeros after the rows (axis 0) or columns (1) of each head, up to a multiple of `HEAD_MULTIPLE`; itself where none
    are missing."""
    missing = -head_dim % HEAD_MULTIPLE
    if not missing:
        return parameter
    heads = parameter.unflatten(axis, (-1, head_dim))
    return F.pad(heads, (0, 0) * (parameter.dim() - 1 - axis) + (0, missing)).flatten(axis, axis + 1)


def _roll(x: Tensor, distance: int) -> Tensor:
    return x.roll((distance, distance), dims=(1, 2)) if distance else x


def by_offset(table: Tensor, window_size: int) -> Tensor:
    """What a table holds for the offset between each two tokens of a window.

    Args:
        table: ((2 * window_size - 1) ** 2, heads), that of the offset (dy, dx) = query - key in row
            `(dy + window_size - 1) * (2 * window_size - 1) + dx + window_size - 1`.

    Returns:
        For (query, key), (heads, T, T).
    """
    # Views and a copy, which take a quarter of the time of looking each up.
    offsets = table.t().unflatten(1, (2 * window_size - 1, 2 * window_size - 1)).flip(1, 2)  # key - query
    from_last_query = offsets.unfold(1, window_size, 1).unfold(2, window_size, 1)  # (heads, y, x, y and x of the key)
    return from_last_query.flip(1, 2).flatten(3, 4).flatten(1, 2)


class RelativePositionBias(nn.Module):
    """One learnable number per head for each offset between two tokens of a window (`by_offset`).

    Args:
        num_heads: attention heads.
        window_size: side of a window.
    """

    def __init__(self, *, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.window_size = window_size
        self.table = nn.Parameter(torch.empty((2 * window_size - 1) ** 2, num_heads))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self) -> Tensor:
        """What is added to the attention logits of (query, key), (heads, T, T)."""
        return by_offset(self.table, self.window_size)


class WindowAttention(Preparing, nn.Module):
    """Multi-head attention of each window's queries to the context of the same window.

    Args:
        embed_dim: d.
        num_heads: attention heads; divides d.
        window_size: side of a window.
        position_encoding: 'bias' (relative position bias, the paper) or 'rope' (RoPE-mixed, the enhanced version).

    Raises:
        ValueError: d / num_heads does not suit the rotary positions.
    """

    def __init__(
        self, *, embed_dim: int, num_heads: int, window_size: int, position_encoding: PositionEncoding
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.padding = -self.head_dim % HEAD_MULTIPLE
        self.window_size = window_size
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key = nn.Linear(embed_dim, embed_dim)
        self.value = nn.Linear(embed_dim, embed_dim)
        self.out = nn.Linear(embed_dim, embed_dim)
        self.bias = self.rope = None
        if position_encoding == 'bias':
            self.bias = RelativePositionBias(num_heads=num_heads, window_size=window_size)
        else:
            self.rope = MixedRotaryEmbedding(num_heads=num_heads, head_dim=embed_dim // num_heads, side=window_size)

    def forward(self, queries: Tensor, context: Tensor | None = None, *, shift: int = 0) -> Tensor:
        """Attends inside windows.

        Args:
            queries: map, (B, h, w, d).
            context: map, (B, h, w, d); the queries if not given.
            shift: where the first window of the context begins, in pixels down and to the right. The map goes on
                cyclically, and nothing is masked.

        Returns:
            (B, h, w, d), in the places of the queries.
        """
        _, h, w, _ = queries.shape
        own_shift = shift if context is None else 0
        pads = self.pads(queries)
        if pads:  # fewer bytes to move into windows
            dtype = product_dtype(queries)
            queries, context = queries.to(dtype), None if context is None else context.to(dtype)
        queries = to_windows(queries, self.window_size, own_shift)
        context = queries if context is None else to_windows(context, self.window_size, shift)
        attend = self._padded if pads else self._plain
        return from_windows(attend(queries, context), self.window_size, h, w, own_shift)

    def _plain(self, queries: Tensor, context: Tensor) -> Tensor:
        """Attends in windows (M, T, d), to (M, T, d)."""
        q, k, v = self.heads(self.query(queries)), self.heads(self.key(context)), self.heads(self.value(context))
        q, k, v = (heads.transpose(1, 2) for heads in (q, k, v))  # (M, heads, T, d / heads)
        return self.out(window_attention(q, k, v, *self.positions()))

    def _padded(self, queries: Tensor, context: Tensor) -> Tensor:
        """The same, to the last bit but for the order of sums, with heads as the kernels for GPUs want them.

        Rows and columns of zeros in the joined weights make channels of zeros in the heads, which change nothing.
        """
        if queries is context:
            q, k, v = self._projected(queries, self.query, self.key, self.value)
        else:
            (q,), (k, v) = self._projected(queries, self.query), self._projected(context, self.key, self.value)
        bias, rotations = self.kept(queries, self.padded_positions)
        mixed = window_attention(q, k, v, bias, rotations, scale=self.head_dim**-0.5)
        return F.linear(mixed, *self.kept(queries, self.closing))

    def _projected(self, x: Tensor, *layers: nn.Linear) -> tuple[Tensor, ...]:
        """What each layer makes of windows (M, T, d), padded: (M, heads, T, a multiple of `HEAD_MULTIPLE`)."""
        joined = F.linear(x, *self.kept(x, self.joined, *layers)).unflatten(-1, (len(layers), self.num_heads, -1))
        return joined.permute(2, 0, 3, 1, 4).unbind()

    def joined(self, *layers: nn.Linear) -> tuple[Tensor, Tensor]:
        """Weight and bias of layers side by side, with rows of zeros after those of each head."""
        weight, bias = torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers])
        return padded_heads(weight, self.head_dim), padded_heads(bias, self.head_dim)

    def closing(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of `out`, with columns of zeros after those of each head."""
        return padded_heads(self.out.weight, self.head_dim, axis=1), self.out.bias

    def positions(self) -> tuple[Tensor | None, Tensor | None]:
        """Bias and rotations of the window attention, of which one is None."""
        return (
            self.bias() if self.bias is not None else None,
            self.rope() if self.rope is not None else None,
        )

    def padded_positions(self) -> tuple[Tensor | None, Tensor | None]:
        """The same for padded heads: pairs of zeros are turned by anything."""
        bias, rotations = self.positions()
        if rotations is not None and self.padding:
            rotations = F.pad(rotations, (0, self.padding // 2))
        return bias, rotations

    def heads(self, projected: Tensor) -> Tensor:
        """(..., d) as (..., heads, d / heads)."""
        return projected.unflatten(-1, (self.num_heads, -1))
