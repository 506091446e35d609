"""The window attention on GPUs: laid out so that PyTorch's fused kernels take it, in every precision.

They take heads of a multiple of 8 channels, 16-byte rows, and a bias whose rows are aligned; what they refuse PyTorch
computes step by step, with the T x S weights of all windows in memory.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from . import reference

MULTIPLE = 8  # of channels, and of numbers in a row of the bias


def window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    rotations: Tensor | None,
    windows: Tensor | None,
    context_windows: Tensor | None,
    scale: float,
) -> Tensor:
    """The operator `gsasr::window_attention` for a fused kernel of PyTorch's: of q's dtype, differentiable."""
    heads, D = q.shape[1], q.shape[-1]
    missing = -D % MULTIPLE
    if missing:  # channels of zeros change neither logits nor results
        q, k, v = (F.pad(x, (0, missing)) for x in (q, k, v))
        if rotations is not None:
            rotations = F.pad(rotations, (0, 0, 0, missing // 2))
    if bias is not None:
        bias = bias.to(q.dtype)
        if bias.dim() == 4:
            bias = reference.in_turn(bias, len(q if windows is None else windows))
        bias = aligned(bias)
    mixed = reference.window_attention(q, k, v, bias, rotations, windows, context_windows, scale)
    return mixed.unflatten(-1, (heads, -1))[..., :D].flatten(-2) if missing else mixed


def aligned(bias: Tensor) -> Tensor:
    """A bias (..., T, S) whose rows lie in one piece and begin at multiples of 8 numbers; itself where they do."""
    *strides, step = bias.stride()
    if step == 1 and all(stride % MULTIPLE == 0 for stride in strides):
        return bias
    return F.pad(bias.contiguous(), (0, -bias.shape[-1] % MULTIPLE))[..., : bias.shape[-1]]
