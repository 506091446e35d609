"""The option files that come with the package are found by name, from any folder; whatever the user has goes first."""

from __future__ import annotations

from pathlib import Path

import pytest

from gsasr_plugin import packaged_files as module
from gsasr_plugin.packaged_files import given_or_packaged, packaged_file, packaged_files

ROOT = Path(__file__).parents[1]


def test_all_of_the_folder_and_the_pages_about_it() -> None:
    in_options = {path.name for path in (ROOT / 'options').iterdir()}
    assert len(in_options) > 25
    assert set(packaged_files()) == in_options | {'options.md', 'photographs.py', 'photographs.txt'}
    assert all(path.is_file() for path in packaged_files().values())
    suffixes = [Path(name).suffix == '.yml' for name in packaged_files()]
    assert suffixes == sorted(suffixes, reverse=True)  # the option files first


@pytest.mark.parametrize(
    'name',
    [
        'train_gsasr_rdn',
        'train_gsasr_rdn.yml',
        'options/train_gsasr_rdn.yml',
        './options/train_gsasr_rdn.yml',
        'options/train_gsasr_rdn',
    ],
)
def test_names_of_an_option_file(name: str) -> None:
    assert packaged_file(name) == ROOT / 'options' / 'train_gsasr_rdn.yml'


@pytest.mark.parametrize(
    'name', ['', '.', '/', '~', 'train', 'mine/train_gsasr_rdn.yml', '/options/train_gsasr_rdn.yml', '../setup.py']
)
def test_no_names_of_anything(name: str) -> None:
    assert packaged_file(name) is None


def test_other_files() -> None:
    assert packaged_file('options/quickstart_val.txt') == ROOT / 'options' / 'quickstart_val.txt'
    assert packaged_file('docs/photographs.py') == ROOT / 'docs' / 'photographs.py'


def test_the_users_own_file_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert given_or_packaged('options/quickstart_val.txt') == str(ROOT / 'options' / 'quickstart_val.txt')
    (tmp_path / 'options').mkdir()
    (tmp_path / 'options' / 'quickstart_val.txt').touch()
    assert given_or_packaged('options/quickstart_val.txt') == 'options/quickstart_val.txt'
    monkeypatch.setenv('HOME', str(tmp_path))
    assert given_or_packaged('~/options') == str(tmp_path / 'options')
    assert given_or_packaged('neither.yml') == 'neither.yml'


def test_an_installed_package_has_its_own_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And looks at nothing outside of it."""
    package = tmp_path / 'gsasr_plugin'
    for name in ('gsasr_plugin/options/a.yml', 'gsasr_plugin/options/b.txt', 'options/outside.yml'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(module, '_PACKAGE', package)
    assert list(packaged_files()) == ['a.yml', 'b.txt', 'options.md', 'photographs.py', 'photographs.txt']
    assert all(path.is_relative_to(package) for path in packaged_files().values())
