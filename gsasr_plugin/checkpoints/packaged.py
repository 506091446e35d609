"""The small trained networks that come with this package, by name."""

import os
from pathlib import Path

FOLDER = Path(__file__).parent / 'weights'
DEFAULT_MODEL = 'gsasr-small'


def packaged_models() -> dict[str, Path]:
    """Name -> file; a card of the same name lies beside each file."""
    return {path.stem: path for path in sorted(FOLDER.glob('*.safetensors'))}


def default_model() -> Path:
    """The file of the model that is taken where none is named, whatever lies in the current folder."""
    return FOLDER / f'{DEFAULT_MODEL}.safetensors'


def is_packaged_name(source: object) -> bool:
    """Whether a source of a model is the name of a packaged one, and not a path that exists."""
    return isinstance(source, str) and source in packaged_models() and not os.path.exists(source)
