"""For all tests of models: pytest hears what BasicSR's logger says, whichever test runs first."""

from __future__ import annotations

import pytest
from basicsr.utils import get_root_logger


@pytest.fixture(autouse=True)
def log_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The logger keeps to itself from when it is first asked for: asked for here, before it is told not to."""
    monkeypatch.setattr(get_root_logger(), 'propagate', True)
