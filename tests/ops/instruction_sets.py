"""Scripts in processes of their own, whose kernels are those of one instruction set."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gsasr_ops import backend
from tests import forked

ROOT = Path(__file__).resolve().parents[2]
NAMES = ('portable', 'avx2', 'avx512', 'avx512bf16')


def each(test: Callable[[str], None]) -> Callable[[str], None]:
    """A test of every instruction set."""
    return pytest.mark.slow(pytest.mark.parametrize('name', NAMES)(test))


def run_with(name: str, script: str) -> str:
    """What a script prints with an instruction set and one thread; skips the test where there is no such set.

    It gets the library that this process has, which may be a sanitized one.
    """
    here = backend()
    if name not in here['instruction_sets']:
        pytest.skip(f'this machine or this build has no {name}: {here["instruction_sets"]}')
    check = (
        'from gsasr_ops import backend\n'
        f'assert backend()["instruction_sets"][0] == {name!r} and backend()["library"] == {here["library"]!r}\n'
    )
    path = os.pathsep.join(filter(None, (os.environ.get('PYTHONPATH'), str(ROOT))))
    environment = {**os.environ, 'GSASR_CPU': name, 'PYTHONPATH': path}
    result = forked.run(['-c', check + script], folder=ROOT, environment=environment, modules=forked.TORCH)
    assert result.returncode == 0, result.stderr
    return result.stdout
