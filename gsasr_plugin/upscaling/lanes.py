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


def in_lanes(work: Callable[[Job], None], jobs: Iterable[Job], lanes: int) -> None:
    """Does jobs in so many threads, each of which takes the next job when it is done with one.

    Raises:
        KeyboardInterrupt: Ctrl-C, when all jobs that had begun have been left by this exception. A second Ctrl-C ends
            the process.
        Exception: what the first job raised that raised anything; the others are ended likewise.
    """
    _Lanes(work, jobs).run(lanes)


class _Lanes(Generic[Job]):
    def __init__(self, work: Callable[[Job], None], jobs: Iterable[Job]) -> None:
        self.work = work
        self.waiting = iter(jobs)
        self.none = object()  # in place of a job, where there is none left
        self.ended = False
        self.at_work: set[int] = set()  # threads
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
        me = threading.get_ident()
        try:
            for job in iter(lambda: self._next(me), self.none):
                self.work(job)
                with self.lock:
                    self.at_work.discard(me)
        except BaseException as error:
            with self.lock:
                self.at_work.discard(me)
                self.error = self.error or error
            self._end()

    def _next(self, me: int) -> Any:
        with self.lock:
            job = self.none if self.ended else next(self.waiting, self.none)
            if job is not self.none:
                self.at_work.add(me)
        return job

    def _end(self) -> None:
        """No job begins any more, and those that have begun are left as Ctrl-C leaves what the main thread does."""
        with self.lock:
            self.ended = True
            for thread in self.at_work:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt))
            self.at_work.clear()


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
