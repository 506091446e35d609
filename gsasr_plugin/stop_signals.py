"""SIGTERM and Ctrl-C: a training is asked to stop between two steps, where everything can be saved.

Commands that have begun nothing end at once. And readers of what a command prints, who may go before it is done
(`... | head`).
"""

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
EXIT_INTERRUPTED = 130
EXIT_UNREAD = 141  # of a program that SIGPIPE ends


class Stopped(KeyboardInterrupt):
    """A signal ended the run.

    Args:
        signal_number: which.
        message: what became of the run.
    """

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.signal_number = signal_number


_waits = False  # whether somebody looks at `requested` between steps
_request: int | None = None


def requested() -> int | None:
    """The signal that asked to stop, or None. Who asks once has to go on asking: signals now wait for the answer."""
    global _waits
    _waits = True
    return _request


@contextmanager
def stop_signals() -> Iterator[None]:
    """While inside, SIGINT and SIGTERM raise `Stopped`: at once until `requested` is asked, from then on not at all.

    A second signal raises at once again, for a run that does not come to its next step. Not so where several processes
    run: torchrun hands on a Ctrl-C that they have had from the terminal already, and ends them after a time itself.
    """
    global _waits, _request
    _waits, _request = False, None
    before = {number: signal.signal(number, _handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _handle(number: int, frame: FrameType | None) -> None:
    global _request
    again = _request is not None and os.environ.get('WORLD_SIZE', '1') == '1'
    if not _waits or again:
        raise Stopped(number, 'nothing was saved since the last checkpoint')
    if _request is None and os.environ.get('RANK', '0') == '0':
        print('stopping after this step; once more stops at once', file=sys.stderr, flush=True)
    _request = number


@contextmanager
def left_at_once(words: str) -> Iterator[None]:
    """While inside, Ctrl-C ends the process at once, with these words: for what leaves nothing behind.

    Libraries that are being imported make pages of tracebacks of a KeyboardInterrupt, or abort.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or not _in_main_thread():
        yield
        return

    def leave(*_: object) -> None:
        os.write(2, f'{words}\n'.encode())
        os._exit(EXIT_INTERRUPTED)

    signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def leave_process_group() -> None:
    """In a worker process: signals from the terminal and to the group are for the process that it works for.

    That process ends its workers, and they end themselves when it is gone.
    """
    if hasattr(os, 'setsid') and os.getpgrp() != os.getpid():
        os.setsid()


def until_nobody_reads(command: Callable[[], int]) -> int:
    """The exit status of a command; 141, and not a word, where nobody reads its standard output any more."""
    try:
        try:
            return command()
        finally:
            if sys.stdout is not None:  # which a shell may have closed
                sys.stdout.flush()
    except BrokenPipeError:
        descriptor = sys.stdout.fileno()
        output = select.poll()
        output.register(descriptor, 0)
        if not any(event & select.POLLERR for _, event in output.poll(0)):
            raise  # another pipe
        # What is left would be written at the end, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
        return EXIT_UNREAD
