"""The names of the number formats in which encoder and decoder compute; the rasterizer is float32 always.

Help texts need the names only: torch, whose import takes seconds, is imported by those who compute.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor

T = TypeVar('T')

# What those inside of `tf32` ask for, in the order in which they entered; first, what was before all of them.
_tf32_inside: dict[object, tuple[bool, bool]] = {}
_tf32_lock = threading.Lock()

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


def product_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which a product of a tensor and of weights is computed, under autocast too."""
    import torch

    device = x.device.type
    cast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if cast else x.dtype


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """The context in which a network with weights in float32 computes in a type."""
    import torch

    enabled = dtype != torch.float32
    return torch.autocast(device.type, dtype if enabled else None, enabled=enabled)


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """The context in which CUDA devices multiply float32 with 10 bits behind the point, on their tensor cores, or in
    full; sums are of float32 always. It holds for the whole process, for gradients too that are computed within: of
    threads that are inside at one time, the last to enter decides, and when the last has left all is as it was."""
    import torch

    matmul, cudnn, own = torch.backends.cuda.matmul, torch.backends.cudnn, object()
    try:
        with _tf32_lock:
            if not _tf32_inside:
                _tf32_inside[None] = matmul.allow_tf32, cudnn.allow_tf32
            _tf32_inside[own] = allowed, allowed
            matmul.allow_tf32, cudnn.allow_tf32 = _tf32_inside[own]
        yield
    finally:
        with _tf32_lock:
            _tf32_inside.pop(own, None)
            if _tf32_inside:
                matmul.allow_tf32, cudnn.allow_tf32 = list(_tf32_inside.values())[-1]
            if len(_tf32_inside) == 1:
                _tf32_inside.clear()


@contextlib.contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """The context in which products are of float32 in full, inside `autocast` and `tf32` too: for the picture itself,
    where what they round would show."""
    with tf32(False), autocast(device, dtype_of(FLOAT32)):
        yield


def each_within(context: Callable[[], contextlib.AbstractContextManager[object]], items: Iterable[T]) -> Iterator[T]:
    """What an iterator gives, each made within a context of its own, which does not reach whoever takes it."""
    items = iter(items)
    while True:
        with context():
            try:
                item = next(items)
            except StopIteration:
                return
        yield item
