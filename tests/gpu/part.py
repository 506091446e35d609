"""One part in a process of its own: python -m tests.gpu.part NAME --device cuda --result FILE"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from tests.gpu.parts import PARTS
from tests.gpu.report import Report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('name', choices=[part.name for part in PARTS])
    parser.add_argument('--device', choices=['cuda', 'cpu'], default='cuda')
    parser.add_argument('--result', type=Path, required=True)
    arguments = parser.parse_args()
    report = Report(arguments.result)
    importlib.import_module(f'tests.gpu.parts.{arguments.name}').run(report, arguments.device)
    return 1 if report.failed else 0


if __name__ == '__main__':
    sys.exit(main())
