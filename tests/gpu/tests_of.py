"""Tests of the tree as a part of the suite: pytest in a process, and what it found."""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as ElementTree

from tests.gpu.machine import ROOT, python, work_folder
from tests.gpu.report import Report

# Without tests/conftest.py, which imports BasicSR.
CONFIGURATION = ('-q', '-p', 'no:cacheprovider', '--confcutdir=tests/ops')


def start(name: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Starts pytest; `finish` tells of it under the same name, which is that of its file of findings."""
    _file(name).unlink(missing_ok=True)
    command = python('-m', 'pytest', *CONFIGURATION, f'--junitxml={_file(name)}', *arguments)
    return subprocess.Popen(command, cwd=ROOT)


def finish(report: Report, name: str, process: subprocess.Popen[bytes]) -> None:
    """Waits for it. Skipped tests are what is not here; no test at all is a failure."""
    code = process.wait()
    # 1: some test failed, which is told below.
    report.check(f'{name}: pytest came to its end', code in (0, 1), f'exit status {code}')
    if not _file(name).exists():
        report.check(f'{name}: pytest ran', False, f'exit status {code}')
        return
    states = {'passed': 0, 'failed': 0, 'skipped': 0}
    for case in ElementTree.parse(_file(name)).iter('testcase'):
        skipped = case.find('skipped')
        fault = case.find('failure') if case.find('error') is None else case.find('error')
        state = 'skipped' if skipped is not None else 'passed' if fault is None else 'failed'
        states[state] += 1
        if skipped is not None:
            report.not_here(f'{case.get("name")}', skipped.get('message', ''))
        if fault is not None:
            report.check(f'{case.get("name")}', False, (fault.get('message') or '').partition('\n')[0][:200])
    if states['passed'] or states['failed']:
        report.figure(name, states)
    report.check(f'{name}: there are tests', sum(states.values()) > 0)


def _file(name: str):
    return work_folder() / f'{name}.xml'
