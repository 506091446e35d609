"""Several jobs at once, in threads: NumPy, torch and the coders of pictures run beside each other where they compute.

Threads, not processes: a network and its packed weights are in memory once, and all of them end on Ctrl-C.
"""

import ctypes
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

Job = TypeVar('Job')
POLLING_S = 0.01
MANY = 10_000


class Gate:
    """Lets so many threads in at a time; when it is closed, they leave what they do inside by a KeyboardInterrupt.

    Inside there must be no callbacks of libraries, which do not hand on what is raised in them.
    """

    def __init__(self, places: int) -> None:
        self._places = threading.Semaphore(places)
        self._lock = threading.Lock()
        self._inside: set[int] = set()  # threads
        self._closed = False

    def __enter__(self) -> None:
        self._places.acquire()
        with self._lock:
            if self._closed:
                raise KeyboardInterrupt
            self._inside.add(threading.get_ident())

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside.discard(threading.get_ident())
        self._places.release()

    def close(self) -> None:
        """Throws out who is inside, for good: who waits for a place is told so."""
        with self._lock:
            self._closed = True
            for thread in self._inside:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt))
            self._inside.clear()
        self._places.release(MANY)


def in_lanes(work: Callable[[Job], None], jobs: Iterable[Job], lanes: int, gate: Gate) -> None:
    """Does jobs in so many threads, each of which takes the next job when it is done with one.

    Args:
        gate: closed when the work ends before its time. What jobs do outside is brought to its end.

    Raises:
        KeyboardInterrupt: Ctrl-C, when all jobs that had begun are ended. A second Ctrl-C ends the process.
        Exception: what the first job raised that raised anything; no other begins then.
    """
    _Lanes(work, jobs, gate).run(lanes)


class _Lanes(Generic[Job]):
    def __init__(self, work: Callable[[Job], None], jobs: Iterable[Job], gate: Gate) -> None:
        self.work = work
        self.waiting = iter(jobs)
        self.gate = gate
        self.none = object()  # in place of a job, where there is none left
        self.ended = False
        self.lock = threading.Lock()
        self.error: BaseException | None = None

    def run(self, lanes: int) -> None:
        threads = [threading.Thread(target=self._lane, name=f'pictures-{i}', daemon=True) for i in range(lanes)]
        try:
            for thread in threads:
                thread.start()
            _wait_for(threads)
        except KeyboardInterrupt:
            self._end()
            with _killed_by_ctrl_c():
                _wait_for(threads)
            raise
        if self.error is not None:
            raise self.error

    def _lane(self) -> None:
        try:
            for job in iter(self._next, self.none):
                self.work(job)
        except BaseException as error:
            with self.lock:
                self.error = self.error or error
            self._end()

    def _next(self) -> Any:
        with self.lock:
            return self.none if self.ended else next(self.waiting, self.none)

    def _end(self) -> None:
        with self.lock:
            self.ended = True
        self.gate.close()


def _wait_for(threads: list[threading.Thread]) -> None:
    # Python 3.11 takes a thread for ended whose join() an exception interrupts.
    while any(thread.is_alive() for thread in threads):
        time.sleep(POLLING_S)


@contextmanager
def _killed_by_ctrl_c() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
