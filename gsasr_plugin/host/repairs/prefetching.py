"""Errors of the loader behind a prefetching thread."""

import types
from typing import Any

from gsasr_plugin.host.repairs.repair import Repair, is_ours, mentions


def repair_prefetching(prefetch: types.ModuleType) -> Repair:
    """With `prefetch_mode: cpu`, an error of the loader ends the thread of `PrefetchGenerator`, and the training waits
    for its next batch for ever.
    """
    name = 'PrefetchGenerator'
    generator = getattr(prefetch, name, None)
    run = getattr(generator, 'run', None)
    if is_ours(run):
        return Repair(name, True, 'already replaced')
    if run is None or not mentions(run, 'put'):
        return Repair(name, False, 'the host has no such class')

    def run_and_tell(self: Any) -> None:
        try:
            run(self)
        except BaseException as error:
            self.queue.put(error)

    def __next__(self: Any) -> Any:
        item = self.queue.get()
        if isinstance(item, BaseException):
            raise item
        if item is None:
            raise StopIteration
        return item

    generator.run, generator.__next__ = run_and_tell, __next__  # type: ignore[union-attr]
    return Repair(name, True, "the host's class does not hand on errors of the loader")
