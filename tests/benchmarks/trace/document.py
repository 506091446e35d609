"""Writes the estimates of `bench_trace` into docs/gpu.md: a table for each network."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

from tests.benchmarks.trace.roofline import DEVICES, HOST
from tests.benchmarks.trace.runs import OPTIONS

PAGE = OPTIONS.parent / 'docs' / 'gpu.md'
BEGIN, END = '<!-- estimated: python -m tests.benchmarks.bench_trace --document -->\n', '<!-- end of estimated -->\n'
NAMES = {'gsasr_edsr': 'The paper with EDSR', 'gsasr_small': '`gsasr-small`', 'gsasr_swinir': 'The paper with SwinIR'}

# Milliseconds, of the paper's network with EDSR at commit 2a5b53d, before anything was done for GPUs: by a trace of the
# same kind, with the same devices.
BEFORE = {
    'A100': {
        'x2': {'float32': 717, 'tf32': 434, 'bf16': 378},
        'x4': {'float32': 181, 'tf32': 111, 'bf16': 98},
        'x12': {'float32': 23, 'tf32': 15, 'bf16': 16},
        'training': {'float32': 582, 'tf32': 342},
    },
    'H100': {
        'x2': {'float32': 308, 'tf32': 221, 'bf16': 192},
        'x4': {'float32': 79, 'tf32': 58, 'bf16': 52},
        'x12': {'float32': 12, 'tf32': 9, 'bf16': 10},
        'training': {'float32': 251, 'tf32': 177},
    },
}


def write(file: Path, page: Path = PAGE) -> None:
    """Args: file: what `--json` has written; page: what the tables are written into, in place of those there."""
    rows = [dict(zip(('network', 'case', 'precision'), row['title'].split()), **row) for row in _read(file)]
    before, rest = page.read_text(encoding='utf-8').split(BEGIN)
    _, after = rest.split(END)
    tables = [_table(network, list(own)) for network, own in groupby(rows, lambda row: row['network'])]
    page.write_text(before + BEGIN + '\n\n'.join(tables) + '\n' + END + after, encoding='utf-8')


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads(file.read_text(encoding='utf-8'))
        if all({'title', 'launches', 'estimated_ms'} <= set(row) for row in rows):
            return rows
    except (OSError, ValueError, TypeError) as error:
        raise SystemExit(f'{file} cannot be read: {error}') from None
    raise SystemExit(f'{file} is none that `python -m tests.benchmarks.bench_trace --json` writes')


def _table(network: str, rows: list[dict[str, Any]]) -> str:
    names = {'float32': 'float32', 'tf32': 'TF32', 'bf16': 'bfloat16'}
    columns = [(device, precision) for device in DEVICES for precision in names]
    lines = [
        [
            f'{NAMES.get(network, network)}, ms',
            *(f'{device} {names[precision]}' for device, precision in columns),
            'host',
        ],
        ['---'] * (len(columns) + 2),
    ]
    for case in dict.fromkeys(row['case'] for row in rows):
        found = {row['precision']: row for row in rows if row['case'] == case}
        cells = [_cell(network, case, device, precision, found) for device, precision in columns]
        host = sorted({round(1e3 * HOST * row['launches']) for row in found.values()})
        lines.append([case, *cells, '-'.join(map(str, (host[0], host[-1])[: len(host)]))])
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _cell(network: str, case: str, device: str, precision: str, found: dict[str, dict[str, Any]]) -> str:
    if precision not in found:
        return ''
    now = f'{found[precision]["estimated_ms"][device]:.3g}'
    before = BEFORE[device].get(case, {}).get(precision) if network == 'gsasr_edsr' else None
    return now if before is None else f'{before} → {now}'
