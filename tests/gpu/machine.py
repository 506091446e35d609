"""The machine of a run: what it is, and the environment in which the parts find the packages of this tree and what was
packed for machines without a package index.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.gpu import pack

ROOT = Path(__file__).resolve().parents[2]
# Of the debug build of the CUDA kernels: `environment_of_guards`.
GUARDS = '-DGSASR_GUARDS'


def prepare(work: Path) -> tuple[dict[str, str], list[str]]:
    """The environment for all parts, and the modules that are missing in it.

    Args:
        work: a folder for packages, compiled libraries and other files of this run.
    """
    site, sources = work / 'site', work / 'sources'
    # Without libraries that lie in the tree, which may be older than it: all is compiled anew.
    shutil.rmtree(sources, ignore_errors=True)
    shutil.copytree(ROOT / 'ops', sources / 'gsasr_ops', ignore=shutil.ignore_patterns('_C*', '__pycache__'))
    wanted = [module for module in (*pack.BUILT, *pack.FETCHED) if importlib.util.find_spec(module) is None]
    missing = pack.unpack(wanted, site)
    environment = {
        **os.environ,
        'PYTHONPATH': os.pathsep.join([str(sources), str(ROOT), str(site)]),
        'PATH': os.pathsep.join([os.environ.get('PATH', os.defpath), str(site / 'bin')]),
        'PYTHONDONTWRITEBYTECODE': '1',
        'PYTHONUNBUFFERED': '1',
        'TORCH_EXTENSIONS_DIR': str(work / 'extensions'),
        'GSASR_GPU_WORK': str(work),
    }
    return environment, missing


def environment_of_guards(byte: int) -> dict[str, str]:
    """For a process with the debug build of the CUDA kernels, compiled at first use beside the other one."""
    return {
        **os.environ,
        'NVCC_APPEND_FLAGS': GUARDS,
        'TORCH_EXTENSIONS_DIR': f'{os.environ["TORCH_EXTENSIONS_DIR"]}_guards',
        'GSASR_GUARD_BYTE': str(byte),
    }


def work_folder() -> Path:
    """That of this run; a new one for a part that is started by itself."""
    return Path(os.environ.get('GSASR_GPU_WORK') or tempfile.mkdtemp(prefix='gsasr_gpu_'))


def facts() -> dict[str, Any]:
    """What figures of this machine have to be read with."""
    import torch

    told: dict[str, Any] = {
        'python': platform.python_version(),
        'torch': torch.__version__,
        'commit': pack.commit(),
        'nvcc': _output(['nvcc', '--version']).rpartition('release ')[2].split(',')[0],
        'cores': len(os.sched_getaffinity(0)),
        'gpus': [],
    }
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        told['gpus'] = [f'{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB' for gpu in names]
        query = ['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader']
        told['driver'] = _output(query).split('\n')[0]
    return told


def _output(command: list[str]) -> str:
    """What a command prints; nothing where it cannot be run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout.strip()
    except OSError:
        return ''


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]
