"""The build backend: setuptools, with a torch to compile the kernels with where there is none.

The hooks below are asked in isolated builds only (`pip install .`, `pip wheel .`, `python -m build`, uv). Those of pip
use the torch of the environment around them; where that has none, or one too old, one is fetched into the isolated
environment, and deleted with it. Without it a wheel would leave compiling to the machine where it is installed.
"""

import importlib.metadata
import importlib.util
import os
import re
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from setuptools.build_meta import *  # noqa: F403

ROOT = Path(__file__).resolve().parent
FORCE_CUDA = os.environ.get('FORCE_CUDA', '0') not in ('', '0')
FORCE_KERNELS = FORCE_CUDA or os.environ.get('FORCE_KERNELS', '0') not in ('', '0')
WITHOUT_KERNELS = not FORCE_KERNELS and os.environ.get('FORCE_KERNELS') == '0'
# Where the environment around an isolated build of pip has its packages.
AROUND = [sysconfig.get_path('purelib'), sysconfig.get_path('platlib')]


def get_requires_for_build_wheel(config_settings: dict[str, Any] | None = None) -> list[str]:
    """The torch to fetch, or nothing.

    Raises:
        SystemExit: by this pip BasicSR cannot be installed.
    """
    facts = load_build_facts()
    installed = _versions()
    if 'torch' in installed and facts.torch_complaint(installed['torch']) is None:
        return []
    complaint = _old_pip_complaint(facts, installed)
    if complaint:
        raise SystemExit(complaint)
    if WITHOUT_KERNELS or facts.compiler_complaint():  # setup.py tells who asks for kernels
        return []
    return re.findall(r'^ +"(torch>=[^"]+)"', (ROOT / 'pyproject.toml').read_text(encoding='utf-8'), re.MULTILINE)


get_requires_for_build_editable = get_requires_for_build_wheel


def load_build_facts() -> ModuleType:
    """ops/build.py, without importing gsasr_ops, which needs torch."""
    spec = importlib.util.spec_from_file_location('gsasr_ops_build', ROOT / 'ops' / 'build.py')
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _versions() -> dict[str, str]:
    """The versions of what is installed here and around, by name."""
    found = [*importlib.metadata.distributions(path=AROUND), *importlib.metadata.distributions()]
    return {(distribution.metadata['Name'] or '').lower(): distribution.version for distribution in found}


def _old_pip_complaint(facts: ModuleType, installed: dict[str, str]) -> str | None:
    """Why the pip that builds this cannot install BasicSR, None where it can.

    pip before 23.1 runs BasicSR's setup.py without isolation if there is a setuptools, which fetches torch as eggs and
    takes versions of CUDA's wheels that exclude each other.
    """
    around = [*importlib.metadata.distributions(name='setuptools', path=AROUND)]
    if not around or 'torch' in installed or 'basicsr' in installed:
        return None
    pip = installed.get('pip', '23.1')
    if facts.version(pip) >= (23, 1):
        return None
    return f'pip {pip} cannot install BasicSR 1.4.2, 23.1 and newer can: pip install --upgrade pip'
