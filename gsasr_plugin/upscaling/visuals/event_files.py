"""What a training run told tensorboard: its values by name, read from the event files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Series(NamedTuple):
    """Iterations (N,), rising, and a value at each."""

    iterations: np.ndarray
    values: np.ndarray


def read_series(folder: Path) -> dict[str, Series]:
    """All values of a run by name; where a resumed run went through an iteration twice, the later value.

    Args:
        folder: where the event files are; none are there if it is missing.
    """
    files = sorted(folder.glob('events.out.tfevents.*'))
    if not files:
        return {}
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events: dict[str, list[Any]] = {}
    for file in files:  # one by one: read together, a later file hides what an earlier one has beyond its start
        accumulator = EventAccumulator(str(file), size_guidance={'scalars': 0})  # 0: all
        accumulator.Reload()
        for tag in accumulator.Tags()['scalars']:
            events.setdefault(tag, []).extend(accumulator.Scalars(tag))
    return {tag: _latest(found) for tag, found in events.items()}


def _latest(events: list[Any]) -> Series:
    values = {event.step: event.value for event in sorted(events, key=lambda event: event.wall_time)}
    iterations = sorted(values)
    return Series(np.array(iterations), np.array([values[iteration] for iteration in iterations]))
