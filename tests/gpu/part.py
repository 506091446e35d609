"""One part in a process of its own: python -m tests.gpu.part NAME --result FILE"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
from pathlib import Path

from tests.gpu import fake_cuda
from tests.gpu.parts import PARTS
from tests.gpu.report import Report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('name', choices=[part.name for part in PARTS])
    parser.add_argument('--rehearse', action='store_true')
    parser.add_argument('--result', type=Path, required=True)
    arguments = parser.parse_args()
    report = Report(arguments.result)
    with fake_cuda.played() if arguments.rehearse else contextlib.nullcontext():
        importlib.import_module(f'tests.gpu.parts.{arguments.name}').run(report, arguments.rehearse)
    return 1 if report.failed else 0


if __name__ == '__main__':
    sys.exit(main())
