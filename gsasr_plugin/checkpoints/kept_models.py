"""Models that are read for a check of the options are kept for the run that follows: their files are read once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

Value = TypeVar('Value')

_kept: dict[Any, tuple[Any, Any]] | None = None  # by files and keys: the state of the files, and what they hold


@contextmanager
def reading_once() -> Iterator[None]:
    """Within, what `once` has read is kept until `forget`. Nobody changes the tensors."""
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
