"""The public function `perceptron`, and what PyTorch has to know about the operator behind it.

Letters: n rows, K elements of each, B addends, M results.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import extension
from .devices import check_devices
from .operands import is_bfloat16


def perceptron(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    *,
    added: Tensor | None = None,
    norm: tuple[Tensor, Tensor, float] | None = None,
    adds_x: bool = False,
    residual: Tensor | None = None,
    operands: torch.dtype = torch.float32,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """y + residual + W_l max(... max(W_1 norm(y) + b_1, 0) ..., 0) + b_l with y = x + added, without a derivative.

    Linear layers with a ReLU between, of rows that may be normalised first and added last. On CPUs one kernel does all
    of that to a few rows at a time, which stay in the cache. All is computed in float32, except that the operands of
    the products may be rounded to bfloat16. Worth calling for the operands in `MULTIPLIED`.

    Args:
        x: (n, K), float32 or bfloat16.
        weights: of each layer, (results, inputs), float32 or bfloat16; at least one.
        biases: of each layer, (results,).
        added: what is added to x first, (B, K) with B a divisor of n: the first row to the first n / B rows, and so on.
        norm: weight (K,), bias (K,) and what is added to the variance, of a layer normalisation.
        adds_x: whether y is added to the result; x is float32 and M is K then.
        residual: what is added to the result, (n, M).
        operands: float32 or bfloat16, to which the operands of the products are rounded.
        dtype: of the result, float32 or bfloat16.

    Returns:
        (n, M).

    Raises:
        RuntimeError: a shape, a dtype or a device that does not fit; the message names the argument.
        TypeError: operands or dtype is neither float32 nor bfloat16.
    """
    norm_weight, norm_bias, eps = norm if norm is not None else (None, None, 0.0)
    added, norm_weight, norm_bias, residual = (
        tensor.float() if tensor is not None else None for tensor in (added, norm_weight, norm_bias, residual)
    )
    return torch.ops.gsasr.perceptron(
        x,
        list(weights),
        [bias.float() for bias in biases],
        added,
        norm_weight,
        norm_bias,
        eps,
        adds_x,
        residual,
        is_bfloat16('operands', operands),
        is_bfloat16('dtype', dtype),
    )


def _fake(x, weights, biases, added, norm_weight, norm_bias, eps, adds_x, residual, in_bfloat16, output_in_bfloat16):
    optional = {'added': added, 'norm_weight': norm_weight, 'norm_bias': norm_bias, 'residual': residual}
    check_devices(x, weights=weights, biases=biases, **optional)
    dtype = torch.bfloat16 if output_in_bfloat16 else torch.float32
    return x.new_empty((x.shape[0], weights[-1].shape[0]), dtype=dtype)


def _no_derivative(ctx, v_output):
    raise NotImplementedError('the operator perceptron has no derivative')


extension.define_operators()
torch.library.register_fake('gsasr::perceptron', _fake)
torch.library.register_autograd('gsasr::perceptron', _no_derivative)
