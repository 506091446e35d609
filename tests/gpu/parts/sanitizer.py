"""compute-sanitizer's four tools over forward and backward pass, and a write too far that it has to see."""

from tests.gpu import tests_of
from tests.gpu.report import Report

TOOLS = ('memcheck', 'racecheck', 'synccheck', 'initcheck', 'one_element_too_far')


def run(report: Report, rehearsed: bool) -> None:
    running = {
        tool: tests_of.start(tool, 'tests/ops/rasterizer/test_cuda_device.py', '-k', f'sanitizer and {tool}')
        for tool in TOOLS
    }
    for tool, process in running.items():
        tests_of.finish(report, tool, process)
