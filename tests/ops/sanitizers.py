"""The CPU library compiled with AddressSanitizer and UndefinedBehaviorSanitizer, and processes that use it.

Compiled into the folder of temporary files (a minute), again when its sources change.
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


def compiler() -> str:
    """Path of g++; skips the test where it has no sanitizers."""
    gcc = shutil.which('g++')
    if gcc is None or sys.platform != 'linux':
        pytest.skip('needs g++ on Linux')
    if not all(map(os.path.isabs, _runtimes(gcc))):
        pytest.skip('this g++ has no AddressSanitizer')
    return gcc


def _runtimes(gcc: str) -> list[str]:
    # Exceptions pass through the sanitizer, which looks for the C++ library when the process starts.
    return [
        subprocess.run([gcc, f'-print-file-name={name}'], capture_output=True, text=True, check=True).stdout.strip()
        for name in ('libasan.so', 'libstdc++.so')
    ]


def sanitized_objects(gcc: str) -> Path:
    """A folder with the object file of each source of the CPU library."""
    flags = _flags(gcc)
    digest = hashlib.sha256(repr((gcc, flags)).encode())
    for path in (*build.sources(cuda=False), *build.headers()):
        digest.update(path.read_bytes())
    folder = Path(tempfile.gettempdir()) / f'gsasr_sanitized_{os.getuid()}_{digest.hexdigest()[:16]}'
    folder.mkdir(mode=0o700, exist_ok=True)
    with FileLock(folder / 'lock'):
        missing = [source for source in build.sources(cuda=False) if not (folder / f'{source.stem}.o').exists()]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda source: compile_sanitized(gcc, source, folder / f'{source.stem}.o'), missing))
    return folder


def compile_sanitized(gcc: str, source: Path, target: Path) -> None:
    unfinished = target.with_suffix('.unfinished')
    subprocess.run([gcc, *_flags(gcc), '-c', str(source), '-o', str(unfinished)], check=True)
    unfinished.rename(target)


def _flags(gcc: str) -> list[str]:
    flags = build.cxx_flags(torch.__version__, {})
    flags = [flag for flag in flags if flag not in ('-O3', '-g0')]
    return [*flags, '-O1', '-g1', '-fPIC', *SANITIZERS, *(f'-I{path}' for path in include_paths())]


def package_with(gcc: str, objects: list[Path], folder: Path) -> dict[str, str]:
    """Makes a copy of gsasr_ops in `folder` whose library is made of these objects.

    Returns:
        The variables with which a process finds it, and its sanitizers.
    """
    package = folder / 'gsasr_ops'
    shutil.copytree(Path(build.__file__).parent, package, ignore=shutil.ignore_patterns('_C*', '__pycache__'))
    torch_libraries = [f'-L{Path(torch.__file__).parent / "lib"}', '-lc10', '-ltorch_cpu', '-ltorch']
    subprocess.run(
        [gcc, '-shared', *SANITIZERS, *map(str, objects), '-o', str(package / '_C.so'), *torch_libraries], check=True
    )
    return {
        **os.environ,
        'PYTHONPATH': os.pathsep.join([str(folder), str(ROOT)]),
        'LD_PRELOAD': ' '.join(_runtimes(gcc)),
        # Python and torch keep what they have until the end; an allocation that is too large is torch's to refuse.
        'ASAN_OPTIONS': 'detect_leaks=0:allocator_may_return_null=1:abort_on_error=0:exitcode=99',
        'UBSAN_OPTIONS': 'print_stacktrace=1',
        'OMP_NUM_THREADS': '2',
    }


def start(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python in the root of the repository."""
    return subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=ROOT, text=True, capture_output=True, timeout=1200
    )
