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


def perceptron_backward(
    v_output: Tensor,
    x: Tensor,
    weights: list[Tensor],
    biases: list[Tensor],
    added: Tensor | None,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    eps: float,
    adds_x: bool,
    in_bfloat16: bool,
) -> tuple[Tensor, Tensor]:
    """The operator `gsasr::perceptron_backward` in PyTorch.

    Returns:
        The gradient of x, in its dtype, and those of weight and bias of each layer and of the normalisation, in float32
        one after the other.
    """

    def operand(x: Tensor) -> Tensor:
        return x.bfloat16().float() if in_bfloat16 else x.float()

    y = x.float()
    if added is not None:
        y = (y.unflatten(0, (len(added), -1)) + added[:, None]).flatten(0, 1)
    result, v = y, v_output.float()
    if norm_weight is not None and norm_bias is not None:
        factor = (y.var(1, correction=0, keepdim=True) + eps).rsqrt()
        normalised = (y - y.mean(1, keepdim=True)) * factor
        result = normalised * norm_weight + norm_bias
    with torch.autocast(x.device.type, enabled=False):
        inputs = []
        for i, (weight, bias) in enumerate(zip(weights, biases)):
            inputs.append(operand(F.relu(result) if i else result))
            result = F.linear(inputs[-1], operand(weight), bias)
        v_parameters: list[Tensor] = []
        for i in reversed(range(len(weights))):
            v = operand(v)
            v_parameters = [v.t() @ inputs[i], v.sum(0), *v_parameters]
            v = v @ operand(weights[i])
            v = v * (inputs[i] > 0) if i else v
    if norm_weight is not None:
        v_parameters += [(v * normalised).sum(0), v.sum(0)]
        v = v * norm_weight
        v = factor * (v - v.mean(1, keepdim=True) - normalised * (v * normalised).mean(1, keepdim=True))
    if adds_x:
        v = v + v_output
    return v.to(x.dtype), torch.cat([parameter.flatten() for parameter in v_parameters])
