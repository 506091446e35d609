"""The public functions `perceptron` and `pack_perceptron`, and what PyTorch has to know about the operators behind
them.

Letters: n rows, K elements of each, B addends, M results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import extension
from ..layers import check_devices, is_bfloat16, no_derivative, operands_of
from . import reference


@dataclass(frozen=True, eq=False)
class PackedPerceptron:
    """The layers of a perceptron, as its kernel reads them: made by `pack_perceptron`, to be given to `perceptron`.

    It is a copy of what the weights were: whoever changes them packs again, no change is noticed here. What is packed
    is of use to one instruction set: saved and loaded on another machine, it may be refused.

    Attributes:
        weights: the weights themselves, of each layer, (results, inputs): for devices without a kernel.
        biases: of each layer, (results,), float32.
        operands: float32 or bfloat16, to which the operands of the products are rounded.
        packed: of each layer, bytes that nobody else reads, as many as a copy in float32 has; empty on other devices.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    operands: torch.dtype
    packed: tuple[Tensor, ...]


def pack_perceptron(
    weights: Sequence[Tensor], biases: Sequence[Tensor], *, operands: torch.dtype = torch.float32
) -> PackedPerceptron:
    """Packs the layers of a perceptron once for many calls of `perceptron`, whose results are the same, bit for bit.

    Args:
        weights: of each layer, (results, inputs), float32 or bfloat16; at least one.
        biases: of each layer, (results,).
        operands: float32 or bfloat16, to which the operands of the products are rounded.

    Raises:
        ValueError: another number of weights than of biases, or none.
        RuntimeError: a shape, a dtype or a device that does not fit; the message names the argument.
        TypeError: operands is neither float32 nor bfloat16.
    """
    if not 1 <= len(weights) == len(biases):
        raise ValueError(
            f'weights and biases must hold one tensor for each layer, from one on, got {len(weights)} and {len(biases)}'
        )
    in_bfloat16 = is_bfloat16('operands', operands)
    biases = tuple(bias.float() for bias in biases)
    packed = ()
    if weights[0].device.type == 'cpu':
        packed = tuple(torch.ops.gsasr.pack_linear(*layer, in_bfloat16) for layer in zip(weights, biases))
    return PackedPerceptron(tuple(weights), biases, operands, packed)


def perceptron(
    x: Tensor,
    weights: Sequence[Tensor] | PackedPerceptron,
    biases: Sequence[Tensor] | None = None,
    *,
    added: Tensor | None = None,
    norm: tuple[Tensor, Tensor, float] | None = None,
    adds_x: bool = False,
    residual: Tensor | None = None,
    operands: torch.dtype | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """y + residual + W_l max(... max(W_1 norm(y) + b_1, 0) ..., 0) + b_l with y = x + added.

    Linear layers with a ReLU between, of rows that may be normalised first and added last. On CPUs one kernel does all
    of that to a few rows at a time, which stay in the cache. All is computed in float32, except that the operands of
    the products may be rounded to bfloat16. Worth calling for the operands in `MULTIPLIED`. Differentiable once: what
    is between the layers is not kept, but computed again.

    Args:
        x: (n, K), float32 or bfloat16.
        weights: what `pack_perceptron` returned; or of each layer, (results, inputs), float32 or bfloat16, at least
            one, which are packed for this call.
        biases: of each layer, (results,); not given where the weights are packed.
        added: what is added to x first, (B, K) with B a divisor of n: the first row to the first n / B rows, and so on.
        norm: weight (K,), bias (K,) and what is added to the variance, of a layer normalisation.
        adds_x: whether y is added to the result; x is float32 and M is K then.
        residual: what is added to the result, (n, M).
        operands: float32 or bfloat16, to which the operands of the products are rounded. If not given, those that the
            weights were packed for, float32 where they are not packed.
        dtype: of the result, float32 or bfloat16.

    Returns:
        (n, M).

    Raises:
        RuntimeError: a shape, a dtype or a device that does not fit, or weights that were packed on another machine;
            the message names the argument.
        TypeError: operands or dtype is neither float32 nor bfloat16; biases are missing or given twice.
        ValueError: weights that were packed for other operands.
    """
    in_bfloat16 = operands_of(weights if isinstance(weights, PackedPerceptron) else None, biases, operands)
    packed: list[Tensor] = []
    if isinstance(weights, PackedPerceptron):
        layers = weights
        weights, biases, packed = layers.weights, layers.biases, list(layers.packed)
    assert biases is not None  # see operands_of
    norm_weight, norm_bias, eps = norm if norm is not None else (None, None, 0.0)
    added, norm_weight, norm_bias, residual = (
        tensor.float() if tensor is not None else None for tensor in (added, norm_weight, norm_bias, residual)
    )
    rounded = is_bfloat16('dtype', dtype)
    biases = [bias.float() for bias in biases]
    return torch.ops.gsasr.perceptron(
        x, list(weights), biases, packed, added, norm_weight, norm_bias, eps, adds_x, residual, in_bfloat16, rounded
    )


def _fake(
    x, weights, biases, packed, added, norm_weight, norm_bias, eps, adds_x, residual, in_bfloat16, output_in_bfloat16
):
    optional = {'added': added, 'norm_weight': norm_weight, 'norm_bias': norm_bias, 'residual': residual}
    check_devices(x, weights=weights, biases=biases, packed=packed, **optional)
    dtype = torch.bfloat16 if output_in_bfloat16 else torch.float32
    return x.new_empty((x.shape[0], weights[-1].shape[0]), dtype=dtype)


def _save_for_backward(ctx, inputs, output):
    x, weights, biases, packed, added, norm_weight, norm_bias, ctx.eps, ctx.adds_x, _, ctx.in_bfloat16, _ = inputs
    ctx.layers, ctx.packed = len(weights), len(packed)
    ctx.save_for_backward(x, added, norm_weight, norm_bias, *weights, *biases)


def _backward(ctx, v_output):
    x, added, norm_weight, norm_bias, *parameters = ctx.saved_tensors
    weights, biases = parameters[: ctx.layers], parameters[ctx.layers :]
    v_x, v_parameters = torch.ops.gsasr.perceptron_backward(
        v_output, x, weights, biases, added, norm_weight, norm_bias, ctx.eps, ctx.adds_x, ctx.in_bfloat16
    )
    shapes = [parameter.shape for layer in zip(weights, biases) for parameter in layer]
    if norm_weight is not None:
        shapes += [norm_weight.shape, norm_bias.shape]
    parts = [part.view(shape) for part, shape in zip(v_parameters.split([s.numel() for s in shapes]), shapes)]
    v_norm = parts[2 * ctx.layers :] or (None, None)
    v_added = v_x.float().unflatten(0, (len(added), -1)).sum(1) if added is not None else None
    v_residual = v_output.float() if ctx.needs_input_grad[9] else None
    v_layers = parts[: 2 * ctx.layers : 2], parts[1 : 2 * ctx.layers : 2], [None] * ctx.packed
    return v_x, *v_layers, v_added, *v_norm, None, None, v_residual, None, None


def _fake_backward(v_output, x, weights, biases, added, norm_weight, norm_bias, eps, adds_x, in_bfloat16):
    count = sum(parameter.numel() for parameter in (*weights, *biases))
    count += 2 * x.shape[1] if norm_weight is not None else 0
    return x.new_empty(x.shape), x.new_empty(count, dtype=torch.float32)


extension.register('pack_linear', twin=reference.pack_linear, fake=reference.pack_linear)
extension.register(
    'perceptron',
    twin=reference.perceptron,
    fake=_fake,
    backward=_backward,
    setup_context=_save_for_backward,
)
extension.register(
    'perceptron_backward',
    twin=reference.perceptron_backward,
    fake=_fake_backward,
    backward=no_derivative('perceptron_backward'),
)
