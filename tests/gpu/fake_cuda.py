"""A CUDA device that the CPU plays, to rehearse with: what is asked for on 'cuda' is made on the CPU, what is captured
in a graph runs once and is not replayed, events read the clock, and memory is never in use.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode


@contextlib.contextmanager
def played() -> Iterator[None]:
    """Within the block there is such a device."""
    autocast = torch.autocast

    def on_cpu(device: str, *rest: Any, **options: Any) -> torch.autocast:
        return autocast('cpu', *rest, **options)

    functions = {
        'synchronize': _nothing,
        'set_sync_debug_mode': _nothing,
        'reset_peak_memory_stats': _nothing,
        'memory_allocated': lambda device=None: 0,
        'max_memory_allocated': lambda device=None: 0,
        'get_device_capability': lambda device=None: (9, 0),
        'current_stream': lambda device=None: _Stream(),
        'stream': contextlib.nullcontext,
        'graph': lambda graph, **options: contextlib.nullcontext(),
        'Stream': _Stream,
        'CUDAGraph': _Graph,
        'Event': _Event,
    }
    with contextlib.ExitStack() as stack:
        for name, function in functions.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, function))
        stack.enter_context(mock.patch.object(torch, 'autocast', on_cpu))
        stack.enter_context(_OnCpu())
        yield


def _nothing(*arguments: Any) -> None:
    pass


class _OnCpu(TorchFunctionMode):
    """Reads 'cpu' where a call of torch says 'cuda'."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = {name: _read(value) for name, value in (kwargs or {}).items()}
        return func(*map(_read, args), **named)


def _read(value: Any) -> Any:
    named = isinstance(value, (str, torch.device)) and str(value).partition(':')[0] == 'cuda'
    return torch.device('cpu') if named else value


class _Stream:
    cuda_stream = 0
    wait_stream = _nothing


class _Graph:
    replay = _nothing


class _Event:
    def __init__(self, enable_timing: bool):
        self.seconds = 0.0

    def record(self) -> None:
        self.seconds = time.perf_counter()

    synchronize = _nothing

    def elapsed_time(self, end: _Event) -> float:
        """Milliseconds."""
        return 1e3 * (end.seconds - self.seconds)
