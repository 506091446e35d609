"""BasicSR on Python 3.13 and later: fetched from wherever pip is told to fetch from, checked, built; or what to do."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import importlib.metadata
import io
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import threading
import urllib.parse
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from gsasr_plugin.host.plugins import BASICSR_VERSION, basicsr_command

ROOT = Path(__file__).parents[2]
BUILD = ROOT / 'gsasr_plugin' / 'host' / 'basicsr_build'
BACKEND = runpy.run_path(str(BUILD / 'backend.py'))
ARCHIVE = 'basicsr-1.4.2.tar.gz'
OURS = f'basicsr-{BACKEND["BUILD"]}'  # the archive of the folder, and its wheel

# As BasicSR's own, but for its version, which it never finds: as on Python 3.13. It tells that it ran.
SETUP = """\
import os
from setuptools import setup

if 'RAN' in os.environ:
    open(os.environ['RAN'], 'w').close()


def get_version():
    with open('VERSION') as file:
        raise KeyError('__version__')


def get_requirements():
    return ['lmdb']


if __name__ == '__main__':
    setup(name='basicsr', version=get_version(), packages=['basicsr'], setup_requires=['torch'],
          install_requires=get_requirements())
"""
SOURCES = {'setup.py': SETUP, 'VERSION': '1.4.2\n', 'basicsr/__init__.py': "WHO = 'the published archive'\n"}


def archive_of(sources: Mapping[str, str], version: str = '1.4.2') -> bytes:
    """A source archive of BasicSR with these files: the same bytes whenever it is made."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode='w') as archive:
        for name, text in sources.items():
            entry = tarfile.TarInfo(f'basicsr-{version}/{name}')
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(data.getvalue(), mtime=0)


def wheel_of(name: str, folder: Path) -> Path:
    """An installed distribution, packed again."""
    distribution = importlib.metadata.distribution(name)
    wheel = folder / f'{name}-{distribution.version}-py3-none-any.whl'
    with zipfile.ZipFile(wheel, 'w') as file:
        for path in distribution.files or ():
            if '..' not in path.parts and path.suffix != '.pyc':
                file.write(str(path.locate()), str(path))
    return wheel


class Index:
    """A package index on this machine, of the files in `folder`; it can be asked as a proxy too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []  # names of packages
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _, kind, name, *_ = [*urllib.parse.urlsplit(self.path).path.split('/'), '']
                file = folder / name
                if kind == 'simple':
                    index.asked.append(name)
                    links = [f'<a href="/files/{path.name}">{path.name}</a>' for path in folder.glob(f'{name}-*')]
                    self.answer('\n'.join(links).encode() or None, 'text/html')
                else:
                    self.answer(file.read_bytes() if file.is_file() else None, 'application/octet-stream')

            def answer(self, data: bytes | None, kind: str) -> None:
                self.send_response(200 if data else 404)
                self.send_header('Content-Type', kind)
                self.send_header('Content-Length', str(len(data or b'')))
                self.end_headers()
                self.wfile.write(data or b'')

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.address = f'http://127.0.0.1:{self.server.server_port}'


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """Holds BasicSR's archive and nothing else."""
    files = tmp_path / 'files'
    files.mkdir()
    (files / ARCHIVE).write_bytes(archive_of(SOURCES))
    index = Index(files)
    thread = threading.Thread(target=index.server.serve_forever)
    thread.start()
    yield index
    index.server.shutdown()
    thread.join()
    index.server.server_close()


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """The folder that pip is given, and the archive of it, with the checksum of the archive above."""
    folder = tmp_path / 'build of BasicSR'
    shutil.copytree(BUILD, folder, ignore=shutil.ignore_patterns('__pycache__'))
    backend = (folder / 'backend.py').read_text()
    digest = hashlib.sha256(archive_of(SOURCES)).hexdigest()
    (folder / 'backend.py').write_text(backend.replace(BACKEND['SHA256'], digest))
    files = {path.name: path.read_text() for path in folder.iterdir() if path.suffix in ('.py', '.toml')}
    (folder / f'{OURS}.tar.gz').write_bytes(archive_of(files, BACKEND['BUILD']))
    return folder


def requirements_of(build: Path, folder: Path) -> Path:
    """requirements.txt in a folder, whose build of BasicSR is this one, for every Python."""
    text = (ROOT / 'requirements.txt').read_text()
    lines = {
        '--find-links gsasr_plugin/host/basicsr_build\n': f'--find-links "{build.name}"\n',
        '>= "3.13"': '>= "3.0"',
    }
    for before, after in lines.items():
        assert text.count(before) == 1
        text = text.replace(before, after)
    (folder / 'requirements.txt').write_text(text)
    return folder / 'requirements.txt'


def pip(*arguments: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs pip with these settings and no others."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().startswith(('pip_', 'http'))}
    settings = {'PIP_CONFIG_FILE': os.devnull, 'PIP_NO_CACHE_DIR': '1', 'PIP_DISABLE_PIP_VERSION_CHECK': '1'}
    return subprocess.run(
        [sys.executable, '-m', 'pip', *map(str, arguments)],
        env={**environment, **settings, 'PWD': str(cwd), 'RAN': str(cwd / 'ran'), **variables},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=240,
    )


def sources_of(cwd: Path) -> str:
    """What of BasicSR's own files the wheel holds that has been built there."""
    (wheel,) = cwd.glob('*.whl')
    assert wheel.name == f'{OURS}-py3-none-any.whl'
    with zipfile.ZipFile(wheel) as file:
        metadata = file.read(f'{OURS}.dist-info/METADATA').decode()
        assert 'Version: 1.4.2+gsasr\n' in metadata and 'Requires-Dist: lmdb' in metadata
        return file.read('basicsr/__init__.py').decode()


OTHER_WAYS = ('pip.conf', 'PIP_PROXY', 'http_proxy', 'PIP_FIND_LINKS', 'only wheels')


@pytest.mark.parametrize('way', ['PIP_INDEX_URL', *(pytest.param(way, marks=pytest.mark.slow) for way in OTHER_WAYS)])
def test_it_is_fetched_from_where_pip_looks(way: str, index: Index, build: Path, tmp_path: Path) -> None:
    configuration = tmp_path / 'pip.conf'
    configuration.write_text(f'[global]\nindex-url = {index.address}/simple\n')
    behind_a_proxy = {'PIP_INDEX_URL': 'http://index.invalid/simple', 'PIP_TRUSTED_HOST': 'index.invalid'}
    settings = {
        'PIP_INDEX_URL': {'PIP_INDEX_URL': f'{index.address}/simple'},
        'pip.conf': {'PIP_CONFIG_FILE': str(configuration)},
        'PIP_PROXY': {'PIP_PROXY': index.address, **behind_a_proxy},
        'http_proxy': {'http_proxy': index.address, **behind_a_proxy},
        'PIP_FIND_LINKS': {'PIP_NO_INDEX': '1', 'PIP_FIND_LINKS': 'files'},  # relative, as a user may give it
        'only wheels': {'PIP_INDEX_URL': f'{index.address}/simple', 'PIP_ONLY_BINARY': ':all:'},
    }
    done = pip('wheel', '--no-deps', '--no-build-isolation', build, cwd=tmp_path, **settings[way])
    assert done.returncode == 0, done.stderr
    assert sources_of(tmp_path) == SOURCES['basicsr/__init__.py']
    assert not (build / 'build').exists() and not list(build.glob('*.egg-info'))


@pytest.mark.slow
def test_it_is_built_in_isolation(index: Index, build: Path, tmp_path: Path) -> None:
    """As the requirements ask for it: pip then hides itself from the build, and fetches setuptools for it."""
    wheel_of('setuptools', index.folder)
    done = pip('wheel', '--no-deps', build, cwd=tmp_path, PIP_INDEX_URL=f'{index.address}/simple')
    assert done.returncode == 0, done.stderr
    assert sources_of(tmp_path) == SOURCES['basicsr/__init__.py'] and set(index.asked) == {'setuptools', 'basicsr'}


@pytest.mark.slow
def test_another_archive_is_refused_and_not_run(index: Index, build: Path, tmp_path: Path) -> None:
    (index.folder / ARCHIVE).write_bytes(archive_of({**SOURCES, 'basicsr/__init__.py': "WHO = 'somebody'\n"}))
    done = pip('wheel', '--no-build-isolation', build, cwd=tmp_path, PIP_INDEX_URL=f'{index.address}/simple')
    assert done.returncode != 0 and 'DO NOT MATCH THE HASHES' in done.stdout + done.stderr
    assert not (tmp_path / 'ran').exists() and not list(tmp_path.glob('*.whl'))


@pytest.mark.slow
def test_its_absence_is_told_before_anything_else_is_fetched(index: Index, build: Path, tmp_path: Path) -> None:
    (index.folder / ARCHIVE).unlink()
    wheel_of('setuptools', index.folder)
    requirements = requirements_of(build, tmp_path)
    afresh = ('--dry-run', '--ignore-installed')  # the Python of these tests may have this build of BasicSR
    done = pip('install', *afresh, '-r', requirements, cwd=tmp_path, PIP_INDEX_URL=f'{index.address}/simple')
    told = done.stdout + done.stderr
    assert done.returncode != 0 and f'{ARCHIVE} could not be fetched' in told
    assert 'PIP_INDEX_URL' in told and 'PIP_NO_INDEX=1 and PIP_FIND_LINKS=FOLDER' in told
    assert set(index.asked) == {'setuptools', 'basicsr'}  # not torch


@pytest.mark.slow
def test_the_requirements_are_met_from_any_folder(index: Index, build: Path, tmp_path: Path) -> None:
    """Of a Python that they ask for BasicSR, and of one that wants wheels only."""
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    requirements = requirements_of(build, tmp_path)
    text = requirements.read_text()
    requirements.write_text(
        ''.join(line for line in text.splitlines(keepends=True) if line.startswith(('--', 'basicsr')))
    )
    settings = {'PIP_INDEX_URL': f'{index.address}/simple', 'PIP_ONLY_BINARY': ':all:'}
    done = pip('wheel', '--no-deps', '--no-build-isolation', '-r', requirements, cwd=elsewhere, **settings)
    assert done.returncode == 0, done.stderr
    assert sources_of(elsewhere) == SOURCES['basicsr/__init__.py']


def test_requirements_without_their_folder_are_told(index: Index, build: Path, tmp_path: Path) -> None:
    """As a Dockerfile copies them: the build is not there, and no other BasicSR is taken for it."""
    requirements = requirements_of(build, tmp_path)
    shutil.rmtree(build)
    done = pip('wheel', '--no-deps', '-r', requirements, cwd=tmp_path, PIP_INDEX_URL=f'{index.address}/simple')
    told = done.stdout + done.stderr
    assert done.returncode != 0 and f'No matching distribution found for {OURS.replace("-", "==")}' in told
    assert build.name in told and index.asked == ['basicsr'] and not (tmp_path / 'ran').exists()


def test_the_archive_holds_the_folder() -> None:
    r"""Made in that folder by

    tar --sort=name --owner=0 --group=0 --transform 's,^,basicsr-1.4.2+gsasr/,' \
        -czf basicsr-1.4.2+gsasr.tar.gz *.py *.toml
    """
    (archive,) = BUILD.glob('*.tar.gz')
    assert archive.name == f'{OURS}.tar.gz'
    with tarfile.open(archive) as file:
        packed = {entry.name: getattr(file.extractfile(entry), 'read', bytes)() for entry in file}
    sources = [path for path in BUILD.iterdir() if path.suffix in ('.py', '.toml')]
    assert packed == {f'{OURS}/{path.name}': path.read_bytes() for path in sources}


def test_extensions_of_basicsr_are_refused(build: Path, tmp_path: Path) -> None:
    done = pip('wheel', '--no-build-isolation', build, cwd=tmp_path, PIP_NO_INDEX='1', BASICSR_EXT='True')
    assert done.returncode != 0 and 'unset BASICSR_EXT' in done.stdout + done.stderr


def test_nothing_but_the_function_is_replaced() -> None:
    replaced = BACKEND['with_version'](SETUP)
    before, _, after = SETUP.partition("    with open('VERSION') as file:\n        raise KeyError('__version__')\n")
    assert after and replaced == f"{before}    return '1.4.2+gsasr'\n{after}"


def test_each_python_gets_one_basicsr() -> None:
    """From the index where its setup.py runs, by way of our build from 3.13 on; the same version everywhere."""
    dependency = re.search(r'"(basicsr.*)"', (ROOT / 'pyproject.toml').read_text())
    (line,) = (line for line in (ROOT / 'requirements.txt').read_text().splitlines() if line.startswith('basicsr'))
    assert dependency is not None
    published, ours = Requirement(dependency[1]), Requirement(line)
    assert BACKEND['VERSION'] == BASICSR_VERSION and str(published.specifier) == f'=={BASICSR_VERSION}'
    assert str(ours.specifier) == f'=={BACKEND["BUILD"]}' and published.specifier.contains(BACKEND['BUILD'])
    assert published.marker is not None and ours.marker is not None
    for version, is_published in {'3.10': True, '3.12': True, '3.13': False, '3.14': False}.items():
        environment = {'python_version': version}
        assert (published.marker.evaluate(environment), ours.marker.evaluate(environment)) == (
            is_published,
            not is_published,
        )


def test_the_command_names_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, 'version_info', (3, 12, 9))
    assert basicsr_command() == 'python -m pip install basicsr==1.4.2'
    monkeypatch.setattr(sys, 'version_info', (3, 13, 0))
    folder = re.fullmatch('python -m pip install "(.*)"', basicsr_command())
    assert folder is not None and Path(folder[1]).samefile(BUILD) and (BUILD / 'pyproject.toml').is_file()
