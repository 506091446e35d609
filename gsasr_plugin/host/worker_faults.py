"""What ends the worker processes of a data loader, told in one sentence with the remedy.

PyTorch knows it, and says it at the end of tracebacks through several processes.
"""

import errno
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from gsasr_plugin.run_errors import RunError

_WORKERS = 'datasets.train.num_worker_per_gpu'
_GOES_ON = 'basicsr train --auto_resume goes on from the newest checkpoint'
# What PyTorch's message holds -> what to say, where {} is what the first group has matched.
_REMEDIES = {
    r'Too many open files|received 0 items of ancdata': (
        f'the worker processes of the data loader have too many files open: raise the limit (ulimit -n 65536), or set '
        f'{_WORKERS} lower; {_GOES_ON}'
    ),
    r'</torch_|signal: Bus error|/dev/shm': (
        '/dev/shm is full, through which the worker processes of the data loader hand over their batches: give it more '
        f'room (docker run --shm-size=8g), or set {_WORKERS} lower, 0 to do without them; {_GOES_ON}'
    ),
    r'DataLoader worker \(pid.*?\) (is killed by signal: \w+|exited unexpectedly)': (
        f'a worker process of the data loader {{}}, most often because the system had no memory left: set {_WORKERS} '
        f'lower, 0 to do without them, or leave out cache: memory; {_GOES_ON}'
    ),
}


@contextmanager
def worker_faults_told() -> Iterator[None]:
    """Turns what PyTorch raises of a worker process that was killed or lacks room into a RunError."""
    try:
        yield
    except RunError:
        raise
    except (RuntimeError, OSError) as error:
        remedy = _remedy(error)
        if remedy is None:
            raise
        raise RunError(remedy) from error


def _remedy(error: Exception) -> str | None:
    text = str(error)
    if isinstance(error, OSError):
        if not any('multiprocessing' in frame.filename for frame in traceback.extract_tb(error.__traceback__)):
            return None  # the disk
        # Semaphores lie there, too, and the system's message does not say so.
        text += '/dev/shm' if error.errno == errno.ENOSPC else ''
    for pattern, sentence in _REMEDIES.items():
        found = re.search(pattern, text)
        if found:
            return sentence.format(*found.groups())
    return None
