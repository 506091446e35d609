"""What is in BasicSR's LMDBs: their keys, and the value of each. A process opens an LMDB once, when it first needs it.

LMDB refuses to open a database twice in a process, and two data sets often share one (the GT of two scales).
"""

import os
import threading

import lmdb

from gsasr_plugin.run_errors import DataError

_environments: dict[str, lmdb.Environment] = {}  # by the real path
_lock = threading.Lock()


def lmdb_value(root: str, key: str) -> bytes | None:
    """The value of a key, None where the LMDB has no such key.

    Raises:
        DataError: the LMDB cannot be read.
    """
    if not key.isascii():
        return None  # BasicSR writes no such keys
    try:
        with _environment(root).begin() as transaction:
            return transaction.get(key.encode())
    except lmdb.Error as error:
        raise DataError(f'LMDB {root} cannot be read: {error}') from error


def lmdb_keys(root: str) -> list[str]:
    """All keys, sorted; bytes that are no text are written as Python's escapes.

    Raises:
        DataError: the LMDB cannot be read.
    """
    try:
        with _environment(root).begin() as transaction:
            return [key.decode(errors='backslashreplace') for key in transaction.cursor().iternext(values=False)]
    except lmdb.Error as error:
        raise DataError(f'LMDB {root} cannot be read: {error}') from error


def _environment(root: str) -> lmdb.Environment:
    root = os.path.realpath(root)
    with _lock:
        if root not in _environments:
            _environments[root] = lmdb.open(root, readonly=True, lock=False, readahead=False)  # as BasicSR does
        return _environments[root]


def _forget_inherited_environments() -> None:
    """In a forked worker: close the inherited databases, which must not be used there, so that they are opened anew."""
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held the old one
    for environment in _environments.values():
        environment.close()
    _environments.clear()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_forget_inherited_environments)
