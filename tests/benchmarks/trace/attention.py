"""Which of PyTorch's attention kernels for CUDA takes a call: their conditions, as in PyTorch's source.

From aten/src/ATen/native/transformers/cuda/sdp_utils.cpp (`check_head_dim_size_mem_efficient`,
`minimum_gemm_alignment`, `check_last_dim_stride_equals_1_dense`, `check_attn_mask_shape`, `check_for_attn_mask`, ...)
and transformers/attention.cpp (`preprocess_mask`), for GPUs from Ampere on, without dropout. PyTorch asks the GPU
itself in these functions, so that they cannot be called where there is none.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten
HALVES = (torch.float16, torch.bfloat16)


def obstacles(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> list[str]:
    """What keeps the memory-efficient kernel from a call, (M, heads, tokens, D) each; nothing: it is taken.

    Of a mask also what it would be copied for: PyTorch pads one whose rows are not aligned, for each call anew.
    """
    found = []
    half = q.dtype in HALVES
    alignment = 8 if half else 4  # `minimum_gemm_alignment` from Ampere on
    if q.dtype not in (*HALVES, torch.float32):
        found.append(f'dtype {q.dtype}')
    if any(x.dtype != q.dtype for x in (k, v, *([] if mask is None else [mask]))):
        found.append('different dtypes')
    if not q.shape[:2] == k.shape[:2] == v.shape[:2] or k.shape[2] != v.shape[2] or 0 in (q.shape[2], k.shape[2]):
        found.append(f'shapes {tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}')
    for name, x in {'q': q, 'k': k, 'v': v}.items():
        if x.shape[-1] % alignment:
            found.append(f'{name}: {x.shape[-1]} channels, no multiple of {alignment}')
        if x.stride(-1) != 1:
            found.append(f'{name}: channels do not lie side by side')
        unaligned = [n for n in (*x.stride()[:-1], x.storage_offset()) if n * x.element_size() % 16]
        if unaligned:
            found.append(f'{name}: strides {x.stride()} and offset {x.storage_offset()} are not of 16 bytes')
    if mask is not None:
        if mask.stride(-1) != 1:
            found.append('mask: keys do not lie side by side')
        if any(stride % 8 for stride in mask.stride()[:-1]):  # `preprocess_mask`
            found.append(f'mask: strides {mask.stride()}, no multiples of 8')
        if mask.dim() != 4 or any(a not in (1, b) for a, b in zip(mask.shape, q.shape[:2])):
            found.append(f'mask: shape {tuple(mask.shape)}')
    return found


def attend(
    calls: list[dict[str, Any]],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """PyTorch's attention by the kernel that it would choose, noted among the calls."""
    assert not dropout_p and not is_causal
    if torch.is_autocast_enabled('cuda'):
        dtype = torch.get_autocast_dtype('cuda')
        q, k, v, attn_mask = (x if x is None else x.to(dtype) for x in (q, k, v, attn_mask))
    # Flash attention takes no mask, and halves only.
    flash = attn_mask is None and q.dtype in HALVES and q.shape[-1] <= 256
    against = [] if flash else obstacles(q, k, v, attn_mask)
    if flash and any(x.stride(-1) != 1 for x in (q, k, v)):
        flash, against = False, ['channels do not lie side by side']
    kernel = 'math' if against else 'flash' if flash else 'efficient'
    calls.append({'kernel': kernel, 'against': against, 'q': tuple(q.shape), 'dtype': q.dtype, 'scale': scale})
    if kernel == 'math':
        return aten._scaled_dot_product_attention_math(q, k, v, attn_mask, 0.0, False, None, scale=scale)[0]
    needs_gradient = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    if kernel == 'flash':
        return aten._scaled_dot_product_flash_attention(q, k, v, 0.0, False, scale=scale)[0]
    mask = None if attn_mask is None else attn_mask.expand(*q.shape[:3], k.shape[2])
    return aten._scaled_dot_product_efficient_attention(q, k, v, mask, needs_gradient, scale=scale)[0]
