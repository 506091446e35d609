"""For all tests: the host is repaired before any of them imports it; a tiny network, in memory and in a file; a choice
of kernels.

Several processes may share the tests (`pytest -n 2`, by pytest-xdist); each then computes on its part of the cores.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from typing import Any

if 'PYTEST_XDIST_WORKER_COUNT' in os.environ:  # before torch reads it; processes that tests start inherit it
    threads = (os.cpu_count() or 1) // int(os.environ['PYTEST_XDIST_WORKER_COUNT'])
    os.environ.setdefault('OMP_NUM_THREADS', str(max(threads, 1)))

# Tests send Ctrl-C, which what is started in the background of a shell ignores, and so do its processes.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
import torch

import gsasr_ops
import gsasr_plugin  # noqa: F401
from gsasr_plugin.archs.inference import for_inference
from tests.upscaling.tiny import model_file, net  # noqa: F401 (fixtures)


def pytest_collection_finish() -> None:
    """The garbage collection need not search again and again, nor at the end, what imports have left, which is much."""
    gc.freeze()


@pytest.fixture(params=['formulas', 'gsasr_ops', 'oneDNN'])
def computed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    """Each way to compute without gradients: the network itself, or a snapshot by either's kernels, whatever this
    machine would choose.
    """
    dtypes = (torch.float32, torch.bfloat16) if request.param == 'gsasr_ops' else ()
    monkeypatch.setattr(gsasr_ops, 'MULTIPLIED', frozenset(dtypes))
    return for_inference if request.param != 'formulas' else lambda plain: plain
