"""For all tests: the host is repaired before any of them imports it; a tiny network, in memory and in a file; a choice
of kernels.
"""

from __future__ import annotations

import pytest
import torch

import gsasr_ops
import gsasr_plugin  # noqa: F401
from tests.upscaling.tiny import model_file, net  # noqa: F401 (fixtures)


@pytest.fixture(params=['gsasr_ops', 'PyTorch'])
def layers_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What computes the decoder's layers without gradients, whatever this machine would choose."""
    dtypes = (torch.float32, torch.bfloat16) if request.param == 'gsasr_ops' else ()
    monkeypatch.setattr(gsasr_ops, 'MULTIPLIED', frozenset(dtypes))
    return request.param
