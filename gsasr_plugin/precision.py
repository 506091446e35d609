"""The names of the number formats in which encoder and decoder compute; the rasterizer is float32 always."""

from __future__ import annotations

from typing import Literal

import torch

FLOAT32 = 'float32'
HalfPrecision = Literal['bf16', 'fp16']
DTYPES = {FLOAT32: torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}


def name_of(dtype: torch.dtype) -> str:
    """The name of one of the types of `DTYPES`."""
    return next(name for name, known in DTYPES.items() if known == dtype)


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """The context in which a network with weights in float32 computes in a type."""
    enabled = dtype != torch.float32
    return torch.autocast(device.type, dtype if enabled else None, enabled=enabled)
