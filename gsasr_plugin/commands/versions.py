"""Which distributions are installed, and this one's name."""

from __future__ import annotations

import importlib.metadata

DISTRIBUTION = 'gsasr-plugin'


def version_of(name: str) -> str | None:
    """The version of a distribution, None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
