"""The public function `convolution`, and what PyTorch has to know about the operator behind it.

Letters: B maps of H x W pixels, C channels, N results.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import extension
from .devices import check_devices
from .operands import is_bfloat16


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    residual: Tensor | None = None,
    operands: torch.dtype = torch.float32,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """3 x 3 convolution of maps, with zeros around, without a derivative.

    On CPUs by Winograd's F(2 x 2, 3 x 3): 16 products in place of 36, of sums of pixels and of weights. All is computed
    in float32, except that these sums may be rounded to bfloat16. Worth calling for the operands in `MULTIPLIED`.

    Args:
        x: (B, H, W, C), float32 or bfloat16, of any strides.
        weight: (N, C, 3, 3).
        bias: (N,).
        residual: what is added to the result, (B, H, W, N).
        operands: float32 or bfloat16, to which the operands of the products are rounded.
        dtype: of the result, float32 or bfloat16.

    Returns:
        (B, H, W, N).

    Raises:
        RuntimeError: a shape, a dtype or a device that does not fit; the message names the argument.
        TypeError: operands or dtype is neither float32 nor bfloat16.
    """
    return torch.ops.gsasr.convolution(
        x,
        weight.float(),
        bias.float(),
        residual.float() if residual is not None else None,
        is_bfloat16('operands', operands),
        is_bfloat16('dtype', dtype),
    )


def _fake(x, weight, bias, residual, in_bfloat16, output_in_bfloat16):
    check_devices(x, weight=weight, bias=bias, residual=residual)
    dtype = torch.bfloat16 if output_in_bfloat16 else torch.float32
    return x.new_empty((*x.shape[:3], weight.shape[0]), dtype=dtype)


def _no_derivative(ctx, v_output):
    raise NotImplementedError('the operator convolution has no derivative')


extension.define_operators()
torch.library.register_fake('gsasr::convolution', _fake)
torch.library.register_autograd('gsasr::convolution', _no_derivative)
