"""What is compiled, and how: the facts that setup.py and the compilation at first use share.

Nothing but the standard library is imported here: setup.py loads this file by its path, in builds where torch may be
missing.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
USUAL_FOLDERS = Path('/usr/local')  # where CUDA's own installer puts cuda and cuda-<version>

# The stable ABI of LibTorch holds everything that the binding needs from this version on: a library built against it
# also loads in later versions.
OLDEST_TORCH = (2, 10)
STABLE_ABI_TARGET = '0x020a000000000000'

# Compiled by default, as far as the toolkit knows them: CUDA 13 knows none before 7.5. Code for X.Y runs on every later
# X.Z; the newest also goes in as PTX, for what comes after it. 11.0 (Thor) is a major version of its own.
DEFAULT_ARCHITECTURES = ('5.0', '6.0', '7.0', '7.5', '8.0', '8.6', '8.9', '9.0', '10.0', '11.0', '12.0')
# What TORCH_CUDA_ARCH_LIST may name instead of numbers.
GENERATIONS = {
    'Maxwell': '5.0',
    'Pascal': '6.0',
    'Volta': '7.0',
    'Turing': '7.5',
    'Ampere': '8.0 8.6',
    'Ada': '8.9',
    'Hopper': '9.0',
    'Blackwell': '10.0 12.0',
}

# Nothing of -ffast-math that changes results: these two only say that nobody reads errno or catches signals of
# floating-point operations, without which square roots and roundings are not vectorised.
UNIX_FLAGS = ('-g0', '-fno-math-errno', '-fno-trapping-math', '-fvisibility=hidden', '-Wno-psabi')


@dataclass(frozen=True)
class CudaPlan:
    """Whether the CUDA kernels are compiled.

    Attributes:
        home: folder of the CUDA toolkit, None where the kernels are left out.
        release: of the toolkit, such as '13.0'.
        architectures: such as '8.6', or '12.0+PTX' with PTX, which runs on all that come after it.
        reason: why the kernels are left out, None where they are compiled.
    """

    home: Path | None = None
    release: str = ''
    architectures: tuple[str, ...] = ()
    reason: str | None = None


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


def version(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: '2.14.1+cu130' gives (2, 14, 1)."""
    found = re.match(r'\d+(\.\d+)*', text.strip())
    return tuple(int(part) for part in found[0].split('.')) if found else ()


def torch_complaint(torch_version: str) -> str | None:
    """Why nothing can be compiled for, or loaded into, a torch of this version; None where it can."""
    if version(torch_version) >= OLDEST_TORCH:
        return None
    return f'gsasr_ops needs torch {".".join(map(str, OLDEST_TORCH))} or newer, and this one is {torch_version}'


def cxx_flags(torch_version: str, facts: dict[str, Any], *, cuda: bool = False) -> list[str]:
    """Flags of the C++ compiler; torch's own include paths come from torch.utils.cpp_extension.

    Args:
        torch_version: torch.__version__.
        facts: what the library is to say of itself: of the one for CPUs `cuda_left_out`, of the other `cuda_facts`.
        cuda: whether it uses CUDA's part of torch.
    """
    windows = sys.platform == 'win32'
    flags = ['/O2', '/std:c++17'] if windows else ['-O3', '-std=c++17', *UNIX_FLAGS]
    # torch's headers need C++20 from 2.13 on
    if version(torch_version) >= (2, 13):
        flags[1] = flags[1].replace('17', '20')
    flags.append(f'-DTORCH_TARGET_VERSION={STABLE_ABI_TARGET}')
    if cuda:
        flags += ['-DGSASR_WITH_CUDA', '-DUSE_CUDA']
    # In hexadecimal digits: spaces and quotes do not survive all build systems.
    return [*flags, f'-DGSASR_FACTS={json.dumps(facts).encode().hex()}']


def cuda_facts(plan: CudaPlan) -> dict[str, Any]:
    """What a library of CUDA kernels says of itself."""
    return {'cuda_toolkit': f'{plan.home} ({plan.release})', 'cuda_architectures': plan.architectures}


def read_facts(digits: str) -> dict[str, Any]:
    """The facts that `cxx_flags` wrote into a library."""
    return json.loads(bytes.fromhex(digits))


def nvcc_flags(architectures: Sequence[str] = ()) -> list[str]:
    """Flags of nvcc. torch adds no architectures to those that stand here, so which ones it knows does not matter."""
    flags = ['-O3', '-std=c++17', '-Wno-deprecated-gpu-targets']
    for name in architectures:
        digits = name.removesuffix('+PTX').replace('.', '')
        flags.append(f'-gencode=arch=compute_{digits},code=sm_{digits}')
        if name.endswith('+PTX'):
            flags.append(f'-gencode=arch=compute_{digits},code=compute_{digits}')
    return flags


def link_flags(plan: CudaPlan, folder: Path) -> list[str]:
    """Flags that let the linker find the CUDA runtime wherever the toolkit has it.

    Args:
        folder: to write into: the runtime of NVIDIA's wheels has no name that linkers look for, and gets one there.
    """
    if plan.home is None or sys.platform == 'win32':
        return []
    runtimes = _runtimes(plan.home)
    if not any(path.name == 'libcudart.so' for path in runtimes):
        folder.mkdir(parents=True, exist_ok=True)
        link = folder / 'libcudart.so'
        link.unlink(missing_ok=True)
        link.symlink_to(runtimes[0])
        return [f'-L{folder}']
    return [f'-L{path.parent}' for path in runtimes if path.name == 'libcudart.so']


def plan_cuda(
    torch_cuda: str | None, torch_hip: str | None = None, devices: Sequence[tuple[int, int]] | None = None
) -> CudaPlan:
    """Decide whether the CUDA kernels are compiled; a GPU need not be present.

    Compiled are the architectures of TORCH_CUDA_ARCH_LIST, or else `DEFAULT_ARCHITECTURES`, with what the devices need.

    Args:
        torch_cuda: torch.version.cuda, None for a torch that was built without CUDA.
        torch_hip: torch.version.hip.
        devices: the compute capabilities to compile for, with what TORCH_CUDA_ARCH_LIST says, and no others.
    """
    if os.environ.get('FORCE_CUDA') == '0':
        return CudaPlan(reason='FORCE_CUDA=0')
    if torch_hip is not None:
        return CudaPlan(reason='this torch was built for AMD GPUs (ROCm), for which there are no kernels')
    if torch_cuda is None:
        return CudaPlan(reason='this torch was built without CUDA')
    home, seen = find_toolkit(torch_cuda)
    if home is None:
        return CudaPlan(reason=seen)
    try:
        architectures = _architectures(home, devices)
    except ValueError as error:
        return CudaPlan(reason=str(error))
    return CudaPlan(home, '.'.join(map(str, nvcc_version(home))), architectures)


def find_toolkit(torch_cuda: str | None) -> tuple[Path | None, str]:
    """The folder of the first CUDA toolkit that compiles for a torch of this CUDA (None: any), or why there is none.

    Looked at, in this order: CUDA_HOME, CUDA_PATH, every nvcc on the PATH, the usual folders, NVIDIA's wheels.
    """
    seen = []
    for home, named in _candidates():
        complaint = toolkit_complaint(home, torch_cuda)
        if complaint is None:
            return home, ''
        seen.append(f'{named} {complaint}')
    told = '; '.join(seen) or 'there is no nvcc'
    wanted = '' if torch_cuda is None else f' {version(torch_cuda)[0]}.x, which this torch (CUDA {torch_cuda}) takes,'
    return None, f'no CUDA toolkit{wanted} was found: {told}'


def _candidates() -> Iterator[tuple[Path, str]]:
    """Folders of CUDA toolkits, each once, with how to name it: where the user points first."""
    named = [(Path(os.environ[name]), f'{name}=') for name in ('CUDA_HOME', 'CUDA_PATH') if os.environ.get(name)]
    folders = [home for folder in os.get_exec_path() for home in _homes_of_nvcc(Path(folder))]
    folders.append(USUAL_FOLDERS / 'cuda')
    folders += sorted(USUAL_FOLDERS.glob('cuda-*'), key=lambda path: version(path.name[5:]), reverse=True)
    # NVIDIA's wheels, beside those that torch brings: pip install nvidia-cuda-nvcc
    folders += [home for entry in sys.path if entry for home in sorted(Path(entry).glob('nvidia/cu[0-9]*'))]
    met = set()
    for home, named_by in (*named, *((home, '') for home in folders if _nvcc(home) is not None)):
        if home.resolve() not in met:
            met.add(home.resolve())
            yield home, f'{named_by}{home}'


def _homes_of_nvcc(folder: Path) -> list[Path]:
    """The toolkits that the nvcc of a folder of the PATH may belong to.

    It may be a link or a script that calls the real one: it is asked where it lives.
    """
    nvcc = next((path for name in ('nvcc', 'nvcc.exe') if os.access(path := folder / name, os.X_OK)), None)
    if nvcc is None:
        return []
    real = Path(os.path.realpath(nvcc)).parent.parent
    try:
        output = subprocess.run(
            [nvcc, '--dryrun', '-c', 'x.cu'], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return [real]
    found = re.search(r'_HERE_=(.+)', output.stderr + output.stdout)
    return [Path(found[1].strip()).parent, real] if found else [real]


def _nvcc(home: Path) -> Path | None:
    return next((path for name in ('nvcc', 'nvcc.exe') if (path := home / 'bin' / name).is_file()), None)


def _runtimes(home: Path) -> list[Path]:
    """The files of the CUDA runtime that a toolkit brings for linking, those with a plain name first."""
    folders = ['lib64', 'lib', 'lib/x64', f'{_target()}/lib', f'lib/{platform.machine()}-linux-gnu']
    patterns = ('libcudart.so', 'cudart.lib', 'libcudart.so.*')
    return [path for pattern in patterns for name in folders for path in sorted((home / name).glob(pattern))]


def _target() -> str:
    """Where a toolkit has what is for this machine, by NVIDIA's name of it."""
    machine = platform.machine()
    return f'targets/{"sbsa" if machine == "aarch64" else machine}-linux'


def toolkit_complaint(home: Path, torch_cuda: str | None) -> str | None:
    """Why a folder holds no CUDA toolkit that compiles for a torch of this CUDA (None: any), None where it does."""
    headers = [home / folder / 'cuda_runtime.h' for folder in ('include', f'{_target()}/include')]
    if _nvcc(home) is None or not any(path.is_file() for path in headers) or not _runtimes(home):
        return 'is no complete CUDA toolkit (nvcc, cuda_runtime.h, the CUDA runtime library)'
    try:
        release = nvcc_version(home)
    except (OSError, subprocess.SubprocessError) as error:
        return f'has an nvcc that does not run ({error})'
    fits = torch_cuda is None or release[:1] == version(torch_cuda)[:1]
    return None if fits else f'is of CUDA {".".join(map(str, release))}'


def nvcc_version(home: Path) -> tuple[int, ...]:
    """(13, 0), say; raises OSError or subprocess.SubprocessError where nvcc does not run."""
    output = subprocess.run([str(_nvcc(home)), '--version'], capture_output=True, text=True, timeout=60, check=True)
    found = re.search(r'release (\d+)\.(\d+)', output.stdout)
    return (int(found[1]), int(found[2])) if found else ()


def _architectures(home: Path, devices: Sequence[tuple[int, int]] | None) -> tuple[str, ...]:
    """See `plan_cuda`; ValueError where the toolkit knows nothing that runs on one of the devices."""
    output = subprocess.run(
        [str(_nvcc(home)), '--list-gpu-arch'], capture_output=True, text=True, timeout=60, check=False
    )
    # A toolkit that does not tell is one of CUDA 11.
    digits = re.findall(r'compute_(\d+)\b', output.stdout) or ['75', '80', '86']
    known = sorted({(int(number[:-1]), int(number[-1])) for number in digits})
    listed = os.environ.get('TORCH_CUDA_ARCH_LIST', '')
    if listed not in ('', 'native'):
        chosen = listed_architectures(listed)
    elif devices is None:
        chosen = [name for name in DEFAULT_ARCHITECTURES if version(name) in known] or [_name(known[-1])]
        chosen[-1] += '+PTX'
    else:
        chosen = []
    for device in sorted(devices or ()):
        if covers(chosen, device):
            continue
        if device < known[0]:
            raise ValueError(
                f'the nvcc of {home} compiles for no GPU older than {_name(known[0])}, and the one here is of '
                f'{_name(device)}: from 5.0 on CUDA 12 does, with a torch for it'
            )
        newest = max(number for number in known if number <= device)
        chosen.append(_name(newest) + ('' if newest == device else '+PTX'))
    return tuple(chosen)


def _name(capability: tuple[int, int]) -> str:
    return '.'.join(map(str, capability))


def listed_architectures(text: str) -> list[str]:
    """What TORCH_CUDA_ARCH_LIST names, in numbers; ValueError where it is misspelt.

    Args:
        text: numbers and names of generations, each with +PTX or without, between semicolons, commas or spaces:
            '8.6;9.0a 12.0+PTX', 'Ampere'.
    """
    chosen: list[str] = []
    for entry in re.split(r'[;,\s]+', text.strip(' ;,')):
        name = entry.removesuffix('+PTX')
        numbers = GENERATIONS.get(name, name).split()
        if not all(re.fullmatch(r'\d+\.\d[af]?', number) for number in numbers):
            raise ValueError(
                f'TORCH_CUDA_ARCH_LIST={text} names {entry!r}; accepted are numbers such as 8.6 and 12.0+PTX, and '
                f'{", ".join(GENERATIONS)}'
            )
        numbers[-1] += entry[len(name) :]
        chosen += [number for number in numbers if number not in chosen]
    return chosen


def covers(architectures: Sequence[str], device: tuple[int, int]) -> bool:
    """Whether code for these architectures runs on a device of this compute capability."""
    for name in architectures:
        number, ptx = name.removesuffix('+PTX'), name.endswith('+PTX')
        compiled = version(number)
        if compiled == device:
            return True
        if number[-1].isdigit() and compiled <= device and (ptx or compiled[0] == device[0]):
            return True
    return False


def compiler_complaint() -> str | None:
    """Why C++ cannot be compiled here, None where it seems it can."""
    if sys.platform == 'win32':
        return None  # found through the registry by setuptools
    names = [os.environ['CXX']] if os.environ.get('CXX') else ['c++', 'g++', 'clang++']
    if any(shutil.which(name.split()[0]) for name in names):
        return None
    return f'there is no C++ compiler (looked for {", ".join(names)})'


@contextlib.contextmanager
def ninja_on_path() -> Iterator[None]:
    """torch runs the ninja on the PATH, where the one of an environment that is not activated is not."""
    before = os.environ.get('PATH')
    if shutil.which('ninja') is None and importlib.util.find_spec('ninja') is not None:
        os.environ['PATH'] = os.pathsep.join(filter(None, (before, importlib.import_module('ninja').BIN_DIR)))
    try:
        yield
    finally:
        if before is not None:
            os.environ['PATH'] = before
        else:
            os.environ.pop('PATH', None)
