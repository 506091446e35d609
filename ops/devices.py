"""On which device tensors have to be where only their shapes are computed: kernels look for themselves."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def check_devices(x: Tensor, **others: Tensor | Sequence[Tensor] | None) -> None:
    """RuntimeError that names an argument which is not where x is: the result would be memory that nobody wrote."""
    for name, given in others.items():
        for tensor in [given] if isinstance(given, Tensor) else given or ():
            if tensor.device != x.device:
                raise RuntimeError(
                    f'{name} is on {tensor.device}, but the first argument is on {x.device}: all must be on one device'
                )
