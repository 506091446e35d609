"""The public functions `convolution` and `pack_convolution`, and what PyTorch has to know about the operators behind
them.

Letters: B maps of H x W pixels, C channels, N results.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import extension
from ..layers import check_devices, is_bfloat16, no_derivative, operands_of
from . import reference


@dataclass(frozen=True, eq=False)
class PackedConvolution:
    """A weight as the kernel of the convolution reads it: made by `pack_convolution`, to be given to `convolution`.

    It is a copy of what the weight was: whoever changes that packs again, no change is noticed here. What is packed is
    of use to one instruction set: saved and loaded on another machine, it may be refused.

    Attributes:
        weight: the weight itself, (N, C, 3, 3), float32: for devices without a kernel.
        bias: (N,), float32.
        operands: float32 or bfloat16, to which the operands of the products are rounded.
        packed: bytes that nobody else reads, 16 / 9 times as many as the weight has; None on other devices.
    """

    weight: Tensor
    bias: Tensor
    operands: torch.dtype
    packed: Tensor | None


def pack_convolution(weight: Tensor, bias: Tensor, *, operands: torch.dtype = torch.float32) -> PackedConvolution:
    """Packs a weight once for many calls of `convolution`, whose results are the same, bit for bit.

    Args:
        weight: (N, C, 3, 3).
        bias: (N,).
        operands: float32 or bfloat16, to which the operands of the products are rounded.

    Raises:
        RuntimeError: a shape, a dtype or a device that does not fit; the message names the argument.
        TypeError: operands is neither float32 nor bfloat16.
    """
    in_bfloat16 = is_bfloat16('operands', operands)
    weight, bias = weight.float(), bias.float()
    on_cpu = weight.device.type == 'cpu'
    packed = torch.ops.gsasr.pack_convolution(weight, bias, in_bfloat16) if on_cpu else None
    return PackedConvolution(weight, bias, operands, packed)


def convolution(
    x: Tensor,
    weight: Tensor | PackedConvolution,
    bias: Tensor | None = None,
    *,
    residual: Tensor | None = None,
    operands: torch.dtype | None = None,
    dtype: torch.dtype = torch.float32,
    side: int = 2,
) -> Tensor:
    """3 x 3 convolution of maps, with zeros around. Differentiable once, by kernels of the same kind.

    On CPUs by Winograd's minimal filtering: of squares of 2 x 2 results 16 products in place of 36, of 4 x 4 results 36
    in place of 144, of sums of pixels and of weights. All is computed in float32, except that these sums may be rounded
    to bfloat16. Worth calling for the operands in `MULTIPLIED`.

    Args:
        x: (B, H, W, C), float32 or bfloat16, of any strides.
        weight: what `pack_convolution` returned; or (N, C, 3, 3), which is packed for this call.
        bias: (N,); not given where the weight is packed.
        residual: what is added to the result, (B, H, W, N).
        operands: float32 or bfloat16, to which the operands of the products are rounded. If not given, those that the
            weight was packed for, float32 where it is not packed.
        dtype: of the result, float32 or bfloat16.
        side: of the squares: 2; or 4, for training, with operands in bfloat16 and a weight that is not packed. That
            takes less time, and results and gradients are off by up to 1.2 % of their size instead of 0.4 %.

    Returns:
        (B, H, W, N).

    Raises:
        RuntimeError: a shape, a dtype, a device or a side that does not fit, or a weight that was packed on another
            machine; the message names the argument.
        TypeError: operands or dtype is neither float32 nor bfloat16; the bias is missing or given twice.
        ValueError: a weight that was packed for other operands.
    """
    in_bfloat16 = operands_of(weight if isinstance(weight, PackedConvolution) else None, bias, operands)
    packed = None
    if isinstance(weight, PackedConvolution):
        layer = weight
        weight, bias, packed = layer.weight, layer.bias, layer.packed
    assert bias is not None  # see operands_of
    return torch.ops.gsasr.convolution(
        x,
        weight.float(),
        bias.float(),
        packed,
        residual.float() if residual is not None else None,
        side,
        in_bfloat16,
        is_bfloat16('dtype', dtype),
    )


def _fake(x, weight, bias, packed, residual, side, in_bfloat16, output_in_bfloat16):
    check_devices(x, weight=weight, bias=bias, packed=packed, residual=residual)
    dtype = torch.bfloat16 if output_in_bfloat16 else torch.float32
    return x.new_empty((*x.shape[:3], weight.shape[0]), dtype=dtype)


def _save_for_backward(ctx, inputs, output):
    x, weight, _, _, _, ctx.side, ctx.in_bfloat16, _ = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx, v_output):
    x, weight = ctx.saved_tensors
    v_x = None
    if ctx.needs_input_grad[0]:
        # A convolution too, by the weight turned around.
        turned, zeros = weight.flip(2, 3).transpose(0, 1), weight.new_zeros(weight.shape[1])
        v_x = torch.ops.gsasr.convolution(
            v_output, turned, zeros, None, None, ctx.side, ctx.in_bfloat16, x.dtype == torch.bfloat16
        )
    v_weight, v_bias = torch.ops.gsasr.convolution_weight_backward(v_output, x, ctx.side, ctx.in_bfloat16)
    v_residual = v_output.float() if ctx.needs_input_grad[4] else None
    return v_x, v_weight, v_bias, None, v_residual, None, None, None


def _fake_weight_backward(v_output, x, side, in_bfloat16):
    outs = v_output.shape[3]
    return (
        x.new_empty((outs, x.shape[3], 3, 3), dtype=torch.float32),
        x.new_empty(outs, dtype=torch.float32),
    )


extension.register('pack_convolution', twin=reference.pack_convolution, fake=reference.pack_convolution)
extension.register(
    'convolution',
    twin=reference.convolution,
    fake=_fake,
    backward=_backward,
    setup_context=_save_for_backward,
)
extension.register(
    'convolution_weight_backward',
    twin=reference.convolution_weight_backward,
    fake=_fake_weight_backward,
    backward=no_derivative('convolution_weight_backward'),
)
