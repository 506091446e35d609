"""What Nsight Compute counts in the rasterizer's large kernels: instructions, wavefronts and conflicts in shared
memory, warps at work, bytes of memory.
"""

import csv
import shutil
import subprocess

from tests.gpu.machine import ROOT, python
from tests.gpu.report import Report

METRICS = {
    'gpu__time_duration.sum': 'ns',
    'smsp__inst_executed.sum': 'instructions',
    'smsp__issue_active.avg.pct_of_peak_sustained_active': 'issue slots, %',
    'l1tex__data_pipe_lsu_wavefronts_mem_shared.sum': 'wavefronts in shared memory',
    'l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_ld.sum': 'bank conflicts of loads',
    'sm__warps_active.avg.pct_of_peak_sustained_active': 'warps, %',
    'dram__bytes.sum': 'bytes of memory',
}
KERNELS = 'pack_kernel|render_kernel|gather_kernel'


def run(report: Report, rehearsed: bool) -> None:
    program = shutil.which('ncu')
    if program is None:
        report.not_here('counters', 'ncu is not on the PATH')
        return
    if rehearsed:
        report.not_here('counters', 'ncu counts on GPUs')
        return
    options = ['--clock-control', 'none', '--csv', '--page', 'raw', '--kernel-name', f'regex:{KERNELS}']
    command = [
        program,
        *options,
        '--metrics',
        ','.join(METRICS),
        *python('-m', 'tests.gpu.parts.rasterizer_times', '3'),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    rows = list(csv.DictReader(line for line in done.stdout.splitlines() if line.startswith('"')))
    rows = [row for row in rows if row['ID']]  # the first tells the units
    if not rows:
        report.not_here('counters', (done.stdout + done.stderr).strip().splitlines()[-1][:200])
        return
    for row in rows:
        kernel = row['Kernel Name'].split('(')[0].split('::')[-1]
        report.figure(f'{row["ID"]}: {kernel}', {told: row.get(name) for name, told in METRICS.items()})
