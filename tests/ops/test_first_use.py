"""The compilation at first use, in real processes: without CUDA where nvcc fails, by one for all, killed in the middle.

GPUs are claimed, toolkits and compilers are scripts; what they hand on is compiled by g++, each source once for all
tests of this file.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import gsasr_ops
from gsasr_ops import build
from tests.forked import TORCH, Forked
from tests.ops.test_build import make_toolkit

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not shutil.which('g++'), reason='there is no g++')]

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import json, os, sys, warnings
import torch

devices = json.loads(sys.argv[1])
if devices:
    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: len(devices)
    torch.cuda.get_device_capability = lambda index: tuple(devices[index])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    import gsasr_ops
    from tests.ops.rasterizer.scenes import sample_inputs
    inputs = sample_inputs()
    environment = dict(os.environ)
    if devices:
        from gsasr_ops.extension import _compiled_after_all
        _compiled_after_all(torch.device('cuda'))  # as a tensor on a device would ask
    images = gsasr_ops.rasterize_gaussians(*inputs, (18, 20), 2.9)
print(json.dumps({
    'backend': gsasr_ops.backend(),
    'warnings': [str(warning.message) for warning in caught if 'gsasr_ops' in str(warning.message)],
    'error': (images - gsasr_ops.rasterize_gaussians_reference(*inputs, (18, 20), 2.9)).abs().max().item(),
    'changed': [name for name in {*environment, *os.environ} if environment.get(name) != os.environ.get(name)],
}))
"""

COMPILER = """#!{python} -SE
import hashlib, os, shutil, sys, time
arguments = sys.argv[1:]
if '-c' not in arguments:
    hang = os.environ.get('TEST_HANG')
    if hang and '-shared' in arguments:
        # Half of a library, and no end.
        open(arguments[arguments.index('-o') + 1], 'wb').write(b'\\x7fELF' + bytes(1000))
        open(hang, 'w').write(str(os.getpid()))
        while not os.path.exists(hang + '.go'):
            time.sleep(0.05)
    os.execvp('g++', ['g++', *arguments])
source, target = (arguments[arguments.index(name) + 1] for name in ('-c', '-o'))
arguments = [word.replace('-O3', '-O0') for word in arguments]
flags = [word for word in arguments if word.startswith('-D') and 'TORCH_EXTENSION_NAME' not in word]
key = hashlib.sha256(repr([open(source).read(), flags]).encode()).hexdigest()
kept = os.path.join('{cache}', key)
if not os.path.exists(kept):
    if os.spawnvp(os.P_WAIT, 'g++', ['g++', *arguments]):
        sys.exit(1)
    shutil.copy(target, kept + str(os.getpid()))
    os.rename(kept + str(os.getpid()), kept)
shutil.copy(kept, target)
"""


@pytest.fixture(scope='module')
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('compiler')
    script = folder / 'c++'
    script.write_text(COMPILER.replace('{python}', sys.executable).replace('{cache}', str(folder)))
    script.chmod(0o755)
    return script


@pytest.fixture
def start(tmp_path: Path, compiler: Path) -> Callable[..., Forked]:
    """Starts a process that draws, with a package that has no library; its cache is tmp_path / 'cache'."""
    source = Path(gsasr_ops.__file__).parent
    shutil.copytree(source, tmp_path / 'gsasr_ops', ignore=shutil.ignore_patterns('*.so', '*.pyd', '__pycache__'))

    number = itertools.count()

    def begin(*devices: tuple[int, int], **changes: str) -> Forked:
        dropped = ('CUDA_HOME', 'CUDA_PATH', 'FORCE_CUDA', 'TORCH_CUDA_ARCH_LIST', 'CC')
        environment = {
            **{name: value for name, value in os.environ.items() if name not in dropped},
            'PYTHONPATH': os.pathsep.join([str(tmp_path), str(ROOT)]),
            'TORCH_EXTENSIONS_DIR': str(tmp_path / 'cache'),
            'CXX': str(compiler),
            **changes,
        }
        outputs = tmp_path / f'out{next(number)}', tmp_path / f'err{next(number)}'
        arguments = ['-c', SCRIPT, json.dumps(devices)]
        return Forked(arguments, folder=tmp_path, outputs=outputs, environment=environment, modules=TORCH)

    return begin


def outcome(process: Forked) -> dict[str, Any]:
    """What the process printed; whatever drew, the picture is right."""
    done = process.end(timeout=500)
    assert done.returncode == 0, done.stderr
    assert 'Traceback' not in done.stderr
    result = {**json.loads(done.stdout.splitlines()[-1]), 'stderr': done.stderr}
    assert result['error'] < 1e-5  # as in test_fallback
    assert result['changed'] == []
    return result


def libraries(tmp_path: Path) -> list[Path]:
    """All that stand where a process would load them."""
    return [path for path in (tmp_path / 'cache').glob('gsasr_ops_*/*') if path.suffix in ('.so', '.dylib', '.pyd')]


def logging_toolkit(home: Path, command: str) -> Path:
    """A toolkit whose nvcc writes the arguments of each compilation into home / 'log', and then does `command`."""
    nvcc = make_toolkit(home, '.'.join((torch.version.cuda or '13.0').split('.')[:2])) / 'bin' / 'nvcc'
    nvcc.write_text(nvcc.read_text() + f'case "$*" in *" -c "*) echo "$*" >> {home}/log; {command};; esac\n')
    return home


needs_cuda_build = pytest.mark.skipif(torch.version.cuda is None, reason='this torch was built without CUDA')


@needs_cuda_build
def test_an_nvcc_that_fails_costs_only_the_cuda_kernels(start, tmp_path):
    fatal = "nvcc fatal   : Unsupported gpu architecture 'compute_81'"
    home = logging_toolkit(tmp_path / 'toolkit', f'echo "{fatal}" >&2; exit 1')
    devices = [(8, 6), (9, 0)]
    # 8.1 is in no list of torch's.
    changes = {'CUDA_HOME': str(home), 'TORCH_CUDA_ARCH_LIST': '8.1'}
    result = outcome(start(*devices, **changes))
    backend = result['backend']
    assert (backend['cpu'], backend['cuda'], backend['problems']) == (
        'compiled',
        'on the CPU',
        ['the package was installed without its compiled library'],
    )
    assert backend['cuda_left_out'] == f'compiling them with {home} failed: {fatal}'
    (warning,) = result['warnings']
    assert warning.startswith('gsasr_ops draws on the CPU what is on cuda devices, and copies it there and back')
    assert warning.endswith(f'because there are no CUDA kernels: {backend["cuda_left_out"]}.')
    (call,) = (home / 'log').read_text().splitlines()
    given = [word for word in call.split() if 'arch' in word and word.startswith('-gencode')]
    # Code for 8.1 runs on 8.6.
    assert given == [f'-gencode=arch=compute_{number},code=sm_{number}' for number in ('81', '90')]

    # The next ones do not wait for the same again, until it may have been mended.
    again = outcome(start(*devices, **changes))['backend']
    assert again['library'] == backend['library'] and len((home / 'log').read_text().splitlines()) == 1
    (failure,) = (tmp_path / 'cache').glob('gsasr_ops_*/failure.txt')
    assert again['cuda_left_out'].startswith(f'compiling them with {home} failed: {fatal} (tried again when {failure}')
    os.utime(failure, (time.time() - 3601,) * 2)
    outcome(start(*devices, **changes))
    assert len((home / 'log').read_text().splitlines()) == 2


@needs_cuda_build
def test_the_library_has_code_for_all_devices(start, tmp_path):
    real, how = build.find_toolkit(torch.version.cuda)
    if real is None:
        pytest.skip(how)
    home = logging_toolkit(tmp_path / 'toolkit', f'exec {real}/bin/nvcc "$@"')
    for name in ('include', 'lib64'):
        shutil.rmtree(home / name)
    (home / 'include').symlink_to(real / 'include')
    (home / 'lib64').symlink_to((real / 'lib64') if (real / 'lib64').exists() else (real / 'lib'))
    result = outcome(start((8, 9), (9, 0), (8, 9), CUDA_HOME=str(home)))['backend']
    assert (result['cpu'], result['cuda'], result['cuda_left_out']) == ('compiled', 'compiled', None), result
    assert result['cuda_architectures'] == ['8.9', '9.0'] and result['cuda_toolkit'].startswith(f'{home} (')
    assert 'arch=compute_89,code=sm_89 -gencode=arch=compute_90,code=sm_90 ' in (home / 'log').read_text()

    # Another list is another library.
    other = outcome(start((8, 9), CUDA_HOME=str(home)))['backend']
    assert other['cuda_architectures'] == ['8.9'] and other['cuda_library'] != result['cuda_library']


def test_one_process_compiles_for_all(start, tmp_path):
    results = [outcome(process) for process in [start(), start()]]
    for result in results:
        assert result['backend']['cpu'] == 'compiled' and result['warnings'] == []
    assert sum('compiling the rasterizer, once' in result['stderr'] for result in results) == 1
    (library,) = libraries(tmp_path)
    assert {result['backend']['library'] for result in results} == {str(library)}
    left = {path.name for path in library.parent.iterdir()}
    assert left == {library.name, f'{library.stem}.sha256', 'gsasr_ops.lock'}
    # Whoever comes later needs no compiler.
    written = library.stat().st_mtime_ns
    (tmp_path / 'empty').mkdir()
    again = outcome(start(PATH=str(tmp_path / 'empty')))
    assert again['backend']['library'] == str(library) and library.stat().st_mtime_ns == written
    assert again['stderr'] == ''


def test_a_process_killed_while_it_compiles(start, tmp_path):
    """What it leaves, and what its compiler goes on to write, is loaded by nobody."""
    hang = tmp_path / 'hang'
    killed = start(TEST_HANG=str(hang))
    deadline = time.time() + 500
    while not (hang.exists() and hang.read_text()):
        assert time.time() < deadline and killed.is_running()
        time.sleep(0.05)
    os.kill(killed.id, signal.SIGKILL)
    killed.end()
    linker = int(hang.read_text())
    assert os.path.exists(f'/proc/{linker}') or sys.platform != 'linux'  # nobody told it
    halves = list((tmp_path / 'cache').rglob('*.so'))
    assert len(halves) == 1 and halves[0].stat().st_size == 1004 and libraries(tmp_path) == []

    library = outcome(start())['backend']['library']
    content = Path(library).read_bytes()
    Path(f'{hang}.go').touch()
    while True:
        try:
            os.kill(linker, 0)
        except ProcessLookupError:
            break
        assert time.time() < deadline
        time.sleep(0.05)
    assert outcome(start())['backend']['library'] == library
    assert Path(library).read_bytes() == content and libraries(tmp_path) == [Path(library)]


@pytest.mark.parametrize('kept', [0, 5000])
def test_a_library_that_is_not_whole_is_compiled_again(start, tmp_path, kept):
    library = Path(outcome(start())['backend']['library'])
    whole = library.stat().st_size
    with open(library, 'r+b') as file:
        file.truncate(kept)
    result = outcome(start())
    assert result['backend']['cpu'] == 'compiled' and library.stat().st_size == whole
