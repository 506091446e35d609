"""The convolution in plain PyTorch: the twin that the kernels are tested against, and the way out where there are
none.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
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
