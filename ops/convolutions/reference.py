"""The convolution in plain PyTorch: the twin that the kernels are tested against, and the way out where there are
none.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
import torch.nn.grad
from torch import Tensor

from ..layers import packed_bytes


def pack_convolution(weight: Tensor, bias: Tensor, in_bfloat16: bool) -> Tensor:
    """The operator `gsasr::pack_convolution` where there are no kernels: nothing is packed."""
    return packed_bytes(weight, 16 * ((weight.shape[1] + 15) // 16 * 16))


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    packed: Tensor | None,
    residual: Tensor | None,
    side: int,
    in_bfloat16: bool,
    output_in_bfloat16: bool,
) -> Tensor:
    """The operator `gsasr::convolution` in PyTorch."""
    if in_bfloat16:
        x, weight = x.bfloat16(), weight.bfloat16()
    with torch.autocast(x.device.type, enabled=False):
        result = (
            F.conv2d(x.float().permute(0, 3, 1, 2), weight.float(), bias, padding=1).permute(0, 2, 3, 1).contiguous()
        )
    if residual is not None:
        result = result + residual
    return result.bfloat16() if output_in_bfloat16 else result


def convolution_weight_backward(v_output: Tensor, x: Tensor, side: int, in_bfloat16: bool) -> tuple[Tensor, Tensor]:
    """The operator `gsasr::convolution_weight_backward` in PyTorch: gradients of weight and bias, in float32."""
    v_bias = v_output.float().sum((0, 1, 2))
    if in_bfloat16:
        v_output, x = v_output.bfloat16(), x.bfloat16()
    v_planes, planes = (maps.float().permute(0, 3, 1, 2) for maps in (v_output, x))
    with torch.autocast(x.device.type, enabled=False):
        size = (v_planes.shape[1], planes.shape[1], 3, 3)
        return torch.nn.grad.conv2d_weight(planes, size, v_planes, padding=1).contiguous(), v_bias
