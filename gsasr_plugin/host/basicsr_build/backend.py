"""Builds BasicSR 1.4.2 for Python 3.13 and later, which its own setup.py cannot: `pip install` takes this folder, or
the archive of it that lies here, which requirements.txt finds from wherever pip is called (as no path in it would be).

setup.py runs version.py in a function and looks for the result among the function's local variables, where Python has
not put it since 3.13. Here pip fetches the published archive, from wherever it is configured to fetch from, and checks
its SHA-256; the function is replaced by one that knows the version; and setuptools builds the rest as it stands.

The file runs alone, in pip's (or uv's) environment for the build, and names its functions as PEP 517 does.
"""

import ast
import importlib.machinery
import os
import subprocess
import sys
import tarfile
import tempfile
import warnings
from pathlib import Path
from typing import Any

NAME, VERSION = 'basicsr', '1.4.2'
BUILD = f'{VERSION}+gsasr'  # its version as pip sees it: no index has another of that name; `==1.4.2` holds for it
SHA256 = 'b89b595a87ef964cda9913b4d99380ddb6554c965577c0c10cb7b78e31301e87'

# What pip asks for name and version of an archive that it only downloads, in place of a setup.py that fails.
_ANSWERS = f"""\
import pathlib

class __legacy__:
    @staticmethod
    def prepare_metadata_for_build_wheel(folder, config_settings=None):
        answer = pathlib.Path(folder, '{NAME}-{VERSION}.dist-info')
        answer.mkdir()
        (answer / 'METADATA').write_text('Metadata-Version: 2.1\\nName: {NAME}\\nVersion: {VERSION}\\n')
        return answer.name
"""
_ADVICE = f"""\
{NAME}-{VERSION}.tar.gz could not be fetched; what pip says of it stands above.
pip looks for it where its configuration files and the environment say: PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_PROXY,
PIP_CERT; without a network PIP_NO_INDEX=1 and PIP_FIND_LINKS=FOLDER, where FOLDER holds that file, from
https://pypi.org/project/{NAME}/{VERSION}/#files, as it is. Options of the command line (--index-url, --find-links,
--proxy) and settings of uv do not reach this build: set the variables in their place."""


def get_requires_for_build_wheel(config_settings: dict[str, Any] | None = None) -> list[str]:
    """pip, where the interpreter has none of its own (uv's environments)."""
    command = [sys.executable, '-m', 'pip', '--version']
    return [] if subprocess.run(command, env=_environment_of_pip(), capture_output=True).returncode == 0 else ['pip']


def build_wheel(
    wheel_directory: str, config_settings: dict[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """Writes BasicSR's wheel into a folder, and returns its name.

    Raises:
        SystemExit: the archive cannot be had, or is not the published one; the message says what to do.
    """
    if os.environ.get('BASICSR_EXT') == 'True':
        raise SystemExit(
            "BASICSR_EXT=True asks for BasicSR's own CUDA extensions, which are not built here: unset BASICSR_EXT "
            '(gsasr-plugin uses none of them)'
        )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        source = _unpacked(_fetched(Path(folder)))
        setup = source / 'setup.py'
        setup.write_text(with_version(setup.read_text('utf-8')), 'utf-8')
        before = Path.cwd()
        os.chdir(source)
        try:
            from setuptools import build_meta

            warnings.simplefilter('ignore')  # pages of advice on how BasicSR should be packaged
            return build_meta.__legacy__.build_wheel(os.path.abspath(os.path.join(before, wheel_directory)))
        finally:
            os.chdir(before)


def with_version(setup: str) -> str:
    """The text of setup.py, whose function that finds the version is one that knows that of this build."""
    (function,) = (
        node for node in ast.parse(setup).body if isinstance(node, ast.FunctionDef) and node.name == 'get_version'
    )
    lines = setup.splitlines(keepends=True)
    lines[function.lineno - 1 : function.end_lineno] = [f'def get_version():\n    return {BUILD!r}\n']
    return ''.join(lines)


def _fetched(folder: Path) -> Path:
    """The published archive, in a new folder below the given one."""
    answers = folder / 'answers' / 'setuptools'
    answers.mkdir(parents=True)
    (answers / '__init__.py').touch()
    (answers / 'build_meta.py').write_text(_ANSWERS)
    wanted, got = folder / 'wanted.txt', folder / 'got'
    wanted.write_text(f'{NAME}=={VERSION} --hash=sha256:{SHA256}\n')
    environment = _environment_of_pip()
    environment['PYTHONPATH'] = os.pathsep.join(filter(None, [str(answers.parent), environment.get('PYTHONPATH')]))
    command = [sys.executable, '-m', 'pip', 'download', '--no-input', '--no-deps', '--no-build-isolation']
    command += ['--use-pep517', '--no-binary', NAME, '--require-hashes', '-r', str(wanted), '-d', str(got)]
    # A relative folder in PIP_FIND_LINKS is one of the user's shell.
    done = subprocess.run(
        command, env=environment, cwd=os.environ.get('PWD'), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode != 0:
        raise SystemExit(f'{done.stdout}\n{_ADVICE}')
    (archive,) = got.iterdir()
    return archive


def _unpacked(archive: Path) -> Path:
    with tarfile.open(archive) as file:
        file.extractall(archive.parent, filter='data')
    return archive.parent / f'{NAME}-{VERSION}'


def _environment_of_pip() -> dict[str, str]:
    """The environment in which `python -m pip` is found, and knows nothing of the build that goes on here."""
    hidden = ['_PYPROJECT_HOOKS_', 'PEP517_']  # how pip tells a build's backend
    if importlib.machinery.PathFinder.find_spec('pip') is None:
        hidden += ['PYTHONPATH', 'PYTHONNOUSERSITE']  # how it hides all that is installed, itself too, from a build
    return {name: value for name, value in os.environ.items() if not name.startswith(tuple(hidden))}
