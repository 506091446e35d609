"""What is measured of cuda:1 is of cuda:1, whichever device is the current one: the GPUs are claimed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gsasr_plugin.benchmarking.cost import measure
from gsasr_plugin.free_memory import UNKNOWN_FREE, free_bytes, give_back
from gsasr_plugin.peak_memory import PeakMemory
from gsasr_plugin.upscaling.hardware import choose_device, choose_dtype

SECOND = torch.device('cuda:1')
GIB = 1 << 30


class Gpus:
    """Two of them, each with its own figures; the first is the current one."""

    def __init__(self) -> None:
        self.allocated = {0: 5 * GIB, 1: 2 * GIB}
        self.peak = {0: 9 * GIB, 1: 3 * GIB}
        self.reset: list[int] = []
        self.waited_for: list[int] = []

    @staticmethod
    def index(device: Any = None) -> int:
        return 0 if device is None else torch.device(device).index or 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        functions = {
            'is_available': lambda: True,
            'device_count': lambda: 2,
            'memory_allocated': lambda device=None: self.allocated[self.index(device)],
            'max_memory_allocated': lambda device=None: self.peak[self.index(device)],
            'memory_reserved': lambda device=None: self.allocated[self.index(device)] + GIB,
            'mem_get_info': lambda device=None: ((10 + self.index(device)) * GIB, 80 * GIB),
            'reset_peak_memory_stats': lambda device=None: self.reset.append(self.index(device)),
            'get_device_name': lambda device=None: f'GPU {self.index(device)}',
            'get_device_capability': lambda device=None: ((7, 5), (9, 0))[self.index(device)],
            'empty_cache': lambda: None,
        }
        for name, function in functions.items():
            monkeypatch.setattr(torch.cuda, name, function)
        waited = lambda device=None: self.waited_for.append(self.index(device))  # noqa: E731
        monkeypatch.setattr(torch.cuda, 'synchronize', waited)
        monkeypatch.setattr(torch.accelerator, 'synchronize', waited)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Gpus:
    gpus = Gpus()
    gpus.install(monkeypatch)
    return gpus


def test_memory(gpus: Gpus) -> None:
    with PeakMemory('cuda:1') as memory:
        pass
    assert (memory.before, memory.bytes, gpus.reset) == (2 * GIB, GIB, [1])
    assert free_bytes(SECOND) == 12 * GIB
    give_back(SECOND)


def test_time(gpus: Gpus) -> None:
    clock = measure._Clock(SECOND)
    clock.start()
    clock.stop()
    assert gpus.waited_for == [1, 1] and clock.seconds > 0


def test_choice(gpus: Gpus) -> None:
    assert choose_device() == torch.device('cuda') and choose_device('cuda:1') == SECOND
    with pytest.raises(ValueError, match="device 'cuda:2': this machine has 2 CUDA devices"):
        choose_device('cuda:2')
    assert choose_dtype('auto', SECOND) == torch.bfloat16  # as the second one multiplies
    assert choose_dtype('auto', torch.device('cuda:0')) == torch.float32


def test_apples_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chosen by itself and by its name; half precision is up to the user."""
    apple = torch.device('mps')
    emptied = []
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: True)
    monkeypatch.setattr(torch.mps, 'device_count', lambda: 1)
    monkeypatch.setattr(torch.mps, 'recommended_max_memory', lambda: 12 * GIB)
    monkeypatch.setattr(torch.mps, 'current_allocated_memory', lambda: 2 * GIB)
    monkeypatch.setattr(torch.mps, 'empty_cache', lambda: emptied.append(True))
    assert choose_device() == choose_device('mps') == apple
    with pytest.raises(ValueError, match="device 'mps:1': this machine has 1 MPS devices"):
        choose_device('mps:1')
    assert choose_dtype('auto', apple) == torch.float32 and choose_dtype('fp16', apple) == torch.float16
    assert free_bytes(apple) == 10 * GIB
    give_back(apple)
    assert emptied == [True]
    with PeakMemory(apple) as memory:  # nobody tells
        pass
    assert memory.bytes is None


def test_devices_that_tell_nothing() -> None:
    assert free_bytes(torch.device('xpu')) == UNKNOWN_FREE
    give_back(torch.device('cpu'))
    with PeakMemory('xpu') as memory:
        pass
    assert memory.bytes is None
