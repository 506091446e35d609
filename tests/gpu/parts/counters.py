"""What Nsight Compute counts in the rasterizer's large kernels: instructions, wavefronts and conflicts in shared
memory, warps at work, bytes of memory.
"""

import csv
import re
import shutil
import subprocess

from tests.gpu.machine import ROOT, python
from tests.gpu.report import Report

# In ncu's base units.
METRICS = {
    'gpu__time_duration.sum': 'ns',
    'smsp__inst_executed.sum': 'instructions',
    'smsp__issue_active.avg.pct_of_peak_sustained_active': 'issue slots, %',
    'l1tex__data_pipe_lsu_wavefronts_mem_shared.sum': 'wavefronts in shared memory',
    'l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_ld.sum': 'bank conflicts of loads',
    'sm__warps_active.avg.pct_of_peak_sustained_active': 'warps, %',
    'dram__bytes.sum': 'bytes of memory',
}
KERNELS = ('pack_kernel', 'render_kernel', 'gather_kernel')
OPTIONS = ('--clock-control', 'none', '--csv', '--page', 'raw', '--print-units', 'base')
OPTIONS += ('--kernel-name', f'regex:{"|".join(KERNELS)}')
COUNTED = ('-m', 'tests.gpu.parts.rasterizer_times', '3')


def run(report: Report, rehearsed: bool) -> None:
    program = shutil.which('ncu')
    if program is None:
        report.not_here('counters', 'ncu is not on the PATH')
        return
    if rehearsed:
        report.not_here('counters', 'ncu counts on GPUs')
        return
    command = [program, *OPTIONS, '--metrics', ','.join(METRICS), *python(*COUNTED)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr, sep='\n', flush=True)
    counted = rows(done.stdout)
    if not counted:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        faults = [line for line in lines if '==ERROR==' in line] or lines or [f'exit status {done.returncode}']
        report.not_here('counters', faults[0][:200])
        return
    for name, values in counted.items():
        report.figure(name, values)
    kernels = {name.partition(': ')[2] for name in counted}
    report.check('the three kernels are counted', kernels == set(KERNELS), ', '.join(sorted(kernels)))


def rows(output: str) -> dict[str, dict[str, float | str]]:
    """What ncu's table holds, by its numbers of the launches and their kernels; what is no number as it is."""
    found = {}
    for row in csv.DictReader(line for line in output.splitlines() if line.startswith('"')):
        if not row.get('ID'):  # the line of the units
            continue
        known = re.search(r'\w+_kernel\b', row['Kernel Name'])
        kernel = known[0] if known else row['Kernel Name']
        found[f'{row["ID"]}: {kernel}'] = {told: _number(row.get(name)) for name, told in METRICS.items()}
    return found


def _number(text: str | None) -> float | str:
    try:
        return float((text or '').replace(',', ''))
    except ValueError:
        return text or 'not told'
