"""Finds the compiled library, compiles it at first use where there is none, and explains what is missing.

The operators, in the namespace `gsasr`, exist from the import on, whatever is compiled: their rooms register them here.
The compiled library brings kernels for the CPU and, where nvcc was found, the rasterizer's for CUDA. Tensors of other
devices are drawn on the CPU, and without a compiler there the operators fall back to their twins in PyTorch: each with
one warning that says why and what to do.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib
import importlib.util
import logging
import os
import platform
import re
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from . import build, torch_private

FOLDER = Path(__file__).resolve().parent
ADVICE = 'install a C++ compiler, with which it compiles itself at the next use'
DIGEST = '.sha256'  # beside a library that was compiled at first use: of its content
FAILURE = 'failure.txt'  # what a compilation failed of
RETRY_SECONDS = 3600.0  # for so long it is not tried again

_logger = logging.getLogger('gsasr_ops')

_complaint = build.torch_complaint(torch.__version__)
if _complaint:
    raise ImportError(f'{_complaint} (pip install --upgrade torch torchvision)')


@dataclass
class _State:
    """What this process knows about the compiled library."""

    library: str | None = None  # the file of the CPU kernels that is loaded
    cuda_library: str | None = None  # that of the CUDA kernels
    cuda_left_out: str | None = None  # why there is none
    problems: list[str] = field(default_factory=list)  # what else stood in the way
    tried_to_compile: set[str] = field(default_factory=set)  # for these kinds of devices
    warned: set[str] = field(default_factory=set)  # kinds of devices
    lock: threading.RLock = field(default_factory=threading.RLock)


_state = _State()


def backend() -> dict[str, Any]:
    """What draws on which device, and why.

    Returns:
        A dictionary: `cpu` and `cuda` are 'compiled', 'compiled at first use' (not tried yet), 'reference' (PyTorch)
        or 'on the CPU' (copied there and back); `library` and `cuda_library` the files or None; `compiler`,
        `instruction_sets`, `cuda_toolkit` and `cuda_architectures` of these; `cuda_left_out` why there are no CUDA
        kernels; `problems` what else stood in the way.
    """
    library = _facts(_state.library)
    cuda_library = _facts(_state.cuda_library)
    return {
        'cpu': _drawn('cpu', otherwise='reference'),
        'cuda': _drawn('cuda', otherwise='on the CPU'),
        'library': _state.library,
        'cuda_library': _state.cuda_library,
        'compiler': library.get('compiler'),
        'instruction_sets': library.get('instruction_sets', '').split(),
        'cuda_toolkit': cuda_library.get('cuda_toolkit'),
        'cuda_architectures': cuda_library.get('cuda_architectures', []),
        'cuda_left_out': _state.cuda_left_out,
        'problems': list(_state.problems),
    }


def _drawn(kind: str, otherwise: str) -> str:
    if _has_kernel(kind.upper()):
        return 'compiled'
    return 'compiled at first use' if _may_compile(kind) else otherwise


def register(
    name: str,
    *,
    twin: Callable[..., Any],
    fake: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    setup_context: Callable[..., Any] | None = None,
    draws: bool = False,
) -> None:
    """All that PyTorch has to know of an operator beside its compiled kernels. Each room calls it when it is imported.

    Args:
        name: of the operator, in the namespace `gsasr`.
        twin: the same in PyTorch: the kernel of every device that has none of its own.
        fake: the same of shapes without data.
        backward, setup_context: see torch.library.register_autograd.
        draws: whether PyTorch is slow at it, so that a device without a kernel is worth a warning, and devices other
            than CPUs are left for the CPU. PyTorch's own layers are fast on these.
    """

    def fallback(x: torch.Tensor, *others: Any) -> Any:
        if x.layout != torch.strided:
            raise RuntimeError(f'{name} takes dense tensors, got one of the layout {x.layout}')
        if (draws or x.device.type == 'cpu') and _compiled_after_all(x.device):
            return getattr(torch.ops.gsasr, name)(x, *others)
        return twin(x, *others) if x.device.type == 'cpu' or not draws else _on_cpu(name, x, *others)

    _fragment.impl(name, fallback, 'CompositeExplicitAutograd')
    torch.library.register_fake(f'gsasr::{name}', fake)
    if backward is not None:
        torch.library.register_autograd(f'gsasr::{name}', backward, setup_context=setup_context)


def _defined_operators() -> torch.library.Library:
    """Loads the installed library, or defines the operators without it."""
    _load_installed()
    fragment = torch.library.Library('gsasr', 'FRAGMENT')
    if _state.library is None:
        for schema in build.schemas():
            fragment.define(schema)
    return fragment


def _load_installed() -> None:
    """The CPU kernels, which fit every torch from 2.10 on, then those for the CUDA of this torch."""
    _state.library = _load('_C')
    if _state.library is None:
        if not _installed('_C'):
            _state.problems.append('the package was installed without its compiled library')
        return
    _check_age(_state.library)
    _state.cuda_left_out = _facts(_state.library).get('cuda_left_out')
    if torch.version.cuda is not None:
        name = build.cuda_library(torch.version.cuda)
        _state.cuda_library = _load(name)
        others = [path.name for path in _installed('_CUDA*')]
        if others and not _installed(name):
            _state.problems.append(
                f'this torch is of CUDA {torch.version.cuda}, which {", ".join(others)} does not fit'
            )


def _installed(name: str) -> list[Path]:
    return sorted(path for suffix in ('so', 'pyd', 'dylib') for path in FOLDER.glob(f'{name}.*{suffix}'))


def _load(name: str) -> str | None:
    """The file of the installed library of that name which could be loaded; problems are noted."""
    for path in _installed(name):
        try:
            torch.ops.load_library(str(path))
        except OSError as error:
            # torch's message hides what the loader said.
            told = f'{error.__cause__ or error}'
            _state.problems.append(f'the installed library {path} does not fit this torch {torch.__version__}: {told}')
        else:
            return str(path)
    return None


def _check_age(path: str) -> None:
    """ImportError for a library that is older than the sources, as in an editable install whose sources went on.

    What is loaded cannot be unloaded: nothing else than this error is left.
    """
    operators = {schema.split('(')[0]: schema for schema in build.schemas()}
    missing = [name for name in operators if not hasattr(torch.ops.gsasr, name)]
    if missing:
        raise ImportError(f'{path} was compiled before {", ".join(missing)} came: {reinstall_command()}')
    changed = [
        name
        for name, schema in operators.items()
        if not torch_private.has_schema(getattr(torch.ops.gsasr, name), schema)
    ]
    if changed:
        names = ', '.join(changed)
        raise ImportError(f'{path} was compiled before the arguments of {names} changed: {reinstall_command()}')


def reinstall_command() -> str:
    """What replaces a library that does not belong to the Python files beside it."""
    source = FOLDER.parent
    if (source / 'build_backend.py').is_file():
        return f'pip install --no-build-isolation -e "{source}"'
    return 'pip install --force-reinstall --no-deps gsasr-plugin'


def _compiled_after_all(device: torch.device) -> bool:
    """Compile if that was not tried yet. Whether there is a kernel for this device now; a warning if not."""
    with _state.lock:
        if _may_compile(device.type):
            _state.tried_to_compile.add(device.type)
            _compile_cuda() if device.type == 'cuda' else _compile()
        if _has_kernel(device.type.upper()):
            return True
        if device.type not in _state.warned:
            _state.warned.add(device.type)
            warnings.warn(_explain(device), RuntimeWarning, stacklevel=2)
        return False


def _may_compile(kind: str) -> bool:
    """Whether there is something left to compile for a kind of devices."""
    possible = kind == 'cpu' or (kind == 'cuda' and torch.version.hip is None and torch.cuda.is_available())
    return possible and kind not in _state.tried_to_compile and not _has_kernel(kind.upper())


def _on_cpu(name: str, x: torch.Tensor, *others: Any) -> Any:
    """The operator computed on the CPU, of copies; the results are where x is."""
    copies = [given.cpu() if isinstance(given, torch.Tensor) else given for given in (x, *others)]
    results = getattr(torch.ops.gsasr, name)(*copies)
    return results.to(x.device) if isinstance(results, torch.Tensor) else tuple(r.to(x.device) for r in results)


def _has_kernel(key: str) -> bool:
    return torch_private.has_kernel('gsasr::rasterize_gaussians', key)


def _explain(device: torch.device) -> str:
    if device.type == 'cpu':
        reasons = '; '.join(_state.problems) or f'the library {_state.library} holds no kernels for CPUs'
        advice = f' For the fast rasterizer {ADVICE}.' if build.compiler_complaint() else ''
        return f'gsasr_ops draws with its slow PyTorch reference, because {reasons}.{advice}'
    told = f'gsasr_ops draws on the CPU what is on {device.type} devices, and copies it there and back, because '
    if device.type != 'cuda' or torch.version.hip is not None:
        kind = device.type if torch.version.hip is None else 'AMD'
        return f'{told}it has no kernels for {kind} devices.'
    return f'{told}there are no CUDA kernels: {_state.cuda_left_out}.'


def _compile() -> None:
    """Compile the CPU kernels into torch's cache of extensions and load them; problems are noted."""
    try:
        # The operators are defined already: this library brings the kernels only.
        flags = [*build.cxx_flags(torch.__version__, {}), '-DGSASR_KERNELS_ONLY']
        _state.library = _load_compiled(build.cpu_sources(), flags, build.CudaPlan())
    # Whatever a compiler, a linker, a full disk or a loader can do: the reason is told in the warning.
    except Exception as error:
        _state.problems.append(f'compiling it at first use failed: {_compiler_output(error)}')


def _compile_cuda() -> None:
    """The same of the CUDA kernels, for all devices that are here; `cuda_left_out` says why not."""
    devices = [torch.cuda.get_device_capability(index) for index in range(torch.cuda.device_count())]
    plan = build.plan_cuda(torch.version.cuda, torch.version.hip, devices)
    _state.cuda_left_out = plan.reason
    if plan.home is None:
        return
    try:
        flags = build.cxx_flags(torch.__version__, build.cuda_facts(plan), cuda=True)
        _state.cuda_library = _load_compiled(build.cuda_sources(), flags, plan)
    except Exception as error:
        _state.cuda_left_out = f'compiling them with {plan.home} failed: {_compiler_output(error)}'


def _load_compiled(sources: list[Path], flags: list[str], plan: build.CudaPlan) -> str:
    """Load a library from torch's cache, where one process compiles it and the others wait; returns its file.

    It is compiled in a folder of this attempt and comes to its place when it is whole and was loaded: neither of a
    process that is killed, nor of what that leaves running, is there ever a part.

    Args:
        sources, flags: what is compiled, and how.
        plan: what CUDA kernels are compiled with; of others nothing.
    """
    cpp_extension = _imported_cpp_extension()
    from filelock import FileLock  # a dependency of torch

    name = f'gsasr_ops_{_fingerprint(sources, flags, plan)}'
    folder = Path(torch_private.build_folder(cpp_extension, name))
    library = folder / f'{name}{cpp_extension.LIB_EXT}'
    with FileLock(str(folder / 'gsasr_ops.lock')):
        if _loads(library):
            return str(library)
        complaint = build.compiler_complaint() or _failed_before(folder)
        if complaint:
            raise RuntimeError(complaint)
        for left in folder.glob('attempt-*'):
            shutil.rmtree(left, ignore_errors=True)
        _logger.warning('compiling the rasterizer, once, into %s', folder)
        attempt = Path(tempfile.mkdtemp(prefix='attempt-', dir=folder))
        try:
            with build.ninja_on_path(), _toolkit_of(plan, cpp_extension):
                cpp_extension.load(
                    name,
                    [str(file) for file in sources],
                    extra_cflags=flags,
                    extra_cuda_cflags=build.nvcc_flags(plan.architectures),
                    extra_ldflags=build.link_flags(plan, attempt),
                    build_directory=str(attempt),
                    with_cuda=plan.home is not None,
                    is_python_module=False,
                )
            library.with_suffix(DIGEST).write_text(_digest(attempt / library.name), encoding='utf-8')
            (attempt / library.name).rename(library)
        except (OSError, RuntimeError) as error:
            if isinstance(error, OSError) or str(error).startswith('Error building extension'):
                (folder / FAILURE).write_text(_compiler_output(error), encoding='utf-8')
            raise
        finally:
            shutil.rmtree(attempt, ignore_errors=True)
    return str(library)


def _loads(library: Path) -> bool:
    """Load a library that was compiled before, if it is what was written then; a process that maps half of one dies."""
    if not library.exists():
        return False
    try:
        whole = library.with_suffix(DIGEST).read_text(encoding='utf-8') == _digest(library)
        if whole:
            torch.ops.load_library(str(library))
    except OSError:  # as after an upgrade of the system
        whole = False
    if not whole:
        library.unlink()
    return whole


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _failed_before(folder: Path) -> str | None:
    """What the last compilation in this folder failed of, if that is not long ago: nobody waits for it twice."""
    failure = folder / FAILURE
    if failure.exists() and time.time() - failure.stat().st_mtime < RETRY_SECONDS:
        return f'{failure.read_text(encoding="utf-8")} (tried again when {failure} is removed, or an hour old)'
    return None


def _imported_cpp_extension() -> Any:
    """Its import complains of a CUDA_HOME that it guessed itself."""
    logger = logging.getLogger('torch.utils.cpp_extension')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return importlib.import_module('torch.utils.cpp_extension')
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _toolkit_of(plan: build.CudaPlan, cpp_extension: Any) -> Iterator[None]:
    """torch compiles with the toolkit of the plan, in place of the one that it guessed when it was imported.

    What other extensions of this process are compiled with stays as it was.
    """
    before = cpp_extension.CUDA_HOME
    cpp_extension.CUDA_HOME = before if plan.home is None else str(plan.home)
    try:
        yield
    finally:
        cpp_extension.CUDA_HOME = before


def _fingerprint(sources: list[Path], flags: list[str], plan: build.CudaPlan) -> str:
    """Of all that is compiled, and of how: another library gets another folder, so nothing stale is loaded."""
    compilers = (os.environ.get('CXX'), os.environ.get('CC'), plan)
    digest = hashlib.sha256(repr((platform.machine(), torch.__version__, flags, *compilers)).encode())
    for path in (*sources, *build.headers()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _compiler_output(error: Exception) -> str:
    """The message, and of a compiler's output the lines that matter."""
    text = str(error).strip() or type(error).__name__
    lines = [line for line in text.splitlines()[1:] if re.search(r'\b(error|fatal)\b', line, re.IGNORECASE)]
    return ' | '.join(line.strip() for line in (lines or text.splitlines())[:5]).rstrip('.')


def _facts(library: str | None) -> dict[str, Any]:
    """What a library says of itself; one that is older than these questions says nothing."""
    if library is None:
        return {}
    loaded = ctypes.CDLL(library)
    texts = {}
    for name in ('compiler', 'instruction_sets', 'facts'):
        function = getattr(loaded, f'gsasr_{name}', None)
        if function is not None:
            function.restype = ctypes.c_char_p
            texts[name] = function().decode()
    return {**texts, **build.read_facts(texts.pop('facts', '7b7d'))}


# Keeps alive what Python defines of the operators.
_fragment = _defined_operators()
