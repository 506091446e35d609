"""Linear layers that take the ReLU after them along: on GPUs it is no pass of its own over memory.

Letters: n rows, k inputs, m outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gsasr_plugin.precision import product_dtype
from gsasr_plugin.torch_private import is_hooked, product_with_relu, relu_backward


class Preparing:
    """What modules share that multiply by something made of their weights: joined, padded, or only cast."""

    def kept(self, x: Tensor, make: Callable[..., tuple[Any, ...]], *layers: nn.Linear) -> Any:
        """What is made of the weights of layers for products with x; a snapshot (archs/inference.py) makes it once."""
        return make(*layers)

    def pads(self: Any, x: Tensor) -> bool:
        """Whether x meets kernels that want padded weights: on GPUs, unless layers have hooks to be called."""
        return x.device.type != 'cpu' and (torch.compiler.is_compiling() or not is_hooked(self))


class Linear(Preparing, nn.Linear):
    """nn.Linear, with and without a ReLU after it."""

    def relu(self, x: Tensor) -> Tensor:
        """relu(self(x))."""
        fuses = x.device.type in ('cuda', 'meta')  # meta: as a GPU would
        if not fuses or torch.compiler.is_compiling() or is_hooked(self):
            return F.relu_(self(x))
        dtype = product_dtype(x)
        operands = (x.reshape(-1, x.shape[-1]), *self.kept(x, self.own))
        result: Tensor = _LinearReLU.apply(*(operand.to(dtype) for operand in operands))
        return result.unflatten(0, x.shape[:-1])

    def own(self) -> tuple[Tensor, Any]:
        """Weight and bias as they are."""
        return self.weight, self.bias


class _LinearReLU(torch.autograd.Function):
    """relu(x W^T + b) of (n, k), in the dtype of all three: (n, m). Of it all only x and the result are kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        result = product_with_relu(x, weight, bias)
        ctx.save_for_backward(x, weight, result)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, v_result: Tensor) -> Any:
        x, weight, result = ctx.saved_tensors
        v = relu_backward(v_result, result)
        with torch.autocast(x.device.type, enabled=False):
            needs_x, needs_weight, needs_bias = ctx.needs_input_grad
            return (
                v @ weight if needs_x else None,
                v.t() @ x if needs_weight else None,
                v.sum(0) if needs_bias else None,
            )
