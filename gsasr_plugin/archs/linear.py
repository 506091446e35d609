"""Linear layers with a ReLU, in one kernel where PyTorch or gsasr_ops has one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gsasr_ops

# The operator that PyTorch's own compiler emits for a linear layer on a CPU: oneDNN's product, with bias and ReLU in
# the same pass. Beside F.linear and relu_ it is 1.1 to 1.6 times as fast in float32, 1.0 to 1.1 times in bfloat16.
# Builds without oneDNN have none.
_POINTWISE = getattr(torch.ops.mkldnn, '_linear_pointwise', None) if torch.backends.mkldnn.is_available() else None

Parameters = tuple[Tensor, Tensor]  # weight and bias


def linear(x: Tensor, weight: Tensor, bias: Tensor, *, relu: bool = False) -> Tensor:
    """max(x weight^T + bias, 0), or without the maximum, under autocast in its type.

    Args:
        x: (..., n).
        weight: (m, n).
        bias: (m,).
        relu: whether negative numbers become 0.

    Returns:
        (..., m).
    """
    if _POINTWISE is not None and x.device.type == 'cpu' and not torch.is_grad_enabled():
        dtype = cpu_dtype(x)
        if dtype in (torch.float32, torch.bfloat16):
            x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
            return _POINTWISE(x, weight, bias, 'relu' if relu else 'none', [], '')
    y = F.linear(x, weight, bias)
    return F.relu_(y) if relu else y


def perceptron(
    x: Tensor,
    layers: Sequence[nn.Linear | Parameters],
    *,
    norm: nn.LayerNorm | None = None,
    added: Tensor | None = None,
    adds_x: bool = False,
    residual: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Linear layers with a ReLU between in one kernel, where `is_fused(x)`.

    Args:
        x: (..., k).
        layers: layers, or weights and biases.
        norm: a normalisation before them.
        added: what is added to x before that, (B, k); x is (B, ..., k) then.
        adds_x: whether x + added is added to the result; x is in float32 then.
        residual: what is added to the result, (..., m).
        dtype: of the result. If not given, float32 where something is added, else that of a linear layer.

    Returns:
        (..., m).
    """
    parameters = [(layer.weight, layer.bias) if isinstance(layer, nn.Linear) else layer for layer in layers]
    operands = cpu_dtype(x)
    if dtype is None:
        dtype = torch.float32 if adds_x or residual is not None else operands
    result = gsasr_ops.perceptron(
        x.reshape(-1, x.shape[-1]),
        [weight for weight, _ in parameters],
        [bias for _, bias in parameters],
        added=added,
        norm=(norm.weight, norm.bias, norm.eps) if norm is not None else None,
        adds_x=adds_x,
        residual=residual.reshape(-1, residual.shape[-1]) if residual is not None else None,
        operands=operands,
        dtype=dtype,
    )
    return result.view(*x.shape[:-1], -1)


def operand(x: Tensor) -> Tensor:
    """x as a linear layer would cast it under autocast: what moves it about before then moves fewer bytes."""
    kind = x.device.type
    cast = torch.is_autocast_enabled(kind) and x.dtype == torch.float32  # float64 is never cast
    return x.to(torch.get_autocast_dtype(kind)) if cast else x


def is_fused(x: Tensor) -> bool:
    """Whether gsasr_ops multiplies faster than PyTorch: on some CPUs, without gradients.

    The kernels add in float32: a network that is itself in bfloat16 stays with PyTorch, to the last bit.
    """
    if x.device.type != 'cpu' or torch.is_grad_enabled():
        return False
    return cpu_dtype(x) in gsasr_ops.MULTIPLIED and (x.dtype == torch.float32 or torch.is_autocast_enabled('cpu'))


def cpu_dtype(x: Tensor) -> torch.dtype:
    """In which x is multiplied on a CPU."""
    cast = torch.is_autocast_enabled('cpu') and x.dtype != torch.float64  # float64 is never cast
    return torch.get_autocast_dtype('cpu') if cast else x.dtype
