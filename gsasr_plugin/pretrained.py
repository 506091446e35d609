"""Trained networks by name: the small models that come with this package, and everything that `checkpoint` reads."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gsasr_plugin.archs import GSASR
from gsasr_plugin.checkpoint import PathLike, load_model
from gsasr_plugin.official import hub

PACKAGED = Path(__file__).parent / 'weights'
DEFAULT_MODEL = 'gsasr-small'


def packaged_models() -> dict[str, Path]:
    """The models that come with this package: name -> file."""
    return {path.stem: path for path in sorted(PACKAGED.glob('*.safetensors'))}


def default_model() -> Path:
    """The file of the model that is taken where none is named: `DEFAULT_MODEL`, or the only one that is packaged.

    Raises:
        ValueError: there is none, or no way to choose.
    """
    models = packaged_models()
    if DEFAULT_MODEL in models:
        return models[DEFAULT_MODEL]
    if len(models) == 1:
        return next(iter(models.values()))
    raise ValueError(f'a model must be given: {_packaged_text(models)}. {_others()}')


def load_pretrained(
    source: PathLike | Sequence[PathLike] | None = None, options: Mapping[str, Any] | None = None
) -> GSASR:
    """Builds a trained network, in evaluation mode; see `GSASR.from_pretrained`."""
    if source is None:
        return load_model(default_model(), options)
    if isinstance(source, str) and not _is_path(source):
        models = packaged_models()
        if source not in models:
            raise ValueError(f'there is no model or file {source!r}: {_packaged_text(models)}. {_others()}')
        source = models[source]
    return load_model(source, options)


def _is_path(source: str) -> bool:
    """Whether this is the path of a file or folder, or an official model's name, and not the name of a packaged one."""
    return os.path.exists(source) or hub.is_name(source) or bool(Path(source).suffix)


def _packaged_text(models: Mapping[str, Path]) -> str:
    return f'packaged are {", ".join(models)}' if models else 'none comes with this package yet'


def _others() -> str:
    return (
        'Also accepted: a self-describing file (.safetensors, .pth), the two files of the authors or their folder, '
        f'{hub.PREFIX}NAME, or a training checkpoint with its option file'
    )


# The network's room does not know files: it is told here how they are read.
GSASR.pretrained_reader = load_pretrained
