"""Jobs in threads: all are done, once, errors come through, and Ctrl-C leaves none running."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from gsasr_plugin.upscaling.lanes import Gate, in_lanes


@pytest.mark.parametrize('lanes', [1, 3, 50])
def test_each_job_is_done_once(lanes: int) -> None:
    done: list[int] = []
    in_lanes(done.append, range(40), lanes, Gate(1))
    assert sorted(done) == list(range(40))


def test_jobs_are_done_at_the_same_time() -> None:
    meeting = threading.Barrier(3)
    in_lanes(lambda _: meeting.wait(timeout=60), range(6), 3, Gate(3))


def test_the_first_error_ends_all() -> None:
    done = []

    def work(job: int) -> None:
        if job == 3:
            raise ValueError('the third')
        done.append(job)

    with pytest.raises(ValueError, match='the third'):
        in_lanes(work, range(1000), 1, Gate(1))
    assert done == [0, 1, 2]


def test_ctrl_c_ends_what_is_inside_and_waits_for_the_rest() -> None:
    """Two are inside, one waits for a place, one is outside and comes to its end."""
    left: list[str] = []
    begun = threading.Semaphore(0)
    gate = Gate(2)

    def work(job: int) -> None:
        begun.release()
        if job == 3:
            while not gate._closed:
                time.sleep(0.001)
            left.append('at its end')
            return
        with gate:
            try:
                while True:
                    time.sleep(0.001)
            finally:
                left.append('inside')

    def interrupt() -> None:
        for _ in range(4):
            begun.acquire()
        while len(gate._inside) < 2:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        in_lanes(work, range(9), 4, gate)
    assert sorted(left) == ['at its end', 'inside', 'inside']
    assert not [thread for thread in threading.enumerate() if thread.name.startswith('pictures-')]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
