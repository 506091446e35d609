"""The names of the number formats in which encoder and decoder compute; the rasterizer is float32 always.

Help texts need the names only: torch, whose import takes seconds, is imported by those who compute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

FLOAT32 = 'float32'
HalfPrecision = Literal['bf16', 'fp16']
DTYPES = {FLOAT32: 'float32', 'bf16': 'bfloat16', 'fp16': 'float16'}  # our names, and torch's


def dtype_of(name: str) -> torch.dtype:
    """The type that one of the names of `DTYPES` stands for."""
    import torch

    return getattr(torch, DTYPES[name])


def name_of(dtype: torch.dtype) -> str:
    """The name of one of the types of `DTYPES`."""
    return next(name for name in DTYPES if dtype_of(name) == dtype)


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """The context in which a network with weights in float32 computes in a type."""
    import torch

    enabled = dtype != torch.float32
    return torch.autocast(device.type, dtype if enabled else None, enabled=enabled)
