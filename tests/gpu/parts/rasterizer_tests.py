"""The CUDA tests of the rasterizer's room. Without a GPU: its kernels on the CPU, run by the shim."""

from tests.gpu import tests_of
from tests.gpu.parts import sanitizer
from tests.gpu.report import Report

# But for those of another part.
TESTS = ('tests/ops/rasterizer/test_cuda_device.py', *(f'--deselect={test}' for test in sanitizer.TESTS.values()))
SHIM = 'tests/ops/rasterizer/test_cuda_simt.py'
CASES = ('one image at x2', 'one channel', 'one Gaussian', 'no Gaussian', 'no image', 'height one', 'width one')
OF_SHIM = (f'{SHIM}::test_many_gaussians_in_one_cell', *(f'{SHIM}::test_equals_float64[{case}]' for case in CASES))


def run(report: Report, rehearsed: bool) -> None:
    tests = OF_SHIM if rehearsed else TESTS
    tests_of.finish(report, 'tests', tests_of.start('tests', *tests))
