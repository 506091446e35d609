"""Finding pictures by file, folder and pattern."""

from __future__ import annotations

from pathlib import Path

import pytest

from gsasr_plugin.upscaling.pictures.sources import find_sources


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ('b.PNG', 'a.jpg', 'deep/c.webp', '.hidden.png', 'notes.txt', 'out/a_x2.png'):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_stands_for_its_pictures_but_not_for_results(folder: Path) -> None:
    skipped: list[Path] = []
    found = find_sources([str(folder)], leave_out=folder / 'out', skipped=skipped)
    assert skipped == [folder / 'notes.txt']
    assert [source.name.as_posix() for source in found] == ['a.jpg', 'b.PNG', 'deep/c.webp']
    assert len(find_sources([str(folder)])) == 4
    # Results are left out of the folders above them; their own folder may be upscaled again.
    assert len(find_sources([str(folder / 'out')], leave_out=folder / 'out')) == 1


def test_patterns_files_and_the_standard_input(folder: Path) -> None:
    found = find_sources(['*.jpg', 'notes.txt', '-', '**/*.webp', 'a.jpg'])
    assert [str(source) for source in found] == ['a.jpg', 'notes.txt', 'standard input', 'deep/c.webp']
    assert all(source.problem is None for source in found)


def test_what_is_not_there_is_named(folder: Path) -> None:
    (folder / 'empty').mkdir()
    found = find_sources(['absent.png', 'x*.png', 'empty'])
    assert [source.problem and source.problem.split(' (')[0] for source in found] == [
        'there is no such file',
        'no file fits the pattern',
        'the folder holds no pictures',
    ]


def test_patterns_keep_folders_and_meet_each_folder_once(folder: Path) -> None:
    (folder / 'deep' / 'circle').symlink_to(folder, target_is_directory=True)
    (folder / 'deep' / 'again').symlink_to(folder, target_is_directory=True)
    (folder / 'linked').symlink_to(folder / 'out', target_is_directory=True)
    (folder / '.git').mkdir()
    (folder / '.git' / 'd.png').touch()
    found = find_sources([f'{folder}/**/*.[pw]*'])
    assert [source.name.as_posix() for source in found] == ['deep/c.webp', 'out/a_x2.png']
    assert not any(source.named for source in found)
    for pattern, names in {
        'deep/**': ['again/a.jpg', 'again/b.PNG', 'again/notes.txt', 'again/out/a_x2.png', 'c.webp'],
        '**/deep/**/*.webp': ['deep/c.webp'],
        'd*/**/*.webp': ['deep/c.webp'],
        '*/*.webp': ['c.webp'],
    }.items():
        assert [source.name.as_posix() for source in find_sources([pattern]) if source.path.is_file()] == names, pattern


def test_folders_without_those_in_them(folder: Path) -> None:
    found = find_sources([str(folder)], recursive=False)
    assert [source.name.as_posix() for source in found] == ['a.jpg', 'b.PNG']
