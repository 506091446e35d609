"""The costs as markdown, JSON and a chart."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from gsasr_plugin.benchmarking.cost.measure import STAGES, Cost
from gsasr_plugin.models.validation.paper_tables import paper_cost
from gsasr_plugin.upscaling.visuals.plotting import new_figure
from gsasr_plugin.whole_file import replacing, write_whole

MEGABYTE = 1 << 20


def write_tables(folder: Path, costs: Sequence[Cost], conditions: str) -> None:
    """Writes `cost.md` and `cost.json`, each whole.

    Args:
        conditions: the machine, the images and what else the figures hold for.
    """
    write_whole(folder / 'cost.md', f'{conditions}\n\n{markdown(costs)}')
    content = {'conditions': conditions, 'costs': [asdict(cost) for cost in costs]}
    write_whole(folder / 'cost.json', json.dumps(content, indent=1))


def markdown(costs: Sequence[Cost]) -> str:
    """The table, by scale as in the paper, with the paper's total and memory where it has them."""
    papers = [cost.paper_row and paper_cost(cost.paper_row, cost.scale) for cost in costs]
    has_paper = any(papers)
    header = ['Scale', 'Network', 'dtype', *(f'{stage} (ms)' for stage in (*STAGES, 'total')), 'peak memory (MB)']
    header += ['paper, A100 (ms)', 'paper (MB)'] * has_paper
    lines = [' | '.join(['', *header, '']).strip(), '|---' * len(header) + '|']
    for scale in dict.fromkeys(cost.scale for cost in costs):
        for cost, paper in ((c, p) for c, p in zip(costs, papers) if c.scale == scale):
            times = [cost.milliseconds.get(stage) for stage in (*STAGES, 'total')]
            cells = [f'x{scale}', cost.name, cost.dtype, *('' if ms is None else f'{ms:.1f}' for ms in times)]
            cells.append('' if cost.peak_bytes is None else f'{cost.peak_bytes / MEGABYTE:.0f}')
            if has_paper:
                cells += [f'{paper.milliseconds:.0f}', f'{paper.megabytes:.0f}'] if paper else ['', '']
            lines.append(' | '.join(['', *cells, '']).strip())
    return '\n'.join(lines) + '\n'


def write_chart(path: Path, costs: Sequence[Cost], conditions: str) -> None:
    """Total time and peak memory by scale, a line for each enlarger, as PNG.

    Raises:
        PlotsMissing: matplotlib is not installed.
    """
    figure = new_figure(10, 4.5)
    figure.suptitle(conditions, fontsize='small', wrap=True)
    scales = sorted({float(cost.scale.split('x')[0]) for cost in costs})
    panels = (
        ('time of an image (ms)', 'log', lambda cost: cost.milliseconds['total']),
        ('peak memory (MB)', 'linear', lambda cost: cost.peak_bytes and cost.peak_bytes / MEGABYTE),
    )
    for axes, (title, axis, value) in zip(figure.subplots(1, 2), panels):
        for name in dict.fromkeys(cost.name for cost in costs):
            own = [cost for cost in costs if cost.name == name and value(cost) is not None]
            axes.plot([float(c.scale.split('x')[0]) for c in own], [value(c) for c in own], marker='o', label=name)
        axes.set(xlabel='scale', ylabel=title, yscale=axis)
        if axis == 'linear':
            axes.set_ylim(bottom=0)
        axes.set_xticks(scales, [f'x{scale:g}' for scale in scales])
        axes.grid(alpha=0.3)
        axes.legend(fontsize='small')
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=150)
