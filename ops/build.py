"""What is compiled, and how: the facts that setup.py and the compilation at first use share.

Nothing but the standard library is imported here: setup.py loads this file by its path, in builds where torch may be
missing.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
USUAL_FOLDERS = Path('/usr/local')  # where CUDA's own installer puts cuda and cuda-<version>

# The stable ABI of LibTorch holds everything that the binding needs from this version on: a library built against it
# also loads in later versions.
STABLE_ABI_SINCE = (2, 10)
STABLE_ABI_TARGET = '0x020a000000000000'

# Compiled by default, as far as the toolkit knows them. Code for X.Y runs on every later X.Z; the newest also goes in
# as PTX, for what comes after it. 11.0 (Thor) is a major version of its own.
DEFAULT_ARCHITECTURES = ('7.5', '8.0', '8.6', '8.9', '9.0', '10.0', '11.0', '12.0')


# Nothing of -ffast-math that changes results: these two only say that nobody reads errno or catches signals of
# floating-point operations, without which square roots and roundings are not vectorised.
UNIX_FLAGS = ('-g0', '-fno-math-errno', '-fno-trapping-math', '-fvisibility=hidden', '-Wno-psabi')


@dataclass(frozen=True)
class CudaPlan:
    """Whether the CUDA kernels are compiled.

    Attributes:
        home: folder of the CUDA toolkit, None where the kernels are left out.
        reason: why they are left out, None where they are compiled.
        architectures: in the format of TORCH_CUDA_ARCH_LIST.
    """

    home: Path | None = None
    reason: str | None = None
    architectures: str = ''


def sources(cuda: bool) -> list[Path]:
    """All files to compile: those of the operators' rooms and of `common`.

    No two have the same stem: torch's compilation at first use names objects by it.
    """
    return [*cpu_sources(), *cuda_sources()] if cuda else cpu_sources()


def cpu_sources() -> list[Path]:
    """Those of the library `_C`: the operators' schemas and the CPU kernels, which load beside every torch."""
    return [path for path in _files('cpp') if path.parent.name != 'cuda']


def cuda_sources() -> list[Path]:
    """Those of a library of CUDA kernels."""
    return sorted({*_files('cpp', 'cu')} - {*cpu_sources()})


def cuda_library(torch_cuda: str) -> str:
    """The name of the library of CUDA kernels that fits a torch: '_CUDA13' for one of any CUDA 13.

    Where the runtime of another CUDA happens to be installed the library would load too, and ask for another driver
    than torch does.
    """
    return f'_CUDA{version(torch_cuda)[0]}'


def headers() -> list[Path]:
    """All files that the sources include."""
    return _files('h', 'cuh')


def _files(*suffixes: str) -> list[Path]:
    return sorted(path for suffix in suffixes for path in FOLDER.glob(f'*/**/*.{suffix}'))


def schemas() -> list[str]:
    """The schemas of the operators, from the bindings, which define them where the library is loaded at import."""
    return re.findall(r'm\.def\("(.+)"\)', ''.join(path.read_text(encoding='utf-8') for path in sources(cuda=False)))


def cxx_flags(torch_version: str, architectures: str | None) -> list[str]:
    """Flags of the C++ compiler; torch's own include paths come from torch.utils.cpp_extension.

    Args:
        torch_version: torch.__version__.
        architectures: those of the CUDA kernels, as in TORCH_CUDA_ARCH_LIST; None where there are none.
    """
    windows = sys.platform == 'win32'
    flags = ['/O2', '/std:c++17'] if windows else ['-O3', '-std=c++17', *UNIX_FLAGS]
    # torch's headers need C++20 from 2.13 on
    if version(torch_version) >= (2, 13):
        flags[1] = flags[1].replace('17', '20')
    if version(torch_version) >= STABLE_ABI_SINCE:
        flags += ['-DGSASR_STABLE_ABI', f'-DTORCH_TARGET_VERSION={STABLE_ABI_TARGET}']
    if architectures is not None:
        listed = re.sub(r'[;, ]+', '_', architectures.strip())
        flags += ['-DGSASR_WITH_CUDA', '-DUSE_CUDA', f'-DGSASR_CUDA_ARCHITECTURES={listed}']
    return flags


def nvcc_flags() -> list[str]:
    """Flags of nvcc; the architectures come from TORCH_CUDA_ARCH_LIST."""
    return ['-O3', '-std=c++17']


def version(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: '2.14.1+cu130' gives (2, 14, 1)."""
    found = re.match(r'\d+(\.\d+)*', text.strip())
    return tuple(int(part) for part in found[0].split('.')) if found else ()


def find_cuda_home() -> tuple[Path | None, str]:
    """The folder of a usable CUDA toolkit, and how it was found or why there is none.

    Looked at in this order: CUDA_HOME, CUDA_PATH, the nvcc on the PATH (which may be a wrapper script or a link: it is
    asked where it really lives), the usual folders, the wheels that torch brings along.
    """
    for variable in ('CUDA_HOME', 'CUDA_PATH'):
        if os.environ.get(variable):
            home = Path(os.environ[variable])
            if _is_toolkit(home):
                return home, variable
            return (
                None,
                f'{variable}={home} is no complete CUDA toolkit (nvcc, cuda_runtime.h, the CUDA runtime library)',
            )
    nvcc = shutil.which('nvcc')
    candidates: list[Path] = []
    if nvcc:
        candidates += _homes_of_nvcc(nvcc)
    candidates.append(USUAL_FOLDERS / 'cuda')
    candidates += sorted(USUAL_FOLDERS.glob('cuda-*'), key=lambda path: version(path.name[5:]), reverse=True)
    candidates += [Path(entry) / 'nvidia' / 'cu13' for entry in sys.path if entry]
    for home in candidates:
        if _is_toolkit(home):
            return home, nvcc or str(home)
    if nvcc:
        return None, f'{nvcc} belongs to no complete CUDA toolkit; set CUDA_HOME to the folder of one'
    return None, 'there is no nvcc; set CUDA_HOME to the folder of a CUDA toolkit to have the CUDA kernels'


def _homes_of_nvcc(nvcc: str) -> list[Path]:
    homes = []
    try:
        output = subprocess.run(
            [nvcc, '--dryrun', '-c', 'x.cu'], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    found = re.search(r'_HERE_=(.+)', output.stderr + output.stdout)
    if found:
        homes.append(Path(found[1].strip()).parent)
    homes.append(Path(os.path.realpath(nvcc)).parent.parent)
    return homes


def _is_toolkit(home: Path) -> bool:
    libraries = [
        home / name for name in ('lib64', 'lib', 'lib/x64', 'targets/x86_64-linux/lib', 'targets/sbsa-linux/lib')
    ]
    runtime = ('libcudart.so', 'cudart.lib')
    return (
        any((home / 'bin' / name).is_file() for name in ('nvcc', 'nvcc.exe'))
        and any((home / path / 'cuda_runtime.h').is_file() for path in ('include', 'targets/x86_64-linux/include'))
        and any((folder / name).is_file() for folder in libraries for name in runtime)
    )


def nvcc_version(home: Path) -> tuple[int, ...]:
    """(13, 0), say; raises OSError or subprocess.SubprocessError where nvcc does not run."""
    output = subprocess.run(
        [str(home / 'bin' / 'nvcc'), '--version'], capture_output=True, text=True, timeout=60, check=True
    )
    found = re.search(r'release (\d+)\.(\d+)', output.stdout)
    return (int(found[1]), int(found[2])) if found else ()


def default_architectures(home: Path) -> str:
    """The part of DEFAULT_ARCHITECTURES that this toolkit knows, with PTX of the newest."""
    output = subprocess.run(
        [str(home / 'bin' / 'nvcc'), '--list-gpu-arch'], capture_output=True, text=True, timeout=60, check=False
    )
    known = {f'{number[:-1]}.{number[-1]}' for number in re.findall(r'compute_(\d+)\b', output.stdout)}
    chosen = [name for name in DEFAULT_ARCHITECTURES if name in known] or ['7.5', '8.0', '8.6']
    return ';'.join(chosen) + '+PTX'


def plan_cuda(torch_cuda: str | None) -> CudaPlan:
    """Decide whether the CUDA kernels are compiled; a GPU need not be present.

    Args:
        torch_cuda: torch.version.cuda, None for a torch that was built without CUDA.

    Raises:
        RuntimeError: where FORCE_CUDA=1 asks for what cannot be had.
    """
    force = os.environ.get('FORCE_CUDA', '')
    if force == '0':
        return CudaPlan(reason='FORCE_CUDA=0')
    plan = _plan_cuda(torch_cuda)
    if plan.home is None and force:
        raise RuntimeError(f'FORCE_CUDA={force}, but the CUDA kernels cannot be compiled: {plan.reason}')
    return plan


def _plan_cuda(torch_cuda: str | None) -> CudaPlan:
    if torch_cuda is None:
        return CudaPlan(reason='this torch was built without CUDA')
    home, how = find_cuda_home()
    if home is None:
        return CudaPlan(reason=how)
    try:
        toolkit = nvcc_version(home)
    except (OSError, subprocess.SubprocessError) as error:
        return CudaPlan(reason=f'the nvcc of {home} does not run: {error}')
    if toolkit[:1] != version(torch_cuda)[:1]:
        found = '.'.join(map(str, toolkit))
        return CudaPlan(reason=f'the nvcc of {home} is of CUDA {found}, this torch was built with CUDA {torch_cuda}')
    return CudaPlan(home=home, architectures=os.environ.get('TORCH_CUDA_ARCH_LIST') or default_architectures(home))


def prepare_environment(plan: CudaPlan, architectures: str | None = None) -> None:
    """Set what torch.utils.cpp_extension reads when it is imported: CUDA_HOME and TORCH_CUDA_ARCH_LIST.

    Without these it guesses a wrong folder for wrapper scripts and fails on a machine without a GPU.
    """
    if plan.home is not None:
        os.environ['CUDA_HOME'] = str(plan.home)
        os.environ.setdefault('TORCH_CUDA_ARCH_LIST', architectures or plan.architectures)


def cudart_flags(plan: CudaPlan) -> list[str]:
    """Flags that let the linker find the CUDA runtime in unusual places of the toolkit."""
    if plan.home is None or sys.platform == 'win32':
        return []
    machine = {'x86_64': 'x86_64-linux', 'aarch64': 'sbsa-linux'}.get(platform.machine(), '')
    folders: Sequence[Path] = [plan.home / name for name in ('lib64', 'lib', f'targets/{machine}/lib')]
    return [f'-L{folder}' for folder in folders if folder.is_dir()]


def compiler_complaint() -> str | None:
    """Why C++ cannot be compiled here, None where it seems it can."""
    if sys.platform == 'win32':
        return None  # found through the registry by setuptools
    names = [os.environ['CXX']] if os.environ.get('CXX') else ['c++', 'g++', 'clang++']
    if any(shutil.which(name.split()[0]) for name in names):
        return None
    return f'there is no C++ compiler (looked for {", ".join(names)})'
