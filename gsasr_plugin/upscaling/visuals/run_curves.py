"""A value of several training runs, as a picture (the paper's Fig. 10) or a table, from their files for tensorboard."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gsasr_plugin.upscaling.visuals.event_files import read_series
from gsasr_plugin.upscaling.visuals.plotting import new_figure
from gsasr_plugin.whole_file import replacing


class Curve(NamedTuple):
    """One run's values.

    Attributes:
        name: the run's.
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


def read_run(name: str, folder: Path, tag: str) -> Curve:
    """One value of a run, by iteration; where a resumed run went through an iteration twice, the later value.

    Args:
        name: what to call the run.
        folder: where its event files are.
        tag: the value's name, such as 'losses/l_pix'.

    Raises:
        FileNotFoundError: the folder is not there, or has no event files.
        ValueError: the run has no value of this name; those that it has are named.
    """
    known = read_series(folder)
    if not known:
        raise FileNotFoundError(f"{folder}: no folder of tensorboard's event files, such as tb_logger/<name>")
    if tag not in known:
        raise ValueError(f'{folder}: no value {tag!r}; it has {", ".join(sorted(known))}')
    return Curve(name, *known[tag])


def draw_runs(path: Path, curves: Sequence[Curve], tag: str) -> None:
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


def write_runs(path: Path, curves: Sequence[Curve], tag: str) -> None:
    """Writes the curves as CSV: run, tag, iteration, value."""
    with replacing(path) as unfinished, unfinished.open('w', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(('run', 'tag', 'iteration', 'value'))
        for curve in curves:
            for iteration, value in zip(curve.iterations, curve.values):
                writer.writerow((curve.name, tag, f'{iteration:g}', f'{value:.6g}'))
