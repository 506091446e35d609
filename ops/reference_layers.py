"""The layers in plain PyTorch: the twins that the kernels are tested against, and the way out where there are none.

Letters: M windows, T queries and S keys of each, D channels of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def rotate(x: Tensor, rotations: Tensor) -> Tensor:
    """Turns the channel pairs (2i, 2i + 1) of each token: one complex product, a single pass over memory.

    Args:
        x: queries or keys, (..., heads, T, D).
        rotations: (heads, T, D / 2), complex.

    Returns:
        As x, in its dtype (under autocast too).
    """
    pairs = torch.view_as_complex(x.to(rotations.real.dtype).unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotations).flatten(-2).to(x.dtype)


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
    if windows is not None and context_windows is not None:
        q, k, v = _in_windows(q, windows), _in_windows(k, context_windows), _in_windows(v, context_windows)
    if rotations is not None:
        turns = torch.view_as_complex(rotations.contiguous())
        q, k = rotate(q, turns[:, : q.shape[2]]), rotate(k, turns[:, : k.shape[2]])
    # The fused attention for CPUs takes no mask of three dimensions.
    mask = bias[None].to(q.dtype) if bias is not None else None
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale).transpose(1, 2).flatten(2)
    return mixed if windows is None else mixed.flatten(0, 1)[windows.flatten().argsort()]


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
    rows, context_rows = q.shape[0], k.shape[0]
    if windows is not None and context_windows is not None:
        q, k, v = _in_windows(q, windows), _in_windows(k, context_windows), _in_windows(v, context_windows)
        v_mixed = v_mixed[windows]
    v_mixed = v_mixed.transpose(1, 2)  # (M, heads, T, D)
    turned_q, turned_k = q, k
    if rotations is not None:
        turns = torch.view_as_complex(rotations.contiguous())
        q_turns, k_turns = turns[:, : q.shape[2]], turns[:, : k.shape[2]]
        turned_q, turned_k = rotate(q, q_turns), rotate(k, k_turns)
    with torch.autocast(q.device.type, enabled=False):  # the operands have their type already
        scaled_q = turned_q * scale
        logits = scaled_q @ turned_k.transpose(-2, -1)  # (M, heads, T, S)
        weights = (logits.add_(bias.to(q.dtype)) if bias is not None else logits).softmax(-1)
        v_v = weights.transpose(-2, -1) @ v_mixed
        v_weights = v_mixed @ v.transpose(-2, -1)
        v_logits = torch.ops.aten._softmax_backward_data(v_weights, weights, -1, q.dtype)
        v_q, v_k = (v_logits @ turned_k) * scale, v_logits.transpose(-2, -1) @ scaled_q
    v_bias = v_logits.sum(0, dtype=bias.dtype) if bias is not None else None
    v_rotations = None
    if rotations is not None:
        v_turns = torch.zeros_like(turns)
        v_turns[:, : q.shape[2]] += _products(v_q, q, turns)
        v_turns[:, : k.shape[2]] += _products(v_k, k, turns)
        v_rotations = torch.view_as_real(v_turns)
        v_q, v_k = rotate(v_q, q_turns.conj()), rotate(v_k, k_turns.conj())
    if windows is not None and context_windows is not None:
        v_q = _from_windows(v_q, windows, rows)
        v_k, v_v = _from_windows(v_k, context_windows, context_rows), _from_windows(v_v, context_windows, context_rows)
    return v_q, v_k, v_v, v_bias, v_rotations


def _in_windows(x: Tensor, windows: Tensor) -> Tensor:
    """Tokens (any, heads, D) as (M, heads, tokens, D)."""
    return x[windows].transpose(1, 2)


def _from_windows(x: Tensor, windows: Tensor, rows: int) -> Tensor:
    """The sums of what is (M, heads, tokens, D) over the places of each token: (rows, heads, D)."""
    x = x.transpose(1, 2).flatten(0, 1)
    return x.new_zeros((rows, *x.shape[1:])).index_add(0, windows.flatten(), x)


def _products(v_turned: Tensor, x: Tensor, like: Tensor) -> Tensor:
    """The gradient of the rotations of x from that of the result, both (M, heads, T, D): (heads, T, D / 2)."""
    pairs = (torch.view_as_complex(t.to(like.real.dtype).unflatten(-1, (-1, 2)).contiguous()) for t in (v_turned, x))
    v_pairs, x_pairs = pairs
    return (v_pairs * x_pairs.conj()).sum(0)


def perceptron(
    x: Tensor,
    weights: list[Tensor],
    biases: list[Tensor],
    added: Tensor | None,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    eps: float,
    adds_x: bool,
    residual: Tensor | None,
    in_bfloat16: bool,
    output_in_bfloat16: bool,
) -> Tensor:
    """The operator `gsasr::perceptron` in PyTorch, under autocast too in the types that it is told."""

    def operand(x: Tensor) -> Tensor:
        return x.bfloat16().float() if in_bfloat16 else x.float()

    y = x.float()
    if added is not None:
        y = (y.unflatten(0, (len(added), -1)) + added[:, None]).flatten(0, 1)
    result = F.layer_norm(y, y.shape[1:], norm_weight, norm_bias, eps) if norm_weight is not None else y
    for i, (weight, bias) in enumerate(zip(weights, biases)):
        with torch.autocast(x.device.type, enabled=False):
            result = F.linear(operand(F.relu(result) if i else result), operand(weight), bias)
    for addend in (y if adds_x else None, residual):
        if addend is not None:
            result = result + addend
    return result.bfloat16() if output_in_bfloat16 else result


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, in_bfloat16: bool, output_in_bfloat16: bool
) -> Tensor:
    """The operator `gsasr::convolution` in PyTorch."""
    if in_bfloat16:
        x, weight = x.bfloat16(), weight.bfloat16()
    with torch.autocast(x.device.type, enabled=False):
        result = (
            F.conv2d(x.float().permute(0, 3, 1, 2), weight.float(), bias, padding=1).permute(0, 2, 3, 1).contiguous()
        )
    if residual is not None:
        result = result + residual
    return result.bfloat16() if output_in_bfloat16 else result
