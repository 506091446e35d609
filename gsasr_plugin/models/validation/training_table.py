"""The tables of a training run: `metrics.csv` (all values) and `metrics.md` (the last of each set)."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from gsasr_plugin.whole_file import replacing


class MetricRow(NamedTuple):
    """One metric's mean over the images of a data set at one scale.

    Attributes:
        iteration: the training iteration.
        dataset, scale, images, metric, model, bicubic: see `testing_report.Mean`.
    """

    iteration: str
    dataset: str
    scale: str
    images: int
    metric: str
    model: float
    bicubic: float | None


def add_to_tables(folder: Path, rows: list[MetricRow]) -> str:
    """Adds one data set's values to the tables in `folder`, and returns its own table as markdown."""
    # A resumed run validates again what it had validated after its last checkpoint.
    new = {row[:5] for row in rows}
    all_rows = [row for row in _read_csv(folder / 'metrics.csv') if row[:5] not in new] + rows
    with replacing(folder / 'metrics.csv') as path, path.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(MetricRow._fields)
        writer.writerows(all_rows)

    last = {(row.dataset, row.scale, row.metric): row for row in all_rows}
    datasets = dict.fromkeys(row.dataset for row in all_rows)
    with replacing(folder / 'metrics.md') as path:
        path.write_text('\n'.join(markdown([r for r in last.values() if r.dataset == name]) for name in datasets))
    return markdown(rows)


def markdown(rows: list[MetricRow]) -> str:
    """A table of one data set: a column for each scale, a row for each metric, and for bicubic's where known."""
    scales = list(dict.fromkeys(row.scale for row in rows))
    value = {(row.metric, row.scale): row for row in rows}
    lines = [
        f'| {rows[-1].dataset}, {rows[-1].iteration} | ' + ' | '.join(f'x{scale}' for scale in scales) + ' |',
        '|---|' + '---|' * len(scales),
    ]
    for metric in dict.fromkeys(row.metric for row in rows):
        cells = [value[metric, scale] for scale in scales]
        lines.append(f'| {metric} | ' + ' | '.join(f'{row.model:.4f}' for row in cells) + ' |')
        if all(row.bicubic is not None for row in cells):
            lines.append(f'| {metric} of bicubic | ' + ' | '.join(f'{row.bicubic:.4f}' for row in cells) + ' |')
            gains = [row.model - row.bicubic for row in cells if row.bicubic is not None]
            lines.append('| difference | ' + ' | '.join(f'{gain:+.4f}' for gain in gains) + ' |')
    return '\n'.join(lines) + '\n'


def _read_csv(path: Path) -> list[MetricRow]:
    if not path.exists():
        return []
    with path.open(newline='') as file:
        return [
            MetricRow(
                iteration=row['iteration'],
                dataset=row['dataset'],
                scale=row['scale'],
                images=int(row['images']),
                metric=row['metric'],
                model=float(row['model']),
                bicubic=float(row['bicubic']) if row['bicubic'] else None,
            )
            for row in csv.DictReader(file)
        ]
