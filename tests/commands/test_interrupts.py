"""Ctrl-C at different moments of `gsasr upscale`, in processes of their own: a summary, and no traceback."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gsasr_plugin

COUNT = 2000
# It tells when its arguments are about to be read, from where on Ctrl-C ends it without a traceback.
CODE = """
import sys
from gsasr_plugin.commands import main
module = sys.modules['gsasr_plugin.commands.main']
parser = module._parser
module._parser = lambda name: (print('ready', flush=True), parser(name))[1]
sys.exit(main())
"""


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    (tmp_path / 'in').mkdir()
    for number in range(COUNT):
        Image.fromarray(np.roll(pixels, number, 0)).save(tmp_path / 'in' / f'{number}.png', compress_level=0)
    return tmp_path


@contextmanager
def running(folder: Path, model_file: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command, when its arguments are about to be read."""
    command = ['upscale', 'in', '-o', 'out', '--scale', '2', '--model', str(model_file), *arguments]
    process = subprocess.Popen(
        [sys.executable, '-c', CODE, *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == 'ready\n'
        yield process
    finally:
        process.kill()
        process.wait()


def written(folder: Path) -> list[Path]:
    return list((folder / 'out').glob('*.png'))


def imports_torch(folder: Path, process: subprocess.Popen[str]) -> bool:
    return 'libtorch' in Path(f'/proc/{process.pid}/maps').read_text()


def has_results(folder: Path, process: subprocess.Popen[str]) -> bool:
    return len(written(folder)) >= 5


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/maps').exists(), reason='what a process has loaded is seen on Linux')
@pytest.mark.parametrize(
    ('begun', 'threads'), [(None, '1'), (imports_torch, '1'), (has_results, '1'), (has_results, '2')]
)
def test_ctrl_c_ends_with_a_summary(
    pictures: Path, model_file: Path, begun: Callable[[Path, subprocess.Popen[str]], bool] | None, threads: str
) -> None:
    with running(pictures, model_file, '--threads', threads) as process:
        while begun is not None and not begun(pictures, process):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=120)[1]
    assert process.returncode == 130 and 'Traceback' not in told and 'terminate' not in told, told
    if begun is not has_results:
        assert re.search(r'^gsasr( upscale)?: interrupted', told) and not written(pictures)
        return
    summary = re.fullmatch(rf'gsasr upscale: interrupted, (\d+) written, (\d+) of {COUNT} pictures not done\n', told)
    assert summary is not None, told
    assert int(summary[1]) == len(written(pictures)) and int(summary[1]) + int(summary[2]) == COUNT
    assert not list((pictures / 'out').glob('.*'))
    for path in written(pictures):
        assert Image.open(path).size == (96, 96)


def test_little_is_imported_before_ctrl_c_is_awaited() -> None:
    """Until then it makes a traceback: so the imports before are few, and none of them takes long."""
    root = Path(gsasr_plugin.__file__).parents[1]
    code = f'import sys; sys.path.insert(0, {str(root)!r}); before = set(sys.modules); import gsasr_plugin.stop_signals'
    code += '; print(*sorted(set(sys.modules) - before))'
    done = subprocess.run([sys.executable, '-S', '-c', code], capture_output=True, text=True, check=True)
    found = done.stdout.split()
    assert 'gsasr_plugin.stop_signals' in found
    assert not {'zipfile', 'importlib.resources', 'importlib.metadata', 'pathlib', 'traceback', 'argparse'} & {*found}
