"""`gsasr info`: what is installed, what is in force, what is missing."""

import argparse
import importlib
import json
import os
import platform
import re
from typing import Any

from gsasr_plugin.host.plugins import basicsr_command, distribution, installed_plugins, version_of, with_remedy

DESCRIPTION = """\
Show versions, the hardware and what is used of it, which rasterizer draws and why, the repairs of BasicSR that are in
force, the packaged models, and what is missing with the command that adds it."""
EXAMPLES = """\
  gsasr info
  gsasr info --json > info.json
"""
DISTRIBUTION = 'gsasr-plugin'
LIBRARIES = ('basicsr', 'torch', 'torchvision', 'numpy', 'scipy', 'pillow', 'opencv-python', 'scikit-image')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--json', action='store_true', help='for programs')


def run(arguments: argparse.Namespace) -> int:
    facts = gather()
    if arguments.json:
        print(json.dumps(facts, indent=2))
        return 0
    for title, section in facts.items():
        print(f'{title}:')
        for name, value in section.items():
            text = ', '.join(map(str, value)) if isinstance(value, list) else value
            print(f'  {name:<24} {"none" if text in ("", None) else text}')
    return 0


def gather() -> dict[str, dict[str, Any]]:
    """All facts, by section and name; values are texts, lists of texts or None."""
    import torch

    import gsasr_ops
    from gsasr_plugin.checkpoints.packaged import packaged_models
    from gsasr_plugin.host.repairs import repairs

    backend = gsasr_ops.backend()
    return {
        'versions': {
            DISTRIBUTION: version_of(DISTRIBUTION),
            'Python': f'{platform.python_version()} on {platform.platform()}',
            **{name: version_of(name) for name in LIBRARIES},
            'CUDA of torch': torch.version.cuda,
            'plugins of BasicSR': [f'{entry.name} ({distribution(entry)})' for entry in installed_plugins()],
        },
        'hardware': _hardware(),
        'rasterizer': {
            'on CPUs': _on_cpus(backend),
            'on CUDA devices': _on_cuda(backend),
            'on all others': 'on the CPU: tensors are copied there and back',
            'libraries': [name for name in (backend['library'], backend['cuda_library']) if name],
            'compiler': backend['compiler'],
            'instruction set': _instruction_set(backend),
            'CUDA toolkit': backend['cuda_toolkit'],
            'CUDA architectures': backend['cuda_architectures'],
        },
        'repairs of BasicSR': repairs(),
        'packaged models': {name: str(path) for name, path in packaged_models().items()}
        or {'none': 'name a file with --model'},
        'missing': missing(backend) or {'nothing': 'all extras are installed'},
    }


def missing(backend: dict[str, Any]) -> dict[str, str]:
    """What could be added -> the command that adds it."""
    import torch

    from gsasr_ops import build, extension

    commands = {}
    if version_of('basicsr') is None:
        commands['BasicSR (which trains and tests)'] = basicsr_command()
    try:
        importlib.import_module('cv2')
    except ImportError as error:
        commands['OpenCV (which reads data sets)'] = with_remedy(error)
    complaint = build.compiler_complaint()
    if backend['library'] is None and complaint:
        commands['compiled rasterizer'] = f'{extension.ADVICE}: {complaint}'
    if torch.cuda.is_available() and torch.version.hip is None and backend['cuda'] != 'compiled':
        plan = build.plan_cuda(torch.version.cuda, devices=list(_capabilities().values()))
        if plan.home is None:
            commands['CUDA kernels'] = f'install the CUDA toolkit {torch.version.cuda}: {plan.reason}'
    for extra, packages in _extras().items():
        absent = [package for package in packages if version_of(package) is None]
        if absent:
            commands[f'extra {extra} ({", ".join(absent)})'] = f"pip install '{DISTRIBUTION}[{extra}]'"
    return commands


def _on_cpus(backend: dict[str, Any]) -> str:
    """What draws on CPUs, and why."""
    if backend['cpu'] == 'compiled':
        return 'compiled: the library has kernels for it'
    return f'{backend["cpu"]}: {"; ".join(backend["problems"])}'


def _on_cuda(backend: dict[str, Any]) -> str:
    """What draws on CUDA devices, and why."""
    import torch

    from gsasr_ops import build

    kind = backend['cuda']
    if kind == 'compiled':
        if not torch.cuda.is_available():
            return 'compiled: the library has kernels for it (but torch sees no such device here)'
        without = [
            f'{name} ({major}.{minor})'
            for name, (major, minor) in _capabilities().items()
            if not build.covers(backend['cuda_architectures'], (major, minor))
        ]
        return 'compiled: the library has kernels for it' + (f', but not for {", ".join(without)}' if without else '')
    reasons = list(backend['problems'])
    if torch.version.hip is not None:
        reasons = ['this torch is built for AMD GPUs (ROCm), for which there are no kernels']
    elif torch.version.cuda is None:
        reasons = ['this torch is built without CUDA']
    elif not torch.cuda.is_available():
        reasons.append('torch sees no CUDA device')
    if backend['cuda_left_out'] and torch.version.cuda is not None:
        reasons.append(f'the kernels were left out: {backend["cuda_left_out"]}')
    return f'{kind}: {"; ".join(reasons) or "the library has no kernels for it"}'


def _capabilities() -> dict[str, tuple[int, int]]:
    """Of the CUDA devices that are here."""
    import torch

    return {f'cuda:{index}': torch.cuda.get_device_capability(index) for index in range(torch.cuda.device_count())}


def _instruction_set(backend: dict[str, Any]) -> str | None:
    """The one in use, and those that the environment variable GSASR_CPU can choose instead."""
    if not backend['instruction_sets']:
        return None
    used, *others = backend['instruction_sets']
    reason = f'GSASR_CPU={os.environ["GSASR_CPU"]}' if 'GSASR_CPU' in os.environ else 'the best of this CPU'
    choice = f'; GSASR_CPU can choose {", ".join(others)}' if others else ''
    return f'{used} ({reason}{choice})'


def _hardware() -> dict[str, Any]:
    import torch

    from gsasr_plugin.precision import name_of
    from gsasr_plugin.upscaling.hardware import AUTO, choose_device, choose_dtype

    devices: dict[str, Any] = {
        'CPU': f'{torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} logical cores, '
        f'{torch.get_num_threads()} threads'
    }
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = properties.total_memory / 2**30
        devices[f'cuda:{index}'] = f'{properties.name}, {properties.major}.{properties.minor}, {memory:.0f} GiB'
    device = choose_device()
    return {**devices, 'chosen (auto)': f'{device} in {name_of(choose_dtype(AUTO, device))}'}


def _extras() -> dict[str, list[str]]:
    """The optional extras of this distribution, and their packages."""
    import importlib.metadata

    extras: dict[str, list[str]] = {}
    try:
        requirements = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    for requirement in requirements:
        match = re.match(r'([\w.-]+).*extra\s*==\s*[\'"]([\w-]+)[\'"]', requirement)
        if match:
            extras.setdefault(match[2], []).append(match[1])
    return extras
