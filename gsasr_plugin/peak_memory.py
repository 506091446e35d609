"""How much memory a piece of work takes at most."""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch

CLEAR_REFS = Path('/proc/self/clear_refs')  # Linux


class PeakMemory:
    """Bytes in use at most within a `with` block, beyond those in use at its start.

    Args:
        device: of a CUDA device, torch's allocator is asked; else the process (Linux only).

    Attributes:
        bytes: after the block; None where it cannot be measured.
    """

    def __init__(self, device: torch.device | str):
        self.is_cuda = torch.device(device).type == 'cuda'
        self.bytes: int | None = None

    def __enter__(self) -> PeakMemory:
        if self.is_cuda:
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        elif CLEAR_REFS.exists():
            ctypes.CDLL(None).malloc_trim(0)  # what was freed before must not be there to be used again
            CLEAR_REFS.write_text('5')  # sets VmHWM to what is in use
            self.before = self._status('VmRSS')
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_cuda:
            self.bytes = torch.cuda.max_memory_allocated() - self.before
        elif CLEAR_REFS.exists():
            self.bytes = self._status('VmHWM') - self.before

    @staticmethod
    def _status(name: str) -> int:
        lines = Path('/proc/self/status').read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ':'))
