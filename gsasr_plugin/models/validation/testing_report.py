"""The tables that a test leaves behind, in the paper's layout and with the paper's figures where it has any.

`per_image.csv` holds each image's values; `metrics.csv`, `metrics.json` and `metrics.md` their means over a data set at
a scale. The log gets a table for each metric.
"""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gsasr_plugin.models.validation.image_values import ImageValues
from gsasr_plugin.models.validation.paper_tables import PaperRow, paper_figure
from gsasr_plugin.whole_file import replacing

# The paper's metrics: PSNR and SSIM of the Y channel, LPIPS with AlexNet, DISTS, all without the protocol's border.
_PAPER_METRICS: dict[str, tuple[str, dict[str, Any]]] = {
    'calculate_psnr': ('PSNR', {'test_y_channel': True}),
    'calculate_ssim': ('SSIM', {'test_y_channel': True}),
    'calculate_lpips': ('LPIPS', {'net': 'alex'}),
    'calculate_dists': ('DISTS', {}),
}


class Mean(NamedTuple):
    """One metric's mean over the images of a data set at one scale, beside the paper's figure.

    Attributes:
        dataset: the data set's name.
        scale: the scale's name, such as '3.7'.
        images: how many images.
        metric: the metric's name in the option file.
        model: the model's value.
        bicubic: the value of the LR image's bicubic enlargement, or None if it was not asked for.
        paper: what the paper prints, or None.
        difference: model minus paper, or None.
        paper_table: where the paper prints it, or ''.
    """

    dataset: str
    scale: str
    images: int
    metric: str
    model: float
    bicubic: float | None
    paper: float | None
    difference: float | None
    paper_table: str


def means(values: Iterable[ImageValues], metrics: Mapping[str, Mapping[str, Any]], row: PaperRow | None) -> list[Mean]:
    """The means of each data set, scale and metric, in the order of their first images.

    Args:
        values: of all images.
        metrics: the options of each metric, by its name.
        row: the row of the paper to compare with, or None.
    """
    groups: dict[tuple[str, str], list[ImageValues]] = defaultdict(list)
    for image in values:
        groups[image.dataset, image.scale].append(image)
    result = []
    for (dataset, scale), images in groups.items():
        for metric in images[0].model:
            model = _mean([image.model[metric] for image in images])
            bicubic = _mean([image.bicubic[metric] for image in images]) if images[0].bicubic else None
            name = paper_metric(metrics[metric])
            figure = paper_figure(row, dataset, scale, name) if row and name else None
            paper, table = figure if figure else (None, '')
            difference = None if paper is None else model - paper
            result.append(Mean(dataset, scale, len(images), metric, model, bicubic, paper, difference, table))
    return result


def paper_metric(options: Mapping[str, Any]) -> str | None:
    """The paper's name of a metric of the option file, None where it is computed in another way than the paper's."""
    name, needed = _PAPER_METRICS.get(options.get('type', ''), ('', {}))
    given = {'net': 'alex', 'crop_border': None, **options}
    same = all(given.get(key) == value for key, value in {'crop_border': 'auto', **needed}.items())
    return name if name and same else None


def write_report(
    folder: Path, values: Sequence[ImageValues], table: Sequence[Mean], name: str, row: PaperRow | None
) -> None:
    """Writes all files, each whole.

    Args:
        folder: the results' folder.
        values: of all images so far.
        table: their means.
        name: the run's, which names the column of its values.
        row: the row of the paper, or None.
    """
    per_image = [
        (image.dataset, image.scale, image.image, metric, value, image.bicubic.get(metric))
        for image in values
        for metric, value in image.model.items()
    ]
    texts = {
        'per_image.csv': _csv(('dataset', 'scale', 'image', 'metric', 'model', 'bicubic'), per_image),
        'metrics.csv': _csv(Mean._fields, table),
        'metrics.json': json.dumps(
            {'name': name, 'paper_row': row, 'means': [mean._asdict() for mean in table]}, indent=1
        ),
        'metrics.md': paper_layout(table, name, row),
    }
    for file, text in texts.items():
        with replacing(folder / file) as path:
            path.write_text(text, encoding='utf-8')


def paper_layout(table: Sequence[Mean], name: str, row: PaperRow | None) -> str:
    """As in the paper: for each data set a table of scales and metrics."""
    parts = []
    for dataset in dict.fromkeys(mean.dataset for mean in table):
        rows = [mean for mean in table if mean.dataset == dataset]
        has_bicubic = any(mean.bicubic is not None for mean in rows)
        tables = sorted({mean.paper_table for mean in rows} - {''})
        columns = ['Scale', 'Metric']
        columns += ['bicubic'] * has_bicubic + [name]
        columns += [f'paper, {row} ({", ".join(tables)})', 'difference'] if tables else []
        lines = [f'### {dataset}, {max(mean.images for mean in rows)} images', '', _line(columns)]
        lines.append('|---' * len(columns) + '|')
        previous = ''
        for mean in rows:
            cells = ['' if mean.scale == previous else f'x{mean.scale}', mean.metric]
            cells += [_number(mean.bicubic)] * has_bicubic + [_number(mean.model)]
            cells += [_number(mean.paper), _number(mean.difference, sign=True)] if tables else []
            lines.append(_line(cells))
            previous = mean.scale
        parts.append('\n'.join(lines) + '\n')
    return '\n'.join(parts)


def metric_tables(table: Sequence[Mean]) -> str:
    """For the log: a table for each metric, data sets by scales, with bicubic's and the paper's lines where known."""
    parts = []
    scales = list(dict.fromkeys(mean.scale for mean in table))
    for metric in dict.fromkeys(mean.metric for mean in table):
        lines = [_line([metric, *(f'x{scale}' for scale in scales)]), '|---' * (len(scales) + 1) + '|']
        for dataset in dict.fromkeys(mean.dataset for mean in table):
            found = {m.scale: m for m in table if (m.metric, m.dataset) == (metric, dataset)}
            for label, kind in ((dataset, 'model'), (f'{dataset}, bicubic', 'bicubic'), (f'{dataset}, paper', 'paper')):
                values = [getattr(found[scale], kind) if scale in found else None for scale in scales]
                if any(value is not None for value in values):
                    lines.append(_line([label, *map(_number, values)]))
        parts.append('\n'.join(lines))
    return ''.join(f'\n\n{part}' for part in parts)


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)


def _number(value: float | None, *, sign: bool = False) -> str:
    return '' if value is None else f'{value:+.4f}' if sign else f'{value:.4f}'


def _line(cells: Iterable[str]) -> str:
    return '| ' + ' | '.join(cells) + ' |'


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
