"""Folders that `dataroot_*` options name, `package:NAME` among them, whose code is never run."""

import sys
from pathlib import Path

import pytest

from gsasr_plugin.data.data_roots import resolve_root
from gsasr_plugin.run_errors import MissingDataError


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on Python's path with a package and a module that both leave a trace when they are imported."""
    trace = f"open({str(tmp_path / 'trace')!r}, 'w')"
    (tmp_path / 'pictures_of_a_test' / 'inner').mkdir(parents=True)
    (tmp_path / 'pictures_of_a_test' / '__init__.py').write_text(trace)
    (tmp_path / 'pictures_of_a_test' / 'inner' / '__init__.py').write_text(trace)
    (tmp_path / 'module_of_a_test.py').write_text(trace)
    (tmp_path / 'namespace_of_a_test').mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ('name', 'folder'),
    [
        ('pictures_of_a_test', 'pictures_of_a_test'),
        ('pictures_of_a_test.inner', 'pictures_of_a_test/inner'),
        ('namespace_of_a_test', 'namespace_of_a_test'),
        ('pictures_of_a_test.nowhere', None),
        ('pictures_of_a_test.', None),
        ('module_of_a_test', None),
        ('module_of_a_test.inner', None),
        ('nowhere_of_a_test', None),
        ('__main__', None),
        ('', None),
    ],
)
def test_a_package_is_found_without_running_it(site: Path, name: str, folder: str | None) -> None:
    if folder is None:
        with pytest.raises(MissingDataError, match=f"there is no package '{name}' here"):
            resolve_root(f'package:{name}')
    else:
        assert resolve_root(f'package:{name}') == str(site / folder)
    assert not (site / 'trace').exists()
    assert not [module for module in sys.modules if module.endswith('_of_a_test')]


def test_a_package_that_is_imported_already_is_found() -> None:
    skimage = pytest.importorskip('skimage.data')
    assert resolve_root('package:skimage.data') == str(Path(skimage.__file__).parent)
