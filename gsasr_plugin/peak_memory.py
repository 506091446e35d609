"""How much memory a piece of work takes at most."""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch

CLEAR_REFS = Path('/proc/self/clear_refs')  # Linux


class PeakMemory:
    """Bytes in use at most within a `with` block, beyond those in use at its start.

    Args:
        device: of a CUDA device, torch's allocator is asked; of a CPU the process (Linux only).

    Attributes:
        bytes: after the block; None where it cannot be measured.
    """

    def __init__(self, device: torch.device | str):
        self.device = torch.device(device)
        self.of_process = self.device.type == 'cpu' and CLEAR_REFS.exists()
        self.bytes: int | None = None

    def __enter__(self) -> PeakMemory:
        if self.device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats(self.device)
            self.before = torch.cuda.memory_allocated(self.device)
        elif self.of_process:
            ctypes.CDLL(None).malloc_trim(0)  # what was freed before must not be there to be used again
            CLEAR_REFS.write_text('5')  # sets VmHWM to what is in use
            self.before = self._status('VmRSS')
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == 'cuda':
            self.bytes = torch.cuda.max_memory_allocated(self.device) - self.before
        elif self.of_process:
            self.bytes = self._status('VmHWM') - self.before

    @staticmethod
    def _status(name: str) -> int:
        lines = Path('/proc/self/status').read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ':'))
