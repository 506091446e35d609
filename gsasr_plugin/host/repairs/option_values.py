"""Values and keys of options that BasicSR does not expect."""

import os
import types
from collections.abc import Callable
from typing import Any


class PathsOfLists(types.SimpleNamespace):
    """os.path, for the option parser: it may expand the paths of a list, or of a mapping from scale to folder."""

    def __init__(self, _: types.ModuleType) -> None:
        super().__init__(**{**vars(os.path), 'expanduser': _expand_users})


def _expand_users(path: Any) -> Any:
    """os.path.expanduser for a path, every path of a list, which may hold None, or every value of a mapping."""
    if isinstance(path, list | tuple):
        return [item if item is None else _expand_users(item) for item in path]
    if isinstance(path, dict):
        return {key: _expand_users(item) for key, item in path.items()}
    return os.path.expanduser(path)


def dict2str_of_any_keys(original: Callable[..., str]) -> Callable[..., str]:
    """Options as text for the log, whatever their keys are, such as the scales of `dataroot_lq: {2: ..., 3.7: ...}`."""

    def dict2str(opt: dict[Any, Any], indent_level: int = 1) -> str:
        return original(_with_text_keys(opt), indent_level)

    return dict2str


def _with_text_keys(options: Any) -> Any:
    if isinstance(options, dict):
        return {str(key): _with_text_keys(value) for key, value in options.items()}
    return options
