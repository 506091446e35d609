"""The states of all random generators: kept in a file and restored, they give the same numbers again."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from gsasr_plugin.models.random_states import random_states, restore_random_states


def drawn() -> list[float]:
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(1).item()]


def test_generators_go_on_where_they_were(tmp_path: Path) -> None:
    """With the second number of a pair of Gaussian ones, which Python and NumPy keep for later, still to come."""
    before = random_states()
    try:
        drawn()
        torch.save(random_states(), tmp_path / 'states')
        expected = [drawn() for _ in range(700)]  # beyond the 624 numbers of a Mersenne twister
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        assert drawn() != expected[0]
        restore_random_states(torch.load(tmp_path / 'states', weights_only=True))
        assert [drawn() for _ in range(700)] == expected
    finally:
        restore_random_states(before)


def test_a_gpus_state_without_a_gpu_is_left_out() -> None:
    states = random_states()
    assert (states['cuda'] is None) == (not torch.cuda.is_available())
    restore_random_states({**states, 'cuda': torch.zeros(16, dtype=torch.uint8) if states['cuda'] is None else None})


def test_a_gpus_state_is_kept_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    state = torch.arange(16, dtype=torch.uint8)
    restored: list[torch.Tensor] = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'get_rng_state', lambda: state)
    monkeypatch.setattr(torch.cuda, 'set_rng_state', restored.append)
    states = random_states()
    assert states['cuda'] is state
    restore_random_states(states)
    assert restored == [state]
