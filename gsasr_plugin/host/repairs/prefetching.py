"""Errors of the loader behind a prefetching thread (`prefetch_mode: cpu`)."""

from collections.abc import Callable
from typing import Any


def run_and_tell(original: Callable[[Any], None]) -> Callable[[Any], None]:
    """The thread hands on what ends it."""

    def run(self: Any) -> None:
        try:
            original(self)
        except BaseException as error:
            self.queue.put(error)

    return run


def next_or_error(_: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The next batch, or what has ended the thread."""

    def __next__(self: Any) -> Any:
        item = self.queue.get()
        if isinstance(item, BaseException):
            raise item
        if item is None:
            raise StopIteration
        return item

    return __next__
