"""Jobs in threads: all are done, once, errors come through, and Ctrl-C leaves none running."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from gsasr_plugin.upscaling.lanes import in_lanes


@pytest.mark.parametrize('lanes', [1, 3, 50])
def test_each_job_is_done_once(lanes: int) -> None:
    done: list[int] = []
    in_lanes(done.append, range(40), lanes)
    assert sorted(done) == list(range(40))


def test_jobs_are_done_at_the_same_time() -> None:
    meeting = threading.Barrier(3)
    in_lanes(lambda _: meeting.wait(timeout=60), range(6), 3)


def test_the_first_error_ends_all() -> None:
    done = []

    def work(job: int) -> None:
        if job == 3:
            raise ValueError('the third')
        done.append(job)

    with pytest.raises(ValueError, match='the third'):
        in_lanes(work, range(1000), 1)
    assert done == [0, 1, 2]


def test_ctrl_c_leaves_what_has_begun() -> None:
    left: list[int] = []
    begun = threading.Semaphore(0)

    def work(job: int) -> None:
        try:
            begun.release()
            while True:
                time.sleep(0.001)
        finally:
            left.append(job)

    def interrupt() -> None:
        for _ in range(2):
            begun.acquire()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        in_lanes(work, range(5), 2)
    assert sorted(left) == [0, 1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith('pictures-')]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
