"""All that only a GPU can show, in one command and ten minutes: python -m tests.gpu

Needs a GPU, nvcc, Python, torch, pytest and numpy. What else is missing is taken from tests/gpu/wheels, which
`python -m tests.gpu.pack` fills where there is a package index. Prints a table, and leaves two files in --out: the
findings of all parts (gpu.json) and their logs (logs.tar.gz), written anew after each part and every ten seconds, so
that a run which is stopped leaves what it has found. `--document FILE` writes the figures of such a gpu.json into
docs/gpu.md.

The exit status is 1 where a part failed or took too long.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import math
import signal
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.gpu import document, machine
from tests.gpu.parts import PARTS, Part
from tests.gpu.report import write_whole
from tests.gpu.runner import Outcome, Runner

BAD = ('failed', 'too long')
PATIENCE = 10.0  # with machines on which it is rehearsed, which compile and compute more slowly


def main() -> int:
    arguments = _arguments()
    if arguments.document:
        document.write(arguments.document)
        return 0
    start = time.monotonic()
    # So that the parts, which are sessions of their own, are stopped too.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='gsasr_gpu_') as made:
        environment, missing = machine.prepare(arguments.work or Path(made))
        facts = {
            **machine.facts(),
            'rehearsed': arguments.rehearse,
            'date': time.strftime('%Y-%m-%d'),
            'missing modules': missing,
        }
        print(json.dumps(facts, indent=1), flush=True)
        if not arguments.rehearse and not facts['gpus']:
            print('torch sees no GPU here; --rehearse runs what can be run without one', file=sys.stderr)
            return 2
        left = 60 * arguments.minutes - (time.monotonic() - start)
        patience = PATIENCE if arguments.rehearse else 1.0
        runner = Kept(facts, arguments.out, environment, left, rehearsed=arguments.rehearse, patience=patience)
        outcomes = runner.run(arguments.parts)
    print(f'\n{table(arguments.parts, outcomes)}\n\n{time.monotonic() - start:.0f} s; {arguments.out / "gpu.json"}')
    return 1 if any(outcome.state in BAD for outcome in outcomes.values()) else 0


class Kept(Runner):
    """Keeps two files up to date: gpu.json, and logs.tar.gz with what the parts print and find.

    Args:
        facts: of the machine.
        out: folder of the two files.
        others: see `Runner`.
    """

    def __init__(self, facts: dict[str, Any], out: Path, environment: dict[str, str], *others: Any, **options: Any):
        self.facts = facts
        self.kept_in = out
        logs = Path(environment['GSASR_GPU_WORK']) / 'logs'
        logs.mkdir(exist_ok=True)
        super().__init__(logs, environment, *others, **options)

    def noted(self) -> None:
        parts = {name: dataclasses.asdict(outcome) for name, outcome in self.so_far().items()}
        text = json.dumps({**self.facts, 'parts': parts}, indent=1) + '\n'
        write_whole(self.kept_in / 'gpu.json', text.encode())
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode='w:gz') as archive:
            for file in sorted(self.out.iterdir()):
                if file.suffix in ('.json', '.log'):  # and none that a part is about to rename
                    archive.add(file, f'logs/{file.name}')
        write_whole(self.kept_in / 'logs.tar.gz', packed.getvalue())


def table(parts: list[Part], outcomes: dict[str, Outcome]) -> str:
    """A line for each part, with what failed in it and what is not here below."""
    lines = []
    for part in parts:
        outcome = outcomes[part.name]
        lines.append(f'{part.name:<17} {outcome.state:<9} {outcome.seconds:>5.0f} s  {part.about}')
        told = [f'! {failure}' for failure in outcome.failures] + [f'- not here: {what}' for what in outcome.not_here]
        if not told and outcome.told:
            told = [f'- {outcome.told}']
        lines += [f'{"":<20}{line}' for line in told]
    return '\n'.join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m tests.gpu', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ', '.join(part.name for part in PARTS)
    parser.add_argument('--parts', type=_parts, default=list(PARTS), help=f'of these, between commas: {names}')
    parser.add_argument(
        '--minutes', type=_positive, help='for all parts together (default: 9.7, 60 where it is rehearsed)'
    )
    parser.add_argument('--rehearse', action='store_true', help='on a CPU, with small sizes, as far as there is one')
    parser.add_argument('--out', type=Path, default=Path('results/gpu'), help='folder for the findings')
    parser.add_argument('--work', type=Path, help='folder for what is compiled, kept for the next run')
    parser.add_argument('--document', type=Path, metavar='FILE', help='a gpu.json, whose figures go into docs/gpu.md')
    arguments = parser.parse_args()
    arguments.minutes = arguments.minutes or (60.0 if arguments.rehearse else 9.7)
    return arguments


def _parts(text: str) -> list[Part]:
    by_name = {part.name: part for part in PARTS}
    unknown = [name for name in text.split(',') if name not in by_name]
    if unknown:
        raise argparse.ArgumentTypeError(f'there is no part {unknown[0]!r}; there are {", ".join(by_name)}')
    return [part for part in PARTS if part.name in text.split(',')]


def _positive(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0 < minutes < math.inf:
        raise argparse.ArgumentTypeError(f'a positive number of minutes is needed, got {text!r}')
    return minutes


if __name__ == '__main__':
    sys.exit(main())
