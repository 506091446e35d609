"""The perceptron in plain PyTorch: the twin that the kernels are tested against, and the way out where there are
none.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers import packed_bytes


def pack_linear(weight: Tensor, bias: Tensor, in_bfloat16: bool) -> Tensor:
    """The operator `gsasr::pack_linear` where there are no kernels that could read anything: nothing is packed."""
    return packed_bytes(weight, weight.shape[1])


def perceptron(
    x: Tensor,
    weights: list[Tensor],
    biases: list[Tensor],
    packed: list[Tensor],
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
