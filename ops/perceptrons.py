"""The public function `perceptron`, and what PyTorch has to know about the operator behind it."""

from __future__ import annotations

import torch
from torch import Tensor

from . import extension


def perceptron(x: Tensor, weight: Tensor, bias: Tensor, out_weight: Tensor, out_bias: Tensor) -> Tensor:
    """max(x weight^T + bias, 0) out_weight^T + out_bias in bfloat16, without a derivative.

    For a wide hidden layer and few outputs: on CPUs the hidden layer is never stored. x and `weight` are rounded to
    bfloat16, all else is computed in float32. Worth calling where `MULTIPLIES_BFLOAT16`.

    Args:
        x: (n, K), float32 or bfloat16.
        weight: (N, K), float32 or bfloat16.
        bias: (N,).
        out_weight: (O, N).
        out_bias: (O,).

    Returns:
        (n, O), float32.

    Raises:
        RuntimeError: a shape, a dtype or a device that does not fit; the message names the argument.
    """
    return torch.ops.gsasr.perceptron(x, weight, bias.float(), out_weight.float(), out_bias.float())


def _fake(x, weight, bias, out_weight, out_bias):
    return x.new_empty((x.shape[0], out_weight.shape[0]), dtype=torch.float32)


def _no_derivative(ctx, v_output):
    raise NotImplementedError('the operator perceptron has no derivative')


extension.define_operators()
torch.library.register_fake('gsasr::perceptron', _fake)
torch.library.register_autograd('gsasr::perceptron', _no_derivative)

# Whether the library that was there at import multiplies in bfloat16 on this machine's CPU.
MULTIPLIES_BFLOAT16 = extension.backend()['instruction_sets'][:1] == ['avx512bf16']
