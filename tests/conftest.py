"""For all tests: the host is repaired before any of them imports it; a tiny network, in memory and in a file; a choice
of kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import gsasr_ops
import gsasr_plugin  # noqa: F401
from gsasr_plugin.archs.inference import for_inference
from tests.upscaling.tiny import model_file, net  # noqa: F401 (fixtures)


@pytest.fixture(params=['formulas', 'gsasr_ops', 'oneDNN'])
def computed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    """Each way to compute without gradients: the network itself, or a snapshot by either's kernels, whatever this
    machine would choose.
    """
    dtypes = (torch.float32, torch.bfloat16) if request.param == 'gsasr_ops' else ()
    monkeypatch.setattr(gsasr_ops, 'MULTIPLIED', frozenset(dtypes))
    return for_inference if request.param != 'formulas' else lambda plain: plain
