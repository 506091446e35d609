"""Python processes that need not import torch and what else takes seconds: forked from one that has, which has run
nothing yet. Ours and BasicSR's modules are imported by each of them, unless asked for otherwise.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ENVIRONMENT = {**os.environ, 'OMP_NUM_THREADS': '1'}  # before any test has changed it
TIMEOUT_S = 240  # what takes a second may take long on a busy machine
OTHERS = ('torch', 'torchvision', 'cv2', 'lmdb', 'pydantic.json_schema', 'pyvips', 'scipy.ndimage', 'scipy.stats')
TORCH = ('torch',)  # is enough for the operators

# A line that describes a process is answered by its id, an id by the status of its process, or null while it runs.
SERVER = """
import gc, importlib, json, os, runpy, sys, traceback
for name in sys.argv[1:]:
    importlib.import_module(name)
gc.freeze()  # or the first collection in each process copies all objects

def run(arguments, folder, environment, *outputs):
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[1:1] = filter(None, environment.get('PYTHONPATH', '').split(os.pathsep))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, output in enumerate(outputs, 1):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    option, code, *sys.argv[1:] = arguments
    status = 0
    try:
        if option == '-m':
            runpy.run_module(code, run_name='__main__', alter_sys=True)
        else:
            exec(code, vars(sys.modules['__main__']))
    except SystemExit as stop:
        status = stop.code or 0
        if isinstance(status, str):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # nothing else waits for the end: tearing down what was imported takes longer than most tests

for line in sys.stdin:
    request = json.loads(line)
    if isinstance(request, int):
        ended, status = os.waitpid(request, os.WNOHANG)
        answer = os.waitstatus_to_exitcode(status) if ended else None
    else:
        answer = os.fork()
        if answer == 0:
            run(*request)
    print(json.dumps(answer), flush=True)
"""


@functools.cache
def _server(modules: tuple[str, ...]) -> subprocess.Popen[str]:
    """Ends with this process, whose end of the pipe is then closed."""
    return subprocess.Popen(
        [sys.executable, '-c', SERVER, *modules],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


class Forked:
    """A process, in a session of its own: `python -c` or `python -m`, but that it ends at once after its last line.

    Args:
        arguments: of Python, the first of which is -c or -m.
        folder: its current one.
        outputs: files for what it prints and for its errors, which may be one.
        environment: all of it; as here by default.
        modules: what is imported already.
    """

    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        folder: Path,
        outputs: tuple[Path, Path],
        environment: Mapping[str, str] | None = None,
        modules: tuple[str, ...] = OTHERS,
    ) -> None:
        self._server, self.outputs = _server(modules), outputs
        for output in outputs:
            output.write_text('')
        variables = dict(os.environ if environment is None else environment)
        self.id: int = self._ask([list(map(str, arguments)), str(folder), variables, *map(str, outputs)])
        self._status: int | None = None

    def _ask(self, request: list[Any] | int) -> Any:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + '\n')
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def is_running(self) -> bool:
        if self._status is None:
            self._status = self._ask(self.id)
        return self._status is None

    def end(self, timeout: float = TIMEOUT_S) -> subprocess.CompletedProcess[str]:
        """Waits for it, and kills it after so many seconds, which is an error."""
        deadline = time.monotonic() + timeout
        while hanging := self.is_running():
            if time.monotonic() > deadline:
                os.kill(self.id, signal.SIGKILL)
                break
            time.sleep(0.01)
        texts = [output.read_text() for output in self.outputs]
        assert not hanging, texts
        return subprocess.CompletedProcess([], self._status or 0, *texts)


def run(
    arguments: Sequence[str | Path], *, folder: Path | None = None, **others: Any
) -> subprocess.CompletedProcess[str]:
    """Such a process, from its start to its end; it takes what `Forked` takes."""
    with tempfile.TemporaryDirectory() as place:
        outputs = Path(place, 'out'), Path(place, 'err')
        return Forked(arguments, folder=folder or Path.cwd(), outputs=outputs, **others).end()
