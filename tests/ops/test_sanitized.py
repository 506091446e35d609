"""The CPU kernels under AddressSanitizer and UndefinedBehaviorSanitizer: their own tests, and random hostile calls.

Compiled once into the folder of temporary files (a minute), again when its sources change. GSASR_HOSTILE=10000 makes so
many hostile calls, and runs the tests of gradients and properties too.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from torch.utils.cpp_extension import include_paths

from gsasr_ops import build

ROOT = Path(__file__).resolve().parents[2]
SANITIZERS = ('-fsanitize=address,undefined', '-fno-sanitize-recover=undefined', '-fno-omit-frame-pointer')
CALLS = os.environ.get('GSASR_HOSTILE', '300')


@pytest.fixture(scope='module')
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables with which a process finds a copy of gsasr_ops with a sanitized library, and its sanitizers."""
    gcc = shutil.which('g++')
    if gcc is None or sys.platform != 'linux':
        pytest.skip('needs g++ on Linux')
    # Exceptions pass through the sanitizer, which looks for the C++ library when the process starts.
    runtime = [
        subprocess.run([gcc, f'-print-file-name={name}'], capture_output=True, text=True, check=True).stdout.strip()
        for name in ('libasan.so', 'libstdc++.so')
    ]
    if not all(map(os.path.isabs, runtime)):
        pytest.skip('this g++ has no AddressSanitizer')
    package = tmp_path_factory.mktemp('sanitized') / 'gsasr_ops'
    shutil.copytree(Path(build.__file__).parent, package, ignore=shutil.ignore_patterns('_C*', '__pycache__'))
    shutil.copy(_library(gcc), package / '_C.so')
    return {
        **os.environ,
        'PYTHONPATH': os.pathsep.join([str(package.parent), str(ROOT)]),
        'LD_PRELOAD': ' '.join(runtime),
        # Python and torch keep what they have until the end; an allocation that is too large is torch's to refuse.
        'ASAN_OPTIONS': 'detect_leaks=0:allocator_may_return_null=1:abort_on_error=0:exitcode=99',
        'UBSAN_OPTIONS': 'print_stacktrace=1',
        'OMP_NUM_THREADS': '2',
    }


def _library(gcc: str) -> Path:
    flags = [flag for flag in build.cxx_flags(torch.__version__, None) if flag not in ('-O3', '-g0')]
    flags += ['-O1', '-g1', '-fPIC', *SANITIZERS, *(f'-I{path}' for path in include_paths())]
    digest = hashlib.sha256(repr((gcc, flags)).encode())
    for path in sorted(build.CSRC.rglob('*')):
        digest.update(path.read_bytes() if path.is_file() else b'')
    folder = Path(tempfile.gettempdir()) / f'gsasr_sanitized_{os.getuid()}_{digest.hexdigest()[:16]}'
    folder.mkdir(mode=0o700, exist_ok=True)
    library = folder / '_C.so'
    with FileLock(folder / 'lock'):
        if not library.exists():
            objects = [folder / f'{source.stem}.o' for source in build.sources(cuda=False)]

            def compile_one(source: Path, target: Path) -> None:
                subprocess.run([gcc, *flags, '-c', str(source), '-o', str(target)], check=True)

            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(compile_one, build.sources(cuda=False), objects))
            torch_libraries = [f'-L{Path(torch.__file__).parent / "lib"}', '-lc10', '-ltorch_cpu', '-ltorch']
            unfinished = folder / 'unfinished.so'
            subprocess.run(
                [gcc, '-shared', *SANITIZERS, *map(str, objects), '-o', str(unfinished), *torch_libraries], check=True
            )
            for path in objects:
                path.unlink()
            unfinished.rename(library)
    return library


def run(environment: dict[str, str], *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=ROOT, text=True, capture_output=True, timeout=1200
    )
    assert result.returncode == 0, (result.stdout + result.stderr)[-4000:]
    return result.stdout


def test_the_library_in_use_is_the_sanitized_one(environment: dict[str, str]) -> None:
    script = 'import gsasr_ops; b = gsasr_ops.backend(); print(b["cpu"], b["library"])'
    assert run(environment, '-c', script).split() == [
        'compiled',
        str(Path(environment['PYTHONPATH'].split(os.pathsep)[0]) / 'gsasr_ops' / '_C.so'),
    ]


@pytest.mark.slow
def test_its_own_tests_pass(environment: dict[str, str]) -> None:
    names = ('values', 'arguments') if CALLS == '300' else ('values', 'arguments', 'gradients', 'properties')
    files = [f'tests/ops/test_{name}.py' for name in names]
    # Not tests/conftest.py, which imports the host.
    out = run(environment, '-m', 'pytest', '-q', '--noconftest', '-p', 'no:cacheprovider', '-x', *files)
    assert ' passed' in out


@pytest.mark.slow
def test_window_attention_and_perceptron(environment: dict[str, str]) -> None:
    script = 'from tests.ops import test_attention, test_perceptron\n'
    script += 'test_attention.check_values()\ntest_perceptron.check_values()'
    for name in ('portable', 'avx2', 'avx512', 'avx512bf16'):
        run({**environment, 'GSASR_CPU': name}, '-c', script)


def test_hostile_calls_end_in_an_error_or_the_right_result(environment: dict[str, str]) -> None:
    for name in ('portable', 'avx2', 'avx512'):  # one that this machine lacks falls back to another
        out = run({**environment, 'GSASR_CPU': name}, '-m', 'tests.ops.hostile', str(int(CALLS) // 3), name)
        assert 'compared' in out and 'error' in out
