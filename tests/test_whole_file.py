"""Files are there whole or not at all: one, or several together in their order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from gsasr_plugin.whole_file import STAGING, is_whole_archive, remove_left_overs, replacing, replacing_together


def test_one_file_takes_the_place_of_another_when_it_is_done(tmp_path: Path) -> None:
    path = tmp_path / 'a.png'
    path.write_text('old')
    with replacing(path) as unfinished:
        assert unfinished.parent == tmp_path and unfinished.name.startswith(STAGING) and unfinished.suffix == '.png'
        unfinished.write_text('new')
        assert path.read_text() == 'old'
        with replacing(path) as other:
            assert other != unfinished
            other.write_text('of another process')
    assert path.read_text() == 'new' and os.listdir(tmp_path) == ['a.png']


def test_after_an_error_all_is_as_before(tmp_path: Path) -> None:
    old, new = tmp_path / 'old', tmp_path / 'new'
    old.write_text('old')
    with pytest.raises(OSError, match='full'), replacing_together() as unfinished:
        unfinished(old).write_text('newer')
        unfinished(new).write_text('half')
        raise OSError('the disk is full')
    assert os.listdir(tmp_path) == ['old'] and old.read_text() == 'old'
    with pytest.raises(FileNotFoundError), replacing_together() as unfinished:
        unfinished(old).write_text('newer')
        unfinished(new)  # never written
    assert os.listdir(tmp_path) == ['old'] and old.read_text() == 'old'


def test_all_are_on_the_disk_before_the_first_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the names too, in the end; they appear in the order in which they were asked for."""
    done: list[tuple[str, str]] = []
    sync, rename = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        done.append(('sync', Path(os.readlink(f'/proc/self/fd/{descriptor}')).name))
        sync(descriptor)

    def replace(source: Path, target: Path) -> None:
        done.append(('rename', target.name))
        rename(source, target)

    monkeypatch.setattr(os, 'fsync', fsync)
    monkeypatch.setattr(os, 'replace', replace)
    folders = [tmp_path / name for name in ('one', 'two')]
    with replacing_together() as unfinished:
        for folder, name in zip(folders, ('b', 'a'), strict=True):
            folder.mkdir()
            unfinished(folder / name).write_text(name)
            assert unfinished(folder / name) == unfinished(folder / name)
    kinds = [(kind, name.split('_')[-1]) for kind, name in done]
    assert kinds[:4] == [('sync', 'b'), ('sync', 'a'), ('rename', 'b'), ('rename', 'a')]
    assert sorted(kinds[4:]) == [('sync', 'one'), ('sync', 'two')]
    assert [(folder / name).read_text() for folder, name in zip(folders, 'ba')] == ['b', 'a']


def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        if os.path.isdir(f'/proc/self/fd/{descriptor}'):
            raise OSError('this file system does not do that')
        sync(descriptor)

    monkeypatch.setattr(os, 'fsync', fsync)
    before = len(os.listdir('/proc/self/fd'))
    with replacing(tmp_path / 'a') as unfinished:
        unfinished.write_text('a')
    assert os.listdir(tmp_path) == ['a'] and len(os.listdir('/proc/self/fd')) == before


def test_left_overs_are_removed(tmp_path: Path) -> None:
    (tmp_path / f'{STAGING}file').touch()
    (tmp_path / f'{STAGING}folder' / 'inner').mkdir(parents=True)
    (tmp_path / 'kept').touch()
    remove_left_overs(tmp_path)
    assert os.listdir(tmp_path) == ['kept']
    remove_left_overs(tmp_path / 'absent')


def test_an_archive_is_whole_or_not(tmp_path: Path) -> None:
    path = tmp_path / 'archive'
    torch.save({'a': torch.arange(1000)}, path)
    assert is_whole_archive(path)
    content = path.read_bytes()
    for damaged in (content[:-1], content[:100], b'', content.replace(b'\7\0\0\0\0', b'\7\0\0\0\1', 1)):
        assert damaged != content
        path.write_bytes(damaged)
        assert not is_whole_archive(path)
