"""The dtypes that the kernels of layers multiply, and which of them are worth it on this machine."""

from __future__ import annotations

from typing import Protocol

import torch

from . import extension


def is_bfloat16(name: str, dtype: torch.dtype) -> bool:
    """Whether the argument of that name is torch.bfloat16; TypeError if it is neither that nor torch.float32."""
    if dtype not in (torch.float32, torch.bfloat16):
        raise TypeError(f'{name} must be torch.float32 or torch.bfloat16, got {dtype}')
    return dtype == torch.bfloat16


class Packed(Protocol):
    """A weight that was packed."""

    @property
    def operands(self) -> torch.dtype: ...


def operands_of(packed: Packed | None, biases: object, operands: torch.dtype | None) -> bool:
    """Whether the operands of a call are rounded to bfloat16.

    Args:
        packed: its weights, if they are packed.
        biases: its biases, if they are given apart.
        operands: what it asks for, if anything.

    Raises:
        TypeError: biases are given with packed weights, or not given with others; other operands than two.
        ValueError: the weights were packed for other operands.
    """
    if (packed is None) == (biases is None):
        problem = 'must be given with weights' if packed is None else 'are in the packed weights already'
        raise TypeError(f'biases {problem}')
    if operands is None:
        operands = packed.operands if packed is not None else torch.float32
    in_bfloat16 = is_bfloat16('operands', operands)
    if packed is not None and operands != packed.operands:
        raise ValueError(f'operands must be {packed.operands}, for which the weights were packed, got {operands}')
    return in_bfloat16


def _multiplied() -> frozenset[torch.dtype]:
    """What the library that was there at import multiplies faster than PyTorch on this machine's CPU."""
    best = (extension.backend()['instruction_sets'] or [None])[0]
    dtypes = {'avx512bf16': {torch.float32, torch.bfloat16}, 'avx512': {torch.float32}}.get(best, set())
    # PyTorch multiplies bfloat16 in the matrix unit (AMX) where there is one, which no vector unit comes near.
    has_matrix_unit = getattr(torch.cpu, '_is_amx_tile_supported', lambda: False)
    return frozenset(dtypes - {torch.bfloat16} if has_matrix_unit() else dtypes)


extension.define_operators()

MULTIPLIED = _multiplied()
