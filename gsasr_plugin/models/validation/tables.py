"""Means over the images of a data set at a scale, beside the paper's figures where it has any, and their files.

`metrics.csv` holds all means, of a training those of all validations; `metrics.md` shows them as the paper does, of a
training the last ones. A test also leaves `metrics.json` and each image's values, `per_image.csv`.
"""

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gsasr_plugin.models.validation.image_values import ImageValues
from gsasr_plugin.models.validation.paper_tables import PaperRow, paper_figure
from gsasr_plugin.whole_file import write_table, write_whole

_PAPER_METRICS = {
    'calculate_psnr': 'PSNR',
    'calculate_ssim': 'SSIM',
    'calculate_lpips': 'LPIPS',
    'calculate_dists': 'DISTS',
}


class Mean(NamedTuple):
    """One metric's mean over the images of a data set at one scale, beside the paper's figure.

    Attributes:
        iteration: of a training; '' when testing.
        scale: the scale's name, such as '3.7'.
        left_out: how many others the metric could not be computed of.
        metric: the metric's name in the option file.
        bicubic: the value of the LR image's bicubic enlargement, or None if it was not asked for.
        paper: what the paper prints, or None.
        difference: model minus paper, or None.
        paper_table: where the paper prints it, or ''.
    """

    iteration: str
    dataset: str
    scale: str
    images: int
    left_out: int
    metric: str
    model: float
    bicubic: float | None = None
    paper: float | None = None
    difference: float | None = None
    paper_table: str = ''


# Columns of `metrics.csv`; a training is not compared with the paper.
_OF_TRAINING = Mean._fields[: Mean._fields.index('paper')]
_OF_TEST = Mean._fields[1:]


def means(
    values: Iterable[ImageValues],
    metrics: Mapping[str, Mapping[str, Any]],
    *,
    row: PaperRow | None = None,
    iteration: str = '',
) -> list[Mean]:
    """The means of each data set, scale and metric, in the order of their first images.

    Args:
        metrics: `val.metrics`: how each was computed.
        row: the row of the paper to compare with, or None.
        iteration: of a training.
    """
    groups: dict[tuple[str, str], list[ImageValues]] = defaultdict(list)
    for image in values:
        groups[image.dataset, image.scale].append(image)
    result = []
    for (dataset, scale), images in groups.items():
        for metric, options in metrics.items():
            found = [image for image in images if metric in image.model]
            if not found:
                continue
            left_out = sum(1 for image in images if image.failed and metric not in image.model)
            model = _mean([image.model[metric] for image in found])
            bicubic = _mean([image.bicubic[metric] for image in found]) if metric in found[0].bicubic else None
            mean = Mean(iteration, dataset, scale, len(found), left_out, metric, model, bicubic)
            name = paper_metric(options)
            figure = paper_figure(row, dataset, scale, name) if row and name else None
            if figure:
                mean = mean._replace(paper=figure.value, difference=model - figure.value, paper_table=figure.table)
            result.append(mean)
    return result


def paper_metric(options: Mapping[str, Any]) -> str | None:
    """The paper's name of a metric of the option file, None where it is computed in another way than the paper's.

    The paper's are PSNR and SSIM of the Y channel, LPIPS with AlexNet, and DISTS, all without the protocol's border.
    """
    name = _PAPER_METRICS.get(options.get('type', ''))
    as_paper = (
        options.get('test_y_channel') is True if name in ('PSNR', 'SSIM') else options.get('net') in (None, 'alex')
    )
    return name if as_paper and options.get('crop_border') == 'auto' else None


def write_test_tables(
    folder: Path, values: Sequence[ImageValues], table: Sequence[Mean], name: str, row: PaperRow | None
) -> None:
    """Writes a test's files, each whole.

    Args:
        name: the run's, which names the column of its values.
    """
    per_image = [
        (image.dataset, image.scale, image.image, metric, value, image.bicubic.get(metric))
        for image in values
        for metric, value in image.model.items()
    ]
    write_table(folder / 'per_image.csv', ('dataset', 'scale', 'image', 'metric', 'model', 'bicubic'), per_image)
    write_table(folder / 'metrics.csv', _OF_TEST, [mean[1:] for mean in table])
    stored = [dict(zip(_OF_TEST, mean[1:])) for mean in table]
    write_whole(folder / 'metrics.json', json.dumps({'name': name, 'paper_row': row, 'means': stored}, indent=1))
    write_whole(folder / 'metrics.md', markdown(table, name, row))


def add_to_training_tables(folder: Path, table: Sequence[Mean], name: str) -> None:
    """Adds the means of a validation to a training's files."""
    # A resumed run validates again what it had validated after its last checkpoint.
    new = {_identity(mean) for mean in table}
    every = [mean for mean in _read_csv(folder / 'metrics.csv') if _identity(mean) not in new] + list(table)
    write_table(folder / 'metrics.csv', _OF_TRAINING, [mean[: len(_OF_TRAINING)] for mean in every])
    last = {(mean.dataset, mean.scale, mean.metric): mean for mean in every}
    write_whole(folder / 'metrics.md', markdown(list(last.values()), name))


def markdown(table: Sequence[Mean], name: str, row: PaperRow | None = None) -> str:
    """As in the paper: for each data set a table of scales and metrics; values of some images only say so."""
    parts = []
    for dataset in dict.fromkeys(mean.dataset for mean in table):
        rows = [mean for mean in table if mean.dataset == dataset]
        has_bicubic = any(mean.bicubic is not None for mean in rows)
        tables = sorted({mean.paper_table for mean in rows} - {''})
        columns = ['Scale', 'Metric']
        columns += ['bicubic', name, 'over bicubic'] if has_bicubic else [name]
        columns += [f'paper, {row} ({", ".join(tables)})', 'difference'] if tables else []
        iteration = f', iteration {rows[-1].iteration}' if rows[-1].iteration else ''
        images = max(mean.images + mean.left_out for mean in rows)
        lines = [f'### {dataset}, {images} images{iteration}', '', _line(columns), '|---' * len(columns) + '|']
        previous = ''
        for mean in rows:
            ours = _number(mean.model)
            if mean.left_out:
                ours += f' ({mean.images} of {mean.images + mean.left_out} images)'
            cells = ['' if mean.scale == previous else f'x{mean.scale}', mean.metric]
            gain = None if mean.bicubic is None else mean.model - mean.bicubic
            cells += [_number(mean.bicubic), ours, _number(gain, sign=True)] if has_bicubic else [ours]
            cells += [_number(mean.paper), _number(mean.difference, sign=True)] if tables else []
            lines.append(_line(cells))
            previous = mean.scale
        parts.append('\n'.join(lines) + '\n')
    return '\n'.join(parts)


def _identity(mean: Mean) -> tuple[str, ...]:
    return mean.iteration, mean.dataset, mean.scale, mean.metric


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)


def _number(value: float | None, *, sign: bool = False) -> str:
    return '' if value is None else f'{value:+.4f}' if sign else f'{value:.4f}'


def _line(cells: Iterable[str]) -> str:
    return '| ' + ' | '.join(cells) + ' |'


def _read_csv(path: Path) -> list[Mean]:
    """The means of a training so far; a file of an earlier version does not say what was left out."""
    if not path.exists():
        return []
    with path.open(newline='') as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    for row in rows:
        row |= {'images': int(row['images']), 'left_out': int(row.get('left_out') or 0), 'model': float(row['model'])}
        row['bicubic'] = float(row['bicubic']) if row['bicubic'] else None
    return [Mean(**row) for row in rows]
