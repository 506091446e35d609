"""Reading weights from files without running anything that a file says: torch's weights-only loader, or safetensors."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from gsasr_plugin.checkpoints import PARAMETER_KEYS

Value = TypeVar('Value')
StateDict = Mapping[str, Any]
StateSource = StateDict | str | os.PathLike[str]

WRAPPER = 'module.'  # what DistributedDataParallel puts in front of every key


def read_state_dict(
    source: StateSource, *, name: str | None = None, param_keys: Sequence[str] = PARAMETER_KEYS
) -> tuple[dict[str, Tensor], str]:
    """The tensors of a network, by key, and a name of their source for messages.

    Args:
        source: a state dict or the path of a file (`.safetensors`, else what `torch.save` wrote). The tensors may lie
            under one of `param_keys`, and their keys begin with `module.`.
        name: what messages call it; None for the path.
        param_keys: the first of them that is there is taken.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read safely, or what it holds is not a state dict.
    """
    if name is None:
        name = 'the given state dict' if isinstance(source, Mapping) else str(source)
    held = source if isinstance(source, Mapping) else read_file(Path(source))
    for key in param_keys:
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held, name = held[key], f'{name} [{key}]'
            break
    if not isinstance(held, Mapping):
        raise ValueError(f'{name} holds {type(held).__name__}; a state dict, a mapping of keys to tensors, is needed')
    if not held:
        raise ValueError(f'{name} is empty; a state dict, a mapping of keys to tensors, is needed')
    for key, value in held.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(
                f'{name} holds {type(value).__name__} under the key {key!r}; tensors are needed, at the top or under '
                f'{" or ".join(dict.fromkeys(param_keys))}'
            )
    return {key.removeprefix(WRAPPER): value.detach().cpu() for key, value in held.items()}, name


def read_file(path: Path) -> Any:
    """What a file holds, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, of another format, or holds more than tensors and plain containers.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path}: there is no such file')
    return once([path], lambda: _read_file(path))


def _read_file(path: Path) -> Any:
    try:
        if path.suffix == '.safetensors':
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        # The rest of torch's message recommends to read the file without this check.
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        reason = next((line for line in lines if line and not line.startswith(('Please', 'Check'))), 'no pickle')
        raise ValueError(
            f'{path} is refused: it is damaged, or holds objects other than tensors and plain containers, which could '
            f'run code ({reason.split(" Please")[0]})'
        ) from error
    except Exception as error:  # what a damaged file raises depends on where the damage is
        raise ValueError(f'{path} cannot be read as a checkpoint: {type(error).__name__}: {error}') from error


_kept: dict[Any, tuple[Any, Any]] | None = None  # by files and keys: the state of the files, and what they hold


@contextmanager
def reading_once() -> Iterator[None]:
    """Within, what files hold is kept until `forget`: a check before a run and the run itself read them once together.

    Nobody changes the tensors.
    """
    global _kept
    _kept = {}
    try:
        yield
    finally:
        _kept = None


def forget() -> None:
    """Frees what `reading_once` keeps; from now on files are read whenever they are asked for."""
    global _kept
    _kept = None


def once(paths: Sequence[Path], read: Callable[[], Value], *keys: object) -> Value:
    """What files hold: as kept, where they have been read within `reading_once` and are the same files as then.

    Args:
        paths: the files.
        read: reads them.
        keys: what else distinguishes this way of reading them.
    """
    if _kept is None or not all(path.is_file() for path in paths):
        return read()
    stats = [path.stat() for path in paths]
    state = [(stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats]
    key = (*(path.absolute() for path in paths), *keys)
    if _kept.get(key, (None, None))[0] != state:
        _kept[key] = (state, read())
    return _kept[key][1]
