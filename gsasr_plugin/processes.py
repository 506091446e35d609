"""What several processes of one run do together: who is who, work that one does for all, items that all share out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

from gsasr_plugin.run_errors import RunError

Value = TypeVar('Value')

LONGEST = timedelta(days=2)  # a process may read millions of images, or have the largest ones to super-resolve


def rank_and_count() -> tuple[int, int]:
    """The number of this process, and how many there are; 0 and 1 where it is alone."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class Processes:
    """All processes of a run, which exchange something now and then; one process is all alone.

    They talk over gloo, on GPUs too: it notices at once when a process is gone, and else waits for it. All of them have
    to make the object before they begin with what they may have to wait for, and to make its calls in the same order.

    Args:
        what: the occasion in words, for errors.

    Raises:
        RunError: here and in the methods: another process is gone.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.rank, self.count = rank_and_count()
        self._group: Any = None
        if self.count > 1:
            with self._noticing():
                self._group = dist.new_group(backend='gloo', timeout=LONGEST)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if self._group is not None and error_type is None:
            dist.destroy_process_group(self._group)

    def by_first(self, work: Callable[[], Value]) -> Value:
        """What `work` returns or raises in the first process; the others wait for it, and do nothing else."""
        if self._group is None:
            return work()
        verdict: list[Any] = [None, None]
        if self.rank == 0:
            try:
                verdict[0] = work()
            except Exception as error:
                verdict[1] = error
        with self._noticing():
            dist.broadcast_object_list(verdict, src=0, group=self._group)
        result, fault = verdict
        if fault is not None:
            raise fault
        return result

    def gather(self, value: Value) -> list[Value]:
        """The values of all processes in the first one; in the others, nothing."""
        if self._group is None:
            return [value]
        values: list[Any] = [None] * self.count
        with self._noticing():
            dist.gather_object(value, values if self.rank == 0 else None, group=self._group)
        return values if self.rank == 0 else []

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise RunError(f'{self.what}: another process is gone ({error})') from error


def in_order(shares: Sequence[Sequence[Value]]) -> list[Value]:
    """What all processes have made of their shares, one value for each item, in the order of the items."""
    longest = max(map(len, shares), default=0)
    return [share[number] for number in range(longest) for share in shares if number < len(share)]
