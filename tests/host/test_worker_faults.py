"""What ends worker processes of a data loader is told in one sentence."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from gsasr_plugin.host.worker_faults import worker_faults_told
from gsasr_plugin.run_errors import RunError
from tests.forked import TIMEOUT_S


class Ending(Dataset):
    """A worker that reads the second sample ends as told."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        if index and self.how == 'killed':
            os.kill(os.getpid(), signal.SIGKILL)
        elif index and self.how == 'exit':
            os._exit(3)
        elif index:
            raise ValueError('an image of its own')
        return torch.zeros(1)


@pytest.mark.parametrize('how', ['killed', 'exit'])
def test_a_worker_that_ends(how: str) -> None:
    expected = r'(killed by signal: Killed|exited unexpectedly), .*num_worker_per_gpu lower.*--auto_resume'
    with pytest.raises(RunError, match=expected) as raised, worker_faults_told():
        list(DataLoader(Ending(how), num_workers=1))
    assert len(str(raised.value).splitlines()) == 1


def test_what_a_worker_raises_itself_stays() -> None:
    with pytest.raises(ValueError, match='an image of its own'), worker_faults_told():
        list(DataLoader(Ending('raise'), num_workers=1))


FULL = """
import sys, torch
from torch.utils.data import DataLoader
from gsasr_plugin.host.worker_faults import worker_faults_told
from gsasr_plugin.run_errors import RunError
try:
    with worker_faults_told():
        list(DataLoader([torch.zeros(1 << 18)] * 8, batch_size=4, num_workers=1))
except RunError as error:
    print(error)
"""


@pytest.mark.parametrize('held', [0, 1024])
@pytest.mark.slow
def test_a_full_dev_shm(held: int) -> None:
    """A real one, of 1 MiB: full when batches are handed over, or from the start, when the workers are made."""
    mount = f'mount -t tmpfs -o size=1M tmpfs /dev/shm && head -c {held}k /dev/zero > /dev/shm/held'
    separate = ['unshare', '--mount', '--map-root-user', 'bash', '-c']
    if subprocess.run([*separate, mount], capture_output=True, check=False).returncode:
        pytest.skip('this system lets nobody have a /dev/shm of their own')
    command = [*separate, f'{mount}; exec "$@"', 'bash', sys.executable, '-c', FULL]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert re.match(r'/dev/shm is full, .* --shm-size=8g.*num_worker_per_gpu lower, 0 .*\n$', done.stdout), done.stderr


@pytest.mark.parametrize(
    ('error', 'expected'),
    [
        (RuntimeError('DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that'), '/dev/shm is'),
        (RuntimeError('unable to write to file </torch_7_1>: No space left on device (28)'), '/dev/shm is full'),
        (RuntimeError('received 0 items of ancdata'), 'ulimit -n'),
        (
            RuntimeError('unable to open shared memory object </torch_7> in read-write mode: Too many open files'),
            'ulimit',
        ),
        (RunError('the loss was not finite'), 'the loss was not finite'),
        (RuntimeError('CUDA out of memory'), None),
        (RuntimeError('out of resource: shared memory, Required: 131072, Hardware limit: 101376'), None),
        (OSError(errno.ENOSPC, 'No space left on device', 'net_g_8.pth'), None),
    ],
)
def test_other_words_of_pytorch(error: Exception, expected: str | None) -> None:
    with pytest.raises(type(error) if expected is None else RunError) as raised, worker_faults_told():
        raise error
    assert raised.value is error if expected is None else expected in str(raised.value)


def end_all(path: Path) -> None:
    if path.name == 'b':
        os.kill(os.getpid(), signal.SIGKILL)


KILLED = """
from pathlib import Path
from gsasr_plugin.benchmarking.prepare.runner import in_processes
from tests.host.test_worker_faults import end_all
list(in_processes(end_all, [Path('a'), Path('b')], workers=2))
"""


@pytest.mark.slow
def test_a_killed_process_of_gsasr_prepare() -> None:
    """In a process of its own, as the command is: what forks beside other threads may wait for ever."""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, '-c', KILLED], cwd=root, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert 'CommandError: --workers: a process was killed' in done.stderr
