"""Work that the first of several processes does for all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist
from basicsr.utils.dist_util import get_dist_info

from gsasr_plugin.run_errors import RunError

Result = TypeVar('Result')

LONGEST = timedelta(days=2)  # the work may read millions of images


def by_first_process(work: Callable[[], Result], what: str) -> Result:
    """What `work` returns or raises in the first process; the others wait for it, and do nothing else.

    All processes have to call it. The waiting is over gloo, on GPUs too: it notices at once when the first process is
    gone, and waits however long that one works.

    Args:
        work: gives something that can be pickled.
        what: the work in words, for the error.

    Raises:
        RunError: raised by `work`, in all processes; or a process is gone.
    """
    rank, count = get_dist_info()
    if count == 1:
        return work()
    try:
        group: Any = dist.new_group(backend='gloo', timeout=LONGEST)
    except RuntimeError as error:
        raise RunError(_gone(what)) from error
    verdict: list[Any] = [None, None]
    if rank == 0:
        try:
            verdict[0] = work()
        except RunError as error:
            verdict[1] = error
    try:
        dist.broadcast_object_list(verdict, src=0, group=group)
    except RuntimeError as error:
        raise RunError(_gone(what)) from error
    dist.destroy_process_group(group)
    result, fault = verdict
    if fault is not None:
        raise fault
    return result


def _gone(what: str) -> str:
    return f'{what}: the process that does this for all, or another one, is gone'
