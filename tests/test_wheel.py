"""What setup.py packages, and what it does where torch is missing. `.ci/wheel` builds and uses the whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gsasr_plugin.packaged_files import packaged_files

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
NEEDS = """
from setuptools import build_meta
print(json.dumps(build_meta.get_requires_for_build_{}()))
"""


def setup_says(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A process in which setup.py runs."""
    kept = {name: value for name, value in os.environ.items() if name not in ('FORCE_CUDA', 'FORCE_KERNELS')}
    return subprocess.run(
        [sys.executable, '-c', script], env={**kept, **variables}, cwd=ROOT, text=True, capture_output=True, timeout=240
    )


def told(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_all_that_is_no_python_travels() -> None:
    """Option files and pages about them, weights and their card, tables of the paper, sources of the kernels."""
    data = told(setup_says(WITHOUT_TORCH + FILES))
    options = {path for path in packaged_files().values() if path.parent == ROOT / 'options'}
    pages = set(packaged_files().values()) - options
    assert len(options) > 25 and pages
    assert {ROOT / name for name in data['gsasr_plugin.options']} == options
    assert {ROOT / name for name in data['gsasr_plugin.docs']} == pages
    assert 'gsasr_plugin/checkpoints/weights/gsasr-small.safetensors' in data['gsasr_plugin']
    native = {
        f'ops/{path.relative_to(ROOT / "ops")}'
        for kind in ('cpp', 'cu', 'h', 'cuh')
        for path in (ROOT / 'ops').rglob(f'*.{kind}')
    }
    assert native <= set(data['gsasr_ops']) and len(native) > 30
    assert not [name for names in data.values() for name in names if name.endswith(('.so', '.pyc'))]


@pytest.mark.skipif(sys.platform != 'linux', reason='the tag of another system')
def test_a_wheel_with_kernels_is_for_every_python() -> None:
    assert told(setup_says('import json' + TAG, FORCE_CUDA='0'))[:2] == ['py3', 'none']
    assert told(setup_says(WITHOUT_TORCH + TAG)) == ['py3', 'none', 'any']


@pytest.mark.parametrize('variables', [{'FORCE_KERNELS': '1'}, {'FORCE_CUDA': '1'}])
def test_an_isolated_build_without_torch_fetches_it_if_kernels_are_asked_for(variables: dict[str, str]) -> None:
    """Its version is that of the package's own dependencies."""
    (own,) = (line.strip(' ",\n') for line in (ROOT / 'pyproject.toml').open() if line.startswith('    "torch>='))
    assert own in told(setup_says(WITHOUT_TORCH + NEEDS.format('wheel'), **variables))
    assert told(setup_says(WITHOUT_TORCH + NEEDS.format('wheel'))) == []


@pytest.mark.parametrize('name', ['FORCE_KERNELS', 'FORCE_CUDA'])
def test_a_build_without_the_kernels_that_were_asked_for_fails(name: str) -> None:
    script = WITHOUT_TORCH + 'sys.argv = ["setup.py", "{}"]; import runpy; runpy.run_path("setup.py")'
    done = setup_says(script.format('bdist_wheel'), **{name: '1'})
    assert done.returncode != 0 and f'{name} is set, but ' in done.stderr and 'install torch first' in done.stderr
    assert not (ROOT / 'dist').exists()
