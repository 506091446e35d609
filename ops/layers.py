"""What the operators of layers share: the dtypes they multiply, and which of these are worth it on this machine;
checks; room for packed weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor

from . import extension, torch_private


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


def check_devices(x: Tensor, **others: Tensor | Sequence[Tensor] | None) -> None:
    """RuntimeError that names an argument which is not where x is: the result would be memory that nobody wrote."""
    for name, given in others.items():
        for tensor in [given] if isinstance(given, Tensor) else given or ():
            if tensor.device != x.device:
                raise RuntimeError(
                    f'{name} is on {tensor.device}, but the first argument is on {x.device}: all must be on one device'
                )


def no_derivative(name: str) -> Any:
    """What the backward pass of an operator without one does."""

    def backward(ctx: Any, *v_outputs: Tensor) -> NoReturn:
        raise NotImplementedError(f'the operator {name} has no derivative')

    return backward


def packed_bytes(weight: Tensor, words: int) -> Tensor:
    """Room for a packed weight (common/packed.h): its header, and for each result its bias and its words.

    Args:
        weight: (N, ...).
        words: of each result, before they are padded.

    Returns:
        Zeros, of dtype uint8, on the weight's device.
    """
    results = (weight.shape[0] + 15) // 16 * 16
    return weight.new_zeros(4 * (16 + results * (1 + (words + 15) // 16 * 16)), dtype=torch.uint8)


def _multiplied() -> frozenset[torch.dtype]:
    """What the library that was there at import multiplies faster than PyTorch on this machine's CPU."""
    best = (extension.backend()['instruction_sets'] or [None])[0]
    dtypes = {'avx512bf16': {torch.float32, torch.bfloat16}, 'avx512': {torch.float32}}.get(best, set())
    # PyTorch multiplies bfloat16 in the matrix unit where there is one, which no vector unit comes near.
    return frozenset(dtypes - {torch.bfloat16} if torch_private.has_matrix_unit() else dtypes)


MULTIPLIED = _multiplied()
