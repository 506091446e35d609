"""Parts that call programs of NVIDIA's, with others in their place that print what those print: what is read of it, and
what is told where they cannot do their work. No GPU is needed.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests.gpu.parts import counters
from tests.gpu.report import Report
from tests.ops.rasterizer import test_cuda_device as device_tests

# A program in place of one of NVIDIA's, which prints what that prints.
PROGRAM = """#!{python}
import sys
sys.stdout.write({output!r})
sys.stderr.write({error!r})
sys.exit({code})
"""


def fake_program(folder: Path, name: str, output: str = '', error: str = '', code: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(PROGRAM.format(python=sys.executable, output=output, error=error, code=code))
    (folder / name).chmod(0o755)


def counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    monkeypatch.setenv('PATH', f'{folder / "bin"}{os.pathsep}{os.environ["PATH"]}')
    report = Report(folder / 'counters.json')
    counters.run(report, rehearsed=False)
    return report


# As Nsight Compute 2025.3 prints it: its own lines, the program's, and the table.
COLUMNS = ('ID', 'Process ID', 'Process Name', 'Host Name', 'Kernel Name', 'Context', 'Stream', 'Block Size')
NCU = f"""==PROF== Connected to process 4711 (/usr/bin/python3.12)
==PROF== Profiling "pack_kernel" - 0: 0%....50%....100% - 3 passes
==PROF== Disconnected from process 4711
{','.join(f'"{name}"' for name in (*COLUMNS, 'Grid Size', 'Device', 'CC', *counters.METRICS))}
{','.join(['""'] * 11 + ['"unit"'] * len(counters.METRICS))}
"""
LAUNCH = (
    '"{id}","4711","python3.12","127.0.0.1","void gsasr::cuda::{kernel}<(int)3>(Gaussians<float>, float, Bins, '
    'Record<(int)3> *)","1","7","(256, 1, 1)","(8100, 1, 1)","0","9.0",{values}\n'
)


def test_counters_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = '"41,728","1,234,567","61.72","n/a","0","48.5","12345678"'
    output = NCU
    for number, kernel in enumerate(counters.KERNELS):
        output += LAUNCH.format(id=number, kernel=kernel, values=values)
    fake_program(tmp_path / 'bin', 'ncu', output)
    report = counted(tmp_path, monkeypatch)
    found = json.loads((tmp_path / 'counters.json').read_text())
    assert not report.failed and list(found['figures']) == ['0: pack_kernel', '1: render_kernel', '2: gather_kernel']
    one = found['figures']['1: render_kernel']
    assert (one['ns'], one['instructions'], one['issue slots, %']) == (41728.0, 1234567.0, 61.72)
    assert one['wavefronts in shared memory'] == 'n/a' and one['bytes of memory'] == 12345678.0


@pytest.mark.parametrize(
    ('output', 'told'),
    [
        ('==PROF== Connected\n==ERROR== ERR_NVGPUCTRPERM - no permission\n==PROF== Disconnected\n', 'ERR_NVGPUCTRPERM'),
        ('==ERROR== Failed to initialize the profiler: LibraryNotLoaded\n', 'LibraryNotLoaded'),
        ('', 'exit status 1'),
    ],
)
def test_what_ncu_cannot_count_is_told(output: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_program(tmp_path / 'bin', 'ncu', output, code=1)
    report = counted(tmp_path, monkeypatch)
    assert not report.failed
    (not_here,) = json.loads((tmp_path / 'counters.json').read_text())['not_here']
    assert told in not_here


def test_a_kernel_that_is_not_counted_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = NCU + LAUNCH.format(id=0, kernel='pack_kernel', values='"1"' + ',"1"' * 6)
    fake_program(tmp_path / 'bin', 'ncu', output)
    assert counted(tmp_path, monkeypatch).failed


def sanitizer_test(folder: Path, monkeypatch: pytest.MonkeyPatch, output: str, code: int, tool: str) -> None:
    fake_program(folder / 'bin', 'compute-sanitizer', output, code=code)
    monkeypatch.setenv('PATH', f'{folder / "bin"}{os.pathsep}{os.environ["PATH"]}')
    if tool == 'one element too far':
        monkeypatch.setattr(device_tests, 'compiled_algorithm1', lambda device, folder: folder / 'algorithm1.so')
        device_tests.test_compute_sanitizer_sees_one_element_too_far(None, folder)
    else:
        device_tests.test_compute_sanitizer(tool)


SOUND = '========= COMPUTE-SANITIZER\n========= ERROR SUMMARY: 0 errors\n'
FAULT = """========= COMPUTE-SANITIZER
========= Invalid __global__ write of size 4 bytes
=========     at backward_kernel(Scene, float const*)+0x2f0
========= ERROR SUMMARY: 1 error
"""


@pytest.mark.parametrize(('tool', 'output', 'code'), [('memcheck', SOUND, 0), ('one element too far', FAULT, 9)])
def test_what_the_sanitizer_should_say(
    tool: str, output: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sanitizer_test(tmp_path, monkeypatch, output, code, tool)


@pytest.mark.parametrize(
    ('tool', 'output', 'code'),
    [
        ('memcheck', FAULT, 9),
        ('racecheck', '========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)\n', 9),
        ('synccheck', 'unknown option --kernel-name\n', 1),
        ('one element too far', SOUND, 0),  # it has seen nothing
        ('one element too far', '========= Program hit an error\n', 9),
    ],
)
def test_what_the_sanitizer_should_not_say(
    tool: str, output: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError, match=re.escape(output.splitlines()[-1])):
        sanitizer_test(tmp_path, monkeypatch, output, code, tool)


def test_a_sanitizer_that_is_refused_by_the_device_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(pytest.skip.Exception, match='does not support this device'):
        sanitizer_test(tmp_path, monkeypatch, '========= Error: Device not supported\n', 1, 'memcheck')
