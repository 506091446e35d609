"""The curves of a training: losses from tensorboard's files, metrics from `metrics.csv`."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gsasr_plugin.upscaling.visuals.event_files import read_series
from gsasr_plugin.upscaling.visuals.plotting import new_figure
from gsasr_plugin.whole_file import replacing

LOSS_PREFIX = 'losses/'
SMOOTHED_OVER = 0.02  # of the run: the width of the running mean
DPI = 150
PANEL_INCHES = (7.0, 3.2)


class Curve(NamedTuple):
    """Values at iterations; of metrics also bicubic's value, or None."""

    iterations: np.ndarray
    values: np.ndarray
    bicubic: float | None = None


def draw_curves(experiment: Path, tensorboard: Path) -> list[Path]:
    """Writes `losses.png` and `metrics.png` into the folder of a run, as far as there are values to show.

    Args:
        experiment: the run's folder, with `metrics.csv` if it was validated.
        tensorboard: the folder of its event files, which may be missing.

    Returns:
        The files written.

    Raises:
        PlotsMissing: matplotlib is not installed.
    """
    written = []
    losses = read_losses(tensorboard)
    if losses:
        written.append(_draw(experiment / 'losses.png', {name: {'': curve} for name, curve in losses.items()}, 'log'))
    metrics = read_metrics(experiment / 'metrics.csv')
    if metrics:
        written.append(_draw(experiment / 'metrics.png', metrics, 'linear'))
    return written


def read_losses(tensorboard: Path) -> dict[str, Curve]:
    """The losses that the host logs, by name."""
    return {
        tag.removeprefix(LOSS_PREFIX): Curve(*series)
        for tag, series in read_series(tensorboard).items()
        if tag.startswith(LOSS_PREFIX)
    }


def read_metrics(file: Path) -> dict[str, dict[str, Curve]]:
    """Metric -> '<data set> x<scale>' -> curve."""
    if not file.exists():
        return {}
    rows: dict[str, dict[str, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    with file.open(newline='') as lines:
        for row in csv.DictReader(lines):
            rows[row['metric']][f'{row["dataset"]} x{row["scale"]}'].append(row)
    return {
        metric: {
            name: Curve(
                np.array([int(row['iteration']) for row in found]),
                np.array([float(row['model']) for row in found]),
                float(found[-1]['bicubic']) if found[-1]['bicubic'] else None,
            )
            for name, found in by_name.items()
        }
        for metric, by_name in rows.items()
    }


def _draw(path: Path, panels: dict[str, dict[str, Curve]], y_scale: str) -> Path:
    """A panel for each key; bicubic's values are dashed lines in the colour of the curve."""
    width, height = PANEL_INCHES
    figure = new_figure(width, height * len(panels))
    for axes, (title, curves) in zip(figure.subplots(len(panels), 1, squeeze=False).flat, panels.items()):
        axes.set_title(title)
        axes.set_xlabel('iteration')
        axes.grid(alpha=0.3)
        for name, curve in curves.items():
            smoothed, width_of_mean = _running_mean(curve.values)
            marker = 'o' if len(curve.iterations) <= 30 else ''
            if width_of_mean > 1:
                axes.plot(curve.iterations, curve.values, alpha=0.25, color='C0', linewidth=0.7)
                label = f'mean of {width_of_mean}'
                axes.plot(curve.iterations, smoothed, color='C0', label=label)
                continue
            (line,) = axes.plot(curve.iterations, curve.values, marker=marker, markersize=3, label=name or None)
            if curve.bicubic is not None:
                axes.axhline(curve.bicubic, color=line.get_color(), linestyle='--', linewidth=1, label='bicubic')
        axes.set_yscale(y_scale if all((curve.values > 0).all() for curve in curves.values()) else 'linear')
        if axes.get_legend_handles_labels()[1]:
            axes.legend(fontsize=7, ncols=2)
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=DPI, format='png')
    return path


def _running_mean(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Centred, narrower at the ends; and its width."""
    width = max(1, round(SMOOTHED_OVER * len(values)) // 2 * 2 + 1) if len(values) > 100 else 1
    kernel = np.ones(width)
    sums = np.convolve(values, kernel, 'same')
    return sums / np.convolve(np.ones(len(values)), kernel, 'same'), width
