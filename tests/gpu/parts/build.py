"""Compiles all that the other parts use, at once: the kernels at first use, their debug build, Algorithm 1.

Without a GPU: those for CPUs, and the debug build for one architecture, which loads.
"""

import os
import subprocess
import time

from gsasr_ops import build
from tests.gpu.machine import ROOT, environment_of_guards, python, work_folder
from tests.gpu.report import Report

FIRST_USE = """
import sys, torch, gsasr_ops
inputs = [torch.rand(1, 9, *shape) for shape in ((2,), (2,), (), (), (3,))]
for device in sys.argv[1:]:
    gsasr_ops.rasterize_gaussians(*(t.to(device) for t in inputs), (8, 8), 2.0)
told = gsasr_ops.backend()
print(told)
assert all(told[device] == 'compiled' for device in sys.argv[1:]), told
"""

FOR_AN_ABSENT_GPU = """
import torch
from gsasr_ops import backend, build, extension
plan = build.plan_cuda(torch.version.cuda, None, [(9, 0)])
assert plan.home is not None, plan.reason
flags = build.cxx_flags(torch.__version__, build.cuda_facts(plan), cuda=True)
print(extension._load_compiled(build.cuda_sources(), flags, plan))
assert backend()['cuda'] == 'compiled', backend()
"""


def run(report: Report, rehearsed: bool) -> None:
    home, how = build.find_toolkit(None)
    if home is None:
        report.check('a CUDA toolkit is found', False, how)
        return
    report.figure('toolkit', f'{home} ({".".join(map(str, build.nvcc_version(home)))})')
    if rehearsed:
        running = {
            'kernels for CPUs at first use': _start(python('-c', FIRST_USE, 'cpu')),
            'debug build for 9.0': _start(python('-c', FOR_AN_ABSENT_GPU), environment_of_guards(255)),
        }
        _wait(report, running)
        return
    import torch

    from tests.ops.rasterizer.simt.algorithm1 import compile_for

    running = {
        'kernels at first use': _start(python('-c', FIRST_USE, 'cuda', 'cpu')),
        'debug build': _start(python('-c', FIRST_USE, 'cuda'), environment_of_guards(255)),
    }
    compile_for(home, torch.cuda.get_device_capability(), work_folder())
    _wait(report, running)


def _start(command: list[str], environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, cwd=ROOT, env=environment or dict(os.environ))


def _wait(report: Report, running: dict[str, subprocess.Popen[bytes]]) -> None:
    start = time.monotonic()
    for name, process in running.items():
        code = process.wait()
        report.check(f'{name}: compiles and runs', code == 0, f'exit status {code}')
        report.figure(f'{name}, s', round(time.monotonic() - start))
