"""The CUDA tests of the rasterizer's room. Without a GPU: its kernels on the CPU, run by the shim."""

from tests.gpu import tests_of
from tests.gpu.report import Report

TESTS = ('tests/ops/rasterizer/test_cuda_device.py', '-k', 'not sanitizer')
OF_SHIM = ('tests/ops/rasterizer/test_cuda_simt.py', '-k', 'test_equals_float64 and (one or no) or one_cell')


def run(report: Report, rehearsed: bool) -> None:
    tests = OF_SHIM if rehearsed else TESTS
    tests_of.finish(report, 'tests', tests_of.start('tests', *tests))
