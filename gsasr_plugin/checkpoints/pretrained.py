"""Trained networks for Python: by name, from files, or the default one; see `GSASR.from_pretrained`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gsasr_plugin.archs import GSASR
from gsasr_plugin.checkpoints.model_file import PathLike, load_model
from gsasr_plugin.checkpoints.packaged import default_model


def load_pretrained(
    source: PathLike | Sequence[PathLike] | None = None, options: Mapping[str, Any] | None = None
) -> GSASR:
    """Builds a trained network, in evaluation mode; see `GSASR.from_pretrained`."""
    return load_model(default_model() if source is None else source, options)


# The network's room does not know files: it is told here how they are read.
GSASR.pretrained_reader = load_pretrained
