"""The dtypes that the kernels of layers multiply, and which of them are worth it on this machine."""

from __future__ import annotations

import torch

from . import extension


def is_bfloat16(name: str, dtype: torch.dtype) -> bool:
    """Whether the argument of that name is torch.bfloat16; TypeError if it is neither that nor torch.float32."""
    if dtype not in (torch.float32, torch.bfloat16):
        raise TypeError(f'{name} must be torch.float32 or torch.bfloat16, got {dtype}')
    return dtype == torch.bfloat16


def _multiplied() -> frozenset[torch.dtype]:
    """What the library that was there at import multiplies faster than PyTorch on this machine's CPU."""
    best = (extension.backend()['instruction_sets'] or [None])[0]
    dtypes = {'avx512bf16': {torch.float32, torch.bfloat16}, 'avx512': {torch.float32}}.get(best, set())
    # PyTorch multiplies bfloat16 in the matrix unit (AMX) where there is one, which no vector unit comes near.
    has_matrix_unit = getattr(torch.cpu, '_is_amx_tile_supported', lambda: False)
    return frozenset(dtypes - {torch.bfloat16} if has_matrix_unit() else dtypes)


extension.define_operators()

MULTIPLIED = _multiplied()
