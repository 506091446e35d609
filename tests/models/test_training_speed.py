"""Samples per second, and memory."""

from __future__ import annotations

import time

import pytest
import torch

from gsasr_plugin.models.training_speed import TrainingSpeed


@pytest.mark.parametrize('processes', [1, 3])
def test_samples_per_second_between_steps(monkeypatch: pytest.MonkeyPatch, processes: int) -> None:
    now = 100.0
    monkeypatch.setattr(time, 'perf_counter', lambda: now)
    speed = TrainingSpeed(torch.device('cpu'), processes)
    assert 'samples_per_s' not in speed.report()
    speed.step(4)  # nobody knows when it began
    now = 102.0
    speed.step(4)
    now = 104.0
    speed.step(8)
    assert speed.report()['samples_per_s'] == 3 * processes  # 12 in 4 s
    speed.interrupt()
    now = 1000.0
    speed.step(5)
    assert 'samples_per_s' not in speed.report()
    now = 1000.5
    speed.step(5)
    assert speed.report()['samples_per_s'] == 10 * processes


def test_memory_is_in_gib() -> None:
    with open('/proc/self/status') as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith('VmHWM'))  # KiB
    assert TrainingSpeed(torch.device('cpu')).report()['memory_gib'] == pytest.approx(peak / 2**20, rel=0.05)
