"""Writes the figures of a run into docs/gpu.md, in place of those of the same GPU, or of the words that there are
none.
"""

from __future__ import annotations

import json
import re
from itertools import groupby
from pathlib import Path
from typing import Any

from tests.gpu.machine import ROOT
from tests.gpu.parts import PARTS

PAGE = ROOT / 'docs' / 'gpu.md'
NOTHING = '*Not measured yet.*\n'
BEGIN, END = '<!-- measured: python -m tests.gpu --document -->\n', '<!-- end of measured -->\n'


def write(file: Path, page: Path = PAGE) -> None:
    """Args: file: a gpu.json of a run on a GPU; page: what it is written into. SystemExit for one of a rehearsal."""
    try:
        run = json.loads(file.read_text(encoding='utf-8'))
        known = {'rehearsed', 'gpus', 'date', 'commit', 'torch', 'parts'} <= set(run)
    except (OSError, ValueError) as error:
        raise SystemExit(f'{file} cannot be read: {error}') from None
    if not known:
        raise SystemExit(f'{file} is no gpu.json, which `python -m tests.gpu` writes')
    if run['rehearsed']:
        raise SystemExit(f'{file} is of a rehearsal on a CPU: its figures say nothing about a GPU')
    text = page.read_text(encoding='utf-8')
    before, rest = text.split(BEGIN)
    measured, after = rest.split(END)
    title = f'### {run["gpus"][0]}'
    others = re.split(r'(?m)^(?=### )', measured.replace(NOTHING, ''))
    kept = [section for section in others if section.strip() and not section.startswith(title + '\n')]
    sections = [*kept, f'{title}\n\n{_section(run)}\n']
    page.write_text(before + BEGIN + ''.join(sections) + END + after, encoding='utf-8')


def _section(run: dict[str, Any]) -> str:
    words = [f'{run["date"]}, commit {run["commit"]}, torch {run["torch"]}, driver {run.get("driver", "?")}.']
    for part in PARTS:
        found = run['parts'].get(part.name)
        if found is None:
            continue
        words.append(f'**{part.about}**: {found["state"]}{found["told"] and ": " + found["told"]}.')
        words += _tables(found['figures'])
    return '\n\n'.join(words)


def _tables(figures: dict[str, Any]) -> list[str]:
    """Neighbouring figures of the same columns as a table, single ones as a list."""

    def columns(entry: tuple[str, Any]) -> tuple[str, ...]:
        return tuple(entry[1]) if isinstance(entry[1], dict) else ()

    written = []
    for names, group in groupby(figures.items(), columns):
        if names:
            rows = [[name, *(_cell(value) for value in values.values())] for name, values in group]
            lines = [['', *names], ['---'] * (1 + len(names)), *rows]
            written.append('\n'.join(f'| {" | ".join(row)} |' for row in lines))
        else:
            written.append('\n'.join(f'- {name}: {_cell(value)}' for name, value in group))
    return written


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f'{value:.4g}'
    if isinstance(value, dict):
        return ', '.join(f'{name} {_cell(inner)}' for name, inner in value.items())
    return ', '.join(map(str, value)) if isinstance(value, list) else str(value)
