"""torch.autocast for the meta device, which has none: casts as that of CUDA does, for the functions of our networks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

LOWER = {'linear', 'conv2d', 'matmul', 'bmm', '__matmul__', 'scaled_dot_product_attention'}
HIGHER = {'layer_norm', 'softmax', 'l1_loss'}


class _Autocast(TorchFunctionMode):
    """Casts a parameter once, as torch.autocast does."""

    dtype: torch.dtype | None = None  # of the innermost context

    def __init__(self, device_type: str, dtype: torch.dtype | None = None, enabled: bool = True) -> None:
        super().__init__()
        assert device_type == 'meta'
        self.wanted = dtype if enabled else None
        self.cast: dict[int, tuple[Tensor, Tensor]] = {}

    def __enter__(self) -> Any:
        self.outer, _Autocast.dtype = _Autocast.dtype, self.wanted
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        _Autocast.dtype = self.outer
        super().__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, getattr(func, '__name__', '')
        if _Autocast.dtype is not None and _Autocast.dtype == self.wanted and name in LOWER | HIGHER:
            dtype = self.wanted if name in LOWER else torch.float32
            args = [self._to(x, dtype) for x in args]
            kwargs = {key: self._to(x, dtype) for key, x in kwargs.items()}
        return func(*args, **kwargs)

    def _to(self, x: Any, dtype: torch.dtype) -> Any:
        if not isinstance(x, Tensor) or not x.is_floating_point() or x.dtype == dtype:
            return x
        if not (x.is_leaf and x.requires_grad):
            return x.to(dtype)
        if id(x) not in self.cast:
            self.cast[id(x)] = x, x.to(dtype)
        return self.cast[id(x)][1]


@contextlib.contextmanager
def meta_autocast() -> Iterator[None]:
    """Within it torch.autocast knows the meta device, and lists of tensors go to one kernel on it, as on CUDA."""
    with (
        mock.patch('torch.autocast', _Autocast),
        mock.patch('torch.amp.is_autocast_available', lambda _: True),
        mock.patch('torch.is_autocast_enabled', lambda *_: _Autocast.dtype is not None),
        mock.patch('torch.get_autocast_dtype', lambda _: _Autocast.dtype),
        mock.patch('torch.utils._foreach_utils._get_foreach_kernels_supported_devices', lambda: ['meta']),
    ):
        yield
