"""On which device tensors have to be where only their shapes are computed: kernels look for themselves."""

from __future__ import annotations

from torch import Tensor


def check_devices(operator: str, x: Tensor, *others: Tensor | None) -> None:
    """RuntimeError if one of the others is not where x is: a result on x's device would be memory that nobody wrote."""
    for other in others:
        if other is not None and other.device != x.device:
            raise RuntimeError(f'{operator} takes tensors of one device, got {x.device} and {other.device}')
