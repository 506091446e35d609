"""Finds the compiled library, compiles it at first use where there is none, and explains what is missing.

The operators, in the namespace `gsasr`, exist from the import on, whatever is compiled: their rooms register them here.
The compiled library brings kernels for the CPU and, where nvcc was found, the rasterizer's for CUDA. For a device
without a kernel the operators fall back to their twins in PyTorch, with one warning that says why and what to do.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import importlib.util
import logging
import os
import shutil
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from . import build, torch_private

FOLDER = Path(__file__).resolve().parent
REINSTALL = 'pip install --no-build-isolation . (in the folder of gsasr-plugin)'

_logger = logging.getLogger('gsasr_ops')


@dataclass
class _State:
    """What this process knows about the compiled library."""

    library: str | None = None  # the file that is loaded
    cuda_library: str | None = None  # the file that brought the CUDA kernels; the same where both were compiled here
    compiled_now: bool = False  # whether it was compiled at first use
    problems: list[str] = field(default_factory=list)  # why there is none, or not for every device
    tried_to_compile: bool = False
    warned: set[str] = field(default_factory=set)  # kinds of devices
    lock: threading.RLock = field(default_factory=threading.RLock)


_state = _State()


def backend() -> dict[str, Any]:
    """What draws on which device, and why.

    Returns:
        A dictionary: `cpu` and `cuda` are 'compiled', 'reference' (PyTorch) or 'compiled at first use' (not tried yet);
        `library` and `cuda_library` the files or None; `compiler`, `instruction_sets` and `cuda_architectures` of
        these; `problems` what stood in the way.
    """
    info = _library_info()
    pending = _state.library is None and not _state.tried_to_compile
    otherwise = 'compiled at first use' if pending else 'reference'
    return {
        'cpu': 'compiled' if _has_kernel('CPU') else otherwise,
        'cuda': 'compiled' if _has_kernel('CUDA') else otherwise,
        'library': _state.library,
        'cuda_library': _state.cuda_library,
        'compiler': info.get('compiler'),
        'instruction_sets': info.get('instruction_sets', []),
        'cuda_architectures': info.get('cuda_architectures', []),
        'problems': list(_state.problems),
    }


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
        draws: whether PyTorch is slow at it, so that any device without a kernel is worth a warning. PyTorch's own
            layers are fast on other devices than CPUs.
    """

    def fallback(x: torch.Tensor, *others: Any) -> Any:
        if x.layout != torch.strided:
            raise RuntimeError(f'{name} takes dense tensors, got one of the layout {x.layout}')
        if (draws or x.device.type == 'cpu') and _compiled_after_all(x.device):
            return getattr(torch.ops.gsasr, name)(x, *others)
        return twin(x, *others)

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
        raise ImportError(f'{path} was compiled before {", ".join(missing)} came: {REINSTALL}')
    changed = [
        name
        for name, schema in operators.items()
        if not torch_private.has_schema(getattr(torch.ops.gsasr, name), schema)
    ]
    if changed:
        raise ImportError(f'{path} was compiled before the arguments of {", ".join(changed)} changed: {REINSTALL}')


def _compiled_after_all(device: torch.device) -> bool:
    """Compile if that was not tried yet. Whether there is a kernel for this device now; a warning if not."""
    with _state.lock:
        if _state.library is None and not _state.tried_to_compile and device.type in ('cpu', 'cuda'):
            _state.tried_to_compile = True
            _compile()
        if _has_kernel(device.type.upper()):
            return True
        if device.type not in _state.warned:
            _state.warned.add(device.type)
            warnings.warn(_explain(device), RuntimeWarning, stacklevel=2)
        return False


def _has_kernel(key: str) -> bool:
    return torch_private.has_kernel('gsasr::rasterize_gaussians', key)


def _explain(device: torch.device) -> str:
    if device.type not in ('cpu', 'cuda'):
        reasons = f'there are no kernels for {device.type} devices'
        advice = 'move the tensors to a CPU or CUDA device'
    else:
        reasons = '; '.join(_state.problems) or f'the library {_state.library} holds no {device.type.upper()} kernels'
        toolkit = ' and the CUDA toolkit of torch.version.cuda' if device.type == 'cuda' else ''
        advice = f'install a C++ compiler{toolkit}, then run: {REINSTALL}'
    return (
        f'gsasr_ops draws with its slow PyTorch reference on {device.type}, because {reasons}. For the fast rasterizer '
        f'{advice}.'
    )


def _compile() -> None:
    """Compile into torch's cache of extensions and load the result; problems are noted."""
    try:
        plan = (
            build.plan_cuda(torch.version.cuda) if torch.cuda.is_available() else build.CudaPlan(reason='no GPU here')
        )
        _state.library = _compile_locked(plan)
        _state.cuda_library = _state.library if plan.home is not None else None
        _state.compiled_now = True
    # Whatever a compiler, a linker, a full disk or a loader can do: the reason is told in the warning.
    except Exception as error:
        _state.problems.append(f'compiling it at first use failed: {_compiler_output(error)}')


def _put_ninja_on_path() -> None:
    """torch runs the ninja on the PATH, where the one of an environment that is not activated is not."""
    if shutil.which('ninja') is None and importlib.util.find_spec('ninja') is not None:
        folder = importlib.import_module('ninja').BIN_DIR
        os.environ['PATH'] = os.pathsep.join(filter(None, (os.environ.get('PATH'), folder)))


def _compile_locked(plan: build.CudaPlan) -> str:
    complaint = build.compiler_complaint()
    if complaint:
        raise RuntimeError(complaint)
    cuda = plan.home is not None
    architecture = None
    if cuda:
        # Only for the GPU that is here: whoever compiles at first use waits for it.
        major, minor = torch.cuda.get_device_capability()
        architecture = f'{major}.{minor}'
    build.prepare_environment(plan, architecture)
    # Its import complains of a CUDA_HOME that it guessed itself.
    cpp_logger = logging.getLogger('torch.utils.cpp_extension')
    level = cpp_logger.level
    cpp_logger.setLevel(logging.ERROR)
    cpp_extension = importlib.import_module('torch.utils.cpp_extension')
    cpp_logger.setLevel(level)
    from filelock import FileLock  # a dependency of torch

    _put_ninja_on_path()

    name = f'gsasr_ops_{_fingerprint(architecture)}'
    folder = Path(torch_private.build_folder(cpp_extension, name))
    with FileLock(str(folder / 'gsasr_ops.lock')):
        # Ours is the only process that compiles here: a lock file of an older torch was left by one that was killed.
        (folder / 'lock').unlink(missing_ok=True)
        if not (folder / f'{name}{cpp_extension.LIB_EXT}').exists():
            _logger.warning('compiling the rasterizer, once, into %s', folder)
        return str(
            cpp_extension.load(
                name,
                [str(file) for file in build.sources(cuda)],
                # The operators are defined already: this library brings the kernels only.
                extra_cflags=[*build.cxx_flags(torch.__version__, architecture), '-DGSASR_KERNELS_ONLY'],
                extra_cuda_cflags=build.nvcc_flags(),
                extra_ldflags=build.cudart_flags(plan),
                build_directory=str(folder),
                with_cuda=cuda,
                is_python_module=False,
            )
        )


def _fingerprint(architecture: str | None) -> str:
    """Of the sources, of torch and of what is compiled: another one gets another folder, so nothing stale is loaded."""
    digest = hashlib.sha256(f'{torch.__version__} {architecture}'.encode())
    for path in (*build.sources(cuda=True), *build.headers()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _compiler_output(error: Exception) -> str:
    """The message, and of a compiler's output the lines that matter."""
    text = str(error).strip() or type(error).__name__
    lines = [line for line in text.splitlines() if 'error' in line.lower()] or text.splitlines()
    return ' | '.join(line.strip() for line in lines[:5]).rstrip('.')


def _library_info() -> dict[str, Any]:
    """What the loaded libraries say of themselves."""
    if _state.library is None:
        return {}
    architectures = _told(_state.cuda_library, 'cuda_architectures') if _state.cuda_library else ''
    return {
        'compiler': _told(_state.library, 'compiler'),
        'instruction_sets': _told(_state.library, 'instruction_sets').split(),
        'cuda_architectures': architectures.split('_') if architectures else [],
    }


def _told(library: str, name: str) -> str:
    function = getattr(ctypes.CDLL(library), f'gsasr_{name}')
    function.restype = ctypes.c_char_p
    return function().decode()


# Keeps alive what Python defines of the operators.
_fragment = _defined_operators()
