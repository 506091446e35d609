"""compute-sanitizer's four tools over forward and backward pass, and a write too far that it has to see."""

import time

from tests.gpu import tests_of
from tests.gpu.report import Report

TEST = 'tests/ops/rasterizer/test_cuda_device.py::test_compute_sanitizer'
TESTS = {tool: f'{TEST}[{tool}]' for tool in ('memcheck', 'racecheck', 'synccheck', 'initcheck')}
TESTS['one element too far'] = f'{TEST}_sees_one_element_too_far'


def run(report: Report, rehearsed: bool) -> None:
    running = {tool: tests_of.start(tool, test) for tool, test in TESTS.items()}
    while running:  # what one tool hangs on keeps nothing of the others back
        time.sleep(0.2)
        for tool, process in list(running.items()):
            if process.poll() is not None:
                tests_of.finish(report, tool, running.pop(tool))
