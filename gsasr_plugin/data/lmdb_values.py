"""What is in the host's LMDBs: their keys, and the value of each. A process opens an LMDB once, when it first needs it.

LMDB refuses to open a database twice in a process, and two data sets often share one (the GT of two scales).
"""

from __future__ import annotations

import os
import threading

import lmdb
from basicsr.utils import FileClient

from gsasr_plugin.run_errors import DataError

_CLIENT = 'default'

_clients: dict[str, FileClient] = {}
_lock = threading.Lock()


def lmdb_value(root: str, key: str) -> bytes | None:
    """The value of a key, None where the LMDB has no such key.

    Raises:
        DataError: the LMDB cannot be read.
    """
    if not key.isascii():
        return None  # the host writes no such keys
    try:
        return _client(root).get(key, _CLIENT)
    except lmdb.Error as error:
        raise DataError(f'LMDB {root} cannot be read: {error}') from error


def lmdb_keys(root: str) -> list[str]:
    """All keys, sorted; bytes that are no text are written as Python's escapes.

    Raises:
        DataError: the LMDB cannot be read.
    """
    try:
        with _environment(_client(root)).begin() as transaction:
            return [key.decode(errors='backslashreplace') for key in transaction.cursor().iternext(values=False)]
    except lmdb.Error as error:
        raise DataError(f'LMDB {root} cannot be read: {error}') from error


def _client(root: str) -> FileClient:
    root = os.path.realpath(root)
    with _lock:
        if root not in _clients:
            _clients[root] = FileClient('lmdb', db_paths=[root], client_keys=[_CLIENT])
        return _clients[root]


def _environment(client: FileClient) -> lmdb.Environment:
    return client.client._client[_CLIENT]


def _forget_inherited_clients() -> None:
    """In a forked worker: close the inherited databases, which must not be used there, so that they are opened anew."""
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held the old one
    for client in _clients.values():
        _environment(client).close()
    _clients.clear()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_forget_inherited_clients)
