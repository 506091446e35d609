"""pip install with the architectures of the default list, which a user's machine gets."""

import json
import os
import subprocess

from gsasr_ops import build
from tests.gpu.machine import ROOT, python, work_folder
from tests.gpu.report import Report

FACTS = """
import json, sys
sys.path.insert(0, sys.argv[1])
import gsasr_ops
print(json.dumps(gsasr_ops.backend()))
"""


def run(report: Report, rehearsed: bool) -> None:
    target = work_folder() / 'installed'
    options = ('--no-build-isolation', '--no-deps', '--no-index', '--target', str(target), str(ROOT))
    environment = {**os.environ, 'FORCE_CUDA': '1', 'MAX_JOBS': '6'}
    done = subprocess.run(
        ['nice', *python('-m', 'pip', 'install', '-q', *options)], env=environment, cwd=work_folder(), check=False
    )
    report.check('pip install compiles all', done.returncode == 0, f'exit status {done.returncode}')
    libraries = sorted(path.name for path in (target / 'gsasr_ops').glob('_C*.so'))
    report.figure('libraries', libraries)
    report.check('both libraries are there', len(libraries) == 2)
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    told = subprocess.run(
        python('-c', FACTS, str(target)), env=environment, cwd=work_folder(), capture_output=True, text=True
    )
    report.check('it loads', told.returncode == 0, told.stderr.strip()[-200:])
    if told.returncode == 0:
        found = json.loads(told.stdout.splitlines()[-1])
        report.figure('architectures', found['cuda_architectures'])
        report.check('its CUDA kernels are there', found['cuda'] == 'compiled', str(found['problems']))
        known = [name for name in build.DEFAULT_ARCHITECTURES if build.version(name) >= (7, 5)]
        listed = [name.removesuffix('+PTX') for name in found['cuda_architectures']]
        report.check('all architectures from 7.5 on', set(known) <= set(listed))
