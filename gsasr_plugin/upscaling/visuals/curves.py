"""A value of several training runs, as a picture (the paper's Fig. 10) or a table, from their files for tensorboard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gsasr_plugin.upscaling.visuals.plotting import new_figure
from gsasr_plugin.whole_file import replacing, write_table


class Curve(NamedTuple):
    """One run's values.

    Attributes:
        iterations: (N,), rising.
        values: (N,).
    """

    name: str
    iterations: np.ndarray
    values: np.ndarray

    def smoothed(self, count: int) -> Curve:
        """The means of each `count` successive values, at the mean of their iterations; the rest is left out."""
        whole = len(self.values) // count * count
        means = [array[:whole].reshape(-1, count).mean(1) for array in (self.iterations, self.values)]
        return Curve(self.name, means[0], means[1])


def read_curve(name: str, folder: Path, tag: str) -> Curve:
    """One value of a run, by iteration; where a resumed run went through an iteration twice, the later value.

    Args:
        tag: the value's name, such as 'losses/l_pix'.

    Raises:
        FileNotFoundError: the folder is not there, or has no event files.
        ValueError: the run has no value of this name; those that it has are named.
    """
    found = read_values(folder)
    if not found:
        raise FileNotFoundError(f"{folder}: no folder of tensorboard's event files, such as tb_logger/<name>")
    if tag not in found:
        raise ValueError(f'{folder}: no value {tag!r}; it has {", ".join(sorted(found))}')
    iterations = sorted(found[tag])
    return Curve(name, np.array(iterations), np.array([found[tag][iteration] for iteration in iterations]))


def read_values(folder: Path) -> dict[str, dict[int, float]]:
    """All values of a run, by name and iteration; nothing where the folder is missing, or has no event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events: dict[str, list[Any]] = {}
    for file in sorted(folder.glob('events.out.tfevents.*')):
        # One by one: read together, a later file hides what an earlier one has beyond its start.
        accumulator = EventAccumulator(str(file), size_guidance={'scalars': 0})  # 0: all
        accumulator.Reload()
        for tag in accumulator.Tags()['scalars']:
            events.setdefault(tag, []).extend(accumulator.Scalars(tag))
    return {
        tag: {event.step: event.value for event in sorted(told, key=lambda event: event.wall_time)}
        for tag, told in events.items()
    }


def draw_curves(path: Path, curves: Sequence[Curve], tag: str) -> None:
    """Draws the curves over the iterations, with a logarithmic axis of values, as PNG.

    Raises:
        PlotsMissing: matplotlib is not installed.
    """
    figure = new_figure(7, 4.5)
    axes = figure.subplots()
    for curve in curves:
        axes.plot(curve.iterations, curve.values, label=curve.name, linewidth=1)
    axes.set(xlabel='iteration', ylabel=tag, yscale='log')
    axes.grid(alpha=0.3, which='both')
    axes.legend()
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=150)


def write_curves(path: Path, curves: Sequence[Curve], tag: str) -> None:
    """Writes the curves as CSV: run, tag, iteration, value."""
    rows = [
        (curve.name, tag, f'{iteration:g}', f'{value:.6g}')
        for curve in curves
        for iteration, value in zip(curve.iterations, curve.values)
    ]
    write_table(path, ('run', 'tag', 'iteration', 'value'), rows)
