"""The networks that are compared, each by where it comes from."""

from __future__ import annotations

from pathlib import Path

from torch import nn

import gsasr_plugin
from tests.benchmarks.liif.training import STATE, trained

BICUBIC = 'bicubic'


def network_of(source: str) -> tuple[nn.Module, str]:
    """The network, in evaluation mode, that a training left in a folder, or that `gsasr_plugin.load` knows.

    Returns:
        The network, and how it was trained, as far as that is known.
    """
    return trained(Path(source)) if (Path(source) / STATE).exists() else (gsasr_plugin.load(source), '')


def names_of(sources: list[str]) -> dict[str, str]:
    """Each source by its name in the tables: of the folder, or of the file without extension.

    Raises:
        ValueError: two have the same name.
    """
    names = {Path(source).resolve().name if Path(source).is_dir() else Path(source).stem: source for source in sources}
    if len(names) < len(sources) or BICUBIC in names:
        raise ValueError(f'networks need names of their own, and not {BICUBIC!r}: got {", ".join(sources)}')
    return names
