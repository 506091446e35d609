"""What is in LMDBs: values, keys of any bytes, and databases that a forked worker inherits."""

import multiprocessing
from pathlib import Path

import lmdb
import pytest

from gsasr_plugin.data import lmdb_values
from gsasr_plugin.data.lmdb_values import lmdb_keys, lmdb_value
from gsasr_plugin.run_errors import DataError


@pytest.fixture
def root(tmp_path) -> str:
    path = str(tmp_path / 'a.lmdb')
    with lmdb.open(path, map_size=1 << 20) as database, database.begin(write=True) as transaction:
        transaction.put(b'one', b'1')
        transaction.put(b'two', b'22')
        transaction.put(b'\xff', b'no text')
    return path


def test_keys_and_values(root):
    assert lmdb_keys(root) == ['one', 'two', '\\xff']
    assert [lmdb_value(root, key) for key in ('one', 'two', 'three', 'zwölf')] == [b'1', b'22', None, None]


def test_an_lmdb_is_opened_once_whatever_its_path_is_written_like(root, tmp_path, monkeypatch):
    environment = lmdb_values._environment(root)
    monkeypatch.chdir(tmp_path)
    assert lmdb_values._environment('a.lmdb') is environment


def test_what_cannot_be_read_is_named(tmp_path):
    for read in (lmdb_keys, lambda root: lmdb_value(root, 'one')):
        with pytest.raises(DataError, match=r'LMDB .*none\.lmdb cannot be read'):
            read(str(tmp_path / 'none.lmdb'))


def read_in_child(root: str, answers) -> None:
    answers.put((lmdb_value(root, 'two'), lmdb_keys(root)[0]))


@pytest.mark.skipif('fork' not in multiprocessing.get_all_start_methods(), reason='needs fork')
def test_a_forked_worker_closes_what_it_inherits(root):
    """The parent still uses its database, and another of its threads just opens one, while the worker starts."""
    environment = lmdb_values._environment(root)
    context = multiprocessing.get_context('fork')
    answers = context.Queue()
    child = context.Process(target=read_in_child, args=(root, answers))
    with lmdb_values._lock:
        child.start()
    child.join(30)
    hangs = child.is_alive()
    child.kill()
    assert not hangs
    assert child.exitcode == 0
    assert answers.get(timeout=30) == (b'22', 'one')
    assert lmdb_values._environment(root) is environment  # the parent's own stays open
    assert lmdb_value(root, 'one') == b'1'


def test_an_lmdb_is_only_read(root):
    """As a user who may not write there: neither is it locked."""
    lock = Path(root) / 'lock.mdb'
    lock.unlink()
    assert lmdb_value(root, 'one') == b'1'
    assert not lock.exists()
    with pytest.raises(lmdb.ReadonlyError):
        lmdb_values._environment(root).begin(write=True)
