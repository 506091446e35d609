"""What setup.py packages, and what it does where torch is missing. `.ci/wheel` builds and uses the whole."""

from __future__ import annotations

import importlib.metadata
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from setuptools import build_meta

from gsasr_ops import build
from gsasr_plugin.packaged_files import packaged_files
from tests import forked

ROOT = Path(__file__).parents[1]

WITHOUT_TORCH = """
import json, sys
sys.modules['torch'] = None  # importing it fails
"""
COMMAND = """
import runpy, setuptools
setuptools.setup = lambda **arguments: given.update(arguments)
given = {{}}
runpy.run_path('setup.py')
distribution = setuptools.Distribution({{'name': 'gsasr-plugin', 'script_name': 'setup.py', **given}})
command = distribution.get_command_obj('{}')
command.ensure_finalized()
"""
FILES = (
    COMMAND.format('build_py')
    + """
print(json.dumps({package: [f'{folder}/{name}' for name in names] for package, folder, _, names in command.data_files}))
"""
)
TAG = COMMAND.format('bdist_wheel') + 'print(json.dumps(command.get_tag()))'


def setup_says(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A process in which setup.py runs."""
    kept = {name: value for name, value in os.environ.items() if name not in ('FORCE_CUDA', 'FORCE_KERNELS')}
    return forked.run(['-c', script], folder=ROOT, environment={**kept, **variables}, modules=forked.TORCH)


def told(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_all_that_is_no_python_travels() -> None:
    """Option files and pages about them, weights and their card, tables of the paper, sources of the kernels."""
    data = told(setup_says(WITHOUT_TORCH + FILES))
    options = {path for path in packaged_files().values() if path.parent == ROOT / 'options'}
    pages = set(packaged_files().values()) - options
    assert len(options) > 25 and pages
    assert {ROOT / name for name in data['gsasr_plugin.options']} == options
    assert {ROOT / name for name in data['gsasr_plugin.docs']} == pages
    assert 'gsasr_plugin/checkpoints/weights/gsasr-small.safetensors' in data['gsasr_plugin']
    assert 'gsasr_plugin/host/basicsr_build/basicsr-1.4.2+gsasr.tar.gz' in data['gsasr_plugin']  # requirements.txt's
    native = {
        f'ops/{path.relative_to(ROOT / "ops")}'
        for kind in ('cpp', 'cu', 'h', 'cuh')
        for path in (ROOT / 'ops').rglob(f'*.{kind}')
    }
    assert native <= set(data['gsasr_ops']) and len(native) > 30
    assert not [name for names in data.values() for name in names if name.endswith(('.so', '.pyc'))]


needs_compiler = pytest.mark.skipif(build.compiler_complaint() is not None, reason='there is no C++ compiler')


@needs_compiler
@pytest.mark.skipif(sys.platform != 'linux', reason='the tag of another system')
def test_a_wheel_with_kernels_is_for_every_python() -> None:
    assert told(setup_says('import json' + TAG, FORCE_CUDA='0'))[:2] == ['py3', 'none']
    assert told(setup_says(WITHOUT_TORCH + TAG)) == ['py3', 'none', 'any']


class Installed(importlib.metadata.Distribution):
    def __init__(self, name: str, version: str) -> None:
        self.text = f'Name: {name}\nVersion: {version}\n'

    def read_text(self, filename: str) -> str:
        return self.text

    def locate_file(self, path: Any) -> Any:
        raise NotImplementedError


Needs = Callable[..., list[str]]


@pytest.fixture
def needs(monkeypatch: pytest.MonkeyPatch) -> Needs:
    """What an isolated build asks for, where these distributions are installed within it and around it."""

    def asked(
        *, kind: str = 'wheel', around: Mapping[str, str], within: Mapping[str, str], **variables: str
    ) -> list[str]:
        def distributions(name: str | None = None, path: list[str] | None = None) -> list[Installed]:
            found = within if path is None else around
            return [Installed(*one) for one in found.items() if name in (None, one[0])]

        with monkeypatch.context() as patch:
            for variable in ('FORCE_CUDA', 'FORCE_KERNELS', 'CXX'):
                patch.delenv(variable, raising=False)
            for variable, value in variables.items():
                patch.setenv(variable, value)
            patch.setattr(importlib.metadata, 'distributions', distributions)
            return runpy.run_path(str(ROOT / 'build_backend.py'))[f'get_requires_for_build_{kind}']()

    return asked


@needs_compiler
def test_an_isolated_build_without_torch_fetches_one(needs: Needs) -> None:
    """A wheel would have no kernels otherwise. Its version is that of the package's own dependencies."""
    (own,) = (line.strip(' ",\n') for line in (ROOT / 'pyproject.toml').open() if line.startswith('    "torch>='))
    for kind in ('wheel', 'editable'):
        assert needs(kind=kind, around={}, within={}) == [own]
    assert needs(around={'torch': '2.9.1+cu128'}, within={}) == [own]  # too old
    assert needs(around={'torch': '2.10.0'}, within={}) == needs(around={}, within={'torch': '2.14.1+cpu'}) == []


def test_torch_is_not_fetched_for_nothing(needs: Needs) -> None:
    nothing: dict[str, dict[str, str]] = {'around': {}, 'within': {}}
    assert needs(**nothing, FORCE_KERNELS='0') == []
    for forced in ('', '1'):  # who asks for kernels is told by setup.py that there is no compiler
        assert needs(**nothing, CXX='no-such-compiler', FORCE_KERNELS=forced) == []
    backend = runpy.run_path(str(ROOT / 'build_backend.py'))  # for an sdist nothing is compiled
    assert backend['get_requires_for_build_sdist'] == build_meta.get_requires_for_build_sdist


def test_pip_that_cannot_install_basicsr_is_told_first(needs: Needs) -> None:
    """Before torch is fetched for it."""
    old, within = {'pip': '23.0.1', 'setuptools': '65.5.0'}, {'setuptools': '81.0'}
    with pytest.raises(SystemExit, match=r'pip 23\.0\.1 cannot install BasicSR 1\.4\.2, 23\.1 and newer can'):
        needs(around=old, within=within)
    needs(around={'pip': '23.0.1'}, within=within)
    for fine in ({'pip': '23.1'}, {'basicsr': '1.4.2'}, {'torch': '2.14.1'}):
        needs(around={**old, **fine}, within=within)


@pytest.mark.skipif(sys.platform == 'win32', reason='the compiler is found in the registry')
def test_without_a_compiler_nothing_is_tried() -> None:
    """The wheel then claims no system; and who asked for kernels is not sent for a torch."""
    done = setup_says('import json' + TAG, CXX='no-such-compiler')
    reason = 'there is no C++ compiler (looked for no-such-compiler)'
    assert told(done) == ['py3', 'none', 'any'] and f'not compiled now, but at first use: {reason}' in done.stderr
    done = setup_says('import json' + TAG, CXX='no-such-compiler', FORCE_KERNELS='1')
    assert done.returncode != 0 and done.stderr.endswith(f'FORCE_KERNELS is set, but {reason}\n')


@needs_compiler
def test_kernels_can_be_left_to_the_first_use() -> None:
    done = setup_says('import json' + TAG, FORCE_KERNELS='0')
    assert told(done) == ['py3', 'none', 'any'] and 'not compiled now, but at first use: FORCE_KERNELS=0' in done.stderr
    assert told(setup_says('import json' + TAG, FORCE_KERNELS=''))[2] != 'any'


@needs_compiler
@pytest.mark.parametrize('name', ['FORCE_KERNELS', 'FORCE_CUDA'])
def test_a_build_without_the_kernels_that_were_asked_for_fails(name: str) -> None:
    script = WITHOUT_TORCH + 'sys.argv = ["setup.py", "{}"]; import runpy; runpy.run_path("setup.py")'
    done = setup_says(script.format('bdist_wheel'), **{name: '1'})
    assert done.returncode != 0 and f'{name} is set, but ' in done.stderr and 'install torch first' in done.stderr
    assert not (ROOT / 'dist').exists()
