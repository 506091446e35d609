"""Linear layers with a ReLU, in one kernel where PyTorch or gsasr_ops has one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gsasr_ops

# The operator that PyTorch's own compiler emits for a linear layer on a CPU: oneDNN's product, with bias and ReLU in
# the same pass. Beside F.linear and relu_ it is 1.1 to 1.6 times as fast in float32, 1.0 to 1.1 times in bfloat16.
# Builds without oneDNN have none.
_POINTWISE = getattr(torch.ops.mkldnn, '_linear_pointwise', None) if torch.backends.mkldnn.is_available() else None


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
        dtype = _cpu_dtype(x)
        if dtype in (torch.float32, torch.bfloat16):
            x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
            return _POINTWISE(x, weight, bias, 'relu' if relu else 'none', [], '')
    y = F.linear(x, weight, bias)
    return F.relu_(y) if relu else y


def perceptron(x: Tensor, hidden: nn.Linear, output: nn.Linear) -> Tensor:
    """output(max(hidden(x), 0)), under autocast in its type, or more exact and in float32.

    Without gradients on CPUs that multiply in bfloat16, the hidden numbers are not stored: for wide hidden layers and
    few outputs 1.3 times as fast.

    Args:
        x: (n, k).
        hidden, output: k numbers to h, and h to m.

    Returns:
        (n, m).
    """
    if is_fused(x):
        return gsasr_ops.perceptron(x, hidden.weight, hidden.bias, output.weight, output.bias)
    return linear(linear(x, hidden.weight, hidden.bias, relu=True), output.weight, output.bias)


def operand(x: Tensor) -> Tensor:
    """x as a linear layer would cast it under autocast: what moves it about before then moves fewer bytes."""
    kind = x.device.type
    cast = torch.is_autocast_enabled(kind) and x.dtype == torch.float32  # float64 is never cast
    return x.to(torch.get_autocast_dtype(kind)) if cast else x


def is_fused(x: Tensor) -> bool:
    """Whether `perceptron` stores no hidden numbers."""
    on_cpu = x.device.type == 'cpu' and not torch.is_grad_enabled()
    return on_cpu and gsasr_ops.MULTIPLIES_BFLOAT16 and _cpu_dtype(x) == torch.bfloat16


def _cpu_dtype(x: Tensor) -> torch.dtype:
    """In which x is multiplied on a CPU."""
    return torch.get_autocast_dtype('cpu') if torch.is_autocast_enabled('cpu') else x.dtype
