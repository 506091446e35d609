"""The window attention in plain PyTorch: the twin that the kernels are tested against, and the way out where there are
none.

Letters: M windows, T queries and S keys of each, D channels of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import torch_private


def rotate(x: Tensor, rotations: Tensor) -> Tensor:
    """Turns the channel pairs (2i, 2i + 1) of each token: one complex product, a single pass over memory.

    Args:
        x: queries or keys, (..., heads, T, D), of any strides.
        rotations: (heads, T, D / 2), complex.

    Returns:
        As x, in its dtype (under autocast too).
    """
    return torch.view_as_real(_pairs(x, rotations.real.dtype) * rotations).flatten(-2).to(x.dtype)


def _pairs(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Channel pairs as complex numbers, (..., D) to (..., D / 2): a view, or one of a copy where none is possible."""
    x = x.to(dtype)
    *strides, step = x.stride()
    if step != 1 or any(number % 2 for number in (*strides, x.storage_offset())):
        x = x.clone(memory_format=torch.contiguous_format)
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))


def window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    rotations: Tensor | None,
    windows: Tensor | None,
    context_windows: Tensor | None,
    scale: float,
) -> Tensor:
    """The operator `gsasr::window_attention` in PyTorch."""
    q, k, v = _in_windows(q, windows), _in_windows(k, context_windows), _in_windows(v, context_windows)
    if rotations is not None:
        q, k = rotate(q, _turns(rotations, q)), rotate(k, _turns(rotations, k))
    mask = None
    if bias is not None:  # the fused attention for CPUs takes no mask of three dimensions
        mask = (bias[None] if bias.dim() == 3 else in_turn(bias, len(q))).to(q.dtype)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale).transpose(1, 2).flatten(2)
    return mixed if windows is None else mixed.flatten(0, 1)[windows.flatten().argsort()]


def in_turn(bias: Tensor, M: int) -> Tensor:
    """The biases (W, heads, T, S) of W kinds of windows for M windows in turn; themselves where there are as many."""
    return bias if len(bias) == M else bias.repeat(M // len(bias), 1, 1, 1)


def window_attention_backward(
    v_output: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    rotations: Tensor | None,
    windows: Tensor | None,
    context_windows: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """Gradients of q, k, v, bias and rotations, from that of the output.

    The weights, S numbers for each query and head, are computed again.
    """
    v_mixed = v_output.unflatten(-1, (q.shape[1], -1))  # (M, T, heads, D) or (R, heads, D)
    v_mixed = _in_windows(v_mixed, windows) if windows is not None else v_mixed.transpose(1, 2)  # (M, heads, T, D)
    rows, context_rows = q.shape[0], k.shape[0]
    q, k, v = _in_windows(q, windows), _in_windows(k, context_windows), _in_windows(v, context_windows)
    turned_q, turned_k = q, k
    if rotations is not None:
        turned_q, turned_k = rotate(q, _turns(rotations, q)), rotate(k, _turns(rotations, k))
    with torch.autocast(q.device.type, enabled=False):  # the operands have their type already
        scaled_q = turned_q * scale
        logits = scaled_q @ turned_k.transpose(-2, -1)  # (M, heads, T, S)
        weights = (logits.add_(bias.to(q.dtype)) if bias is not None else logits).softmax(-1)
        v_v = weights.transpose(-2, -1) @ v_mixed
        v_weights = v_mixed @ v.transpose(-2, -1)
        v_logits = torch_private.softmax_backward(v_weights, weights)
        v_q, v_k = (v_logits @ turned_k) * scale, v_logits.transpose(-2, -1) @ scaled_q
    v_bias = v_logits.sum(0, dtype=bias.dtype) if bias is not None else None
    v_rotations = None
    if rotations is not None:
        v_rotations = torch.zeros_like(rotations)
        for x, v_x in ((q, v_q), (k, v_k)):
            v_turns = (_pairs(v_x, rotations.dtype) * _pairs(x, rotations.dtype).conj()).sum(0)  # (heads, T, D / 2)
            v_rotations[:, : x.shape[2]] += torch.view_as_real(v_turns)
        v_q, v_k = rotate(v_q, _turns(rotations, q).conj()), rotate(v_k, _turns(rotations, k).conj())
    if windows is not None and context_windows is not None:
        v_q = _from_windows(v_q, windows, rows)
        v_k, v_v = _from_windows(v_k, context_windows, context_rows), _from_windows(v_v, context_windows, context_rows)
    return v_q, v_k, v_v, v_bias, v_rotations


def token_gradients(
    v_output: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    windows: Tensor | None,
    context_windows: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The operator `gsasr::window_attention_backward` in PyTorch.

    Returns:
        The gradients of q, k and v, (tokens, heads, D), and of the bias, empty where there is none; float32.
    """
    *gradients, v_bias, _ = window_attention_backward(v_output, q, k, v, bias, None, windows, context_windows, scale)
    if windows is None:
        gradients = [gradient.transpose(1, 2).flatten(0, 1) for gradient in gradients]
    v_q, v_k, v_v = (gradient.float().contiguous() for gradient in gradients)
    return v_q, v_k, v_v, q.new_empty(0, dtype=torch.float32) if v_bias is None else v_bias


def _turns(rotations: Tensor, x: Tensor) -> Tensor:
    """Those of the tokens of x, (M, heads, T, D), as complex numbers, (heads, T, D / 2)."""
    return torch.view_as_complex(rotations[:, : x.shape[2]].contiguous())


def _in_windows(x: Tensor, windows: Tensor | None) -> Tensor:
    """Tokens (any, heads, D) as (M, heads, tokens, D); without windows they are that."""
    return x[windows].transpose(1, 2) if windows is not None else x


def _from_windows(x: Tensor, windows: Tensor, rows: int) -> Tensor:
    """The sums of what is (M, heads, tokens, D) over the places of each token: (rows, heads, D)."""
    x = x.transpose(1, 2).flatten(0, 1)
    return x.new_zeros((rows, *x.shape[1:])).index_add(0, windows.flatten(), x)
