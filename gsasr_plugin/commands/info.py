"""`gsasr info`: what is installed, what is in force, what is missing."""

import argparse
import json
import os
import platform
import re
from typing import Any

from gsasr_plugin.host.plugins import basicsr_command, distribution, installed_plugins, version_of

DESCRIPTION = """\
Show versions, the hardware and what is used of it, which rasterizer draws and why, the repairs of BasicSR that are in
force, the packaged models, and what is missing with the command that adds it."""
EXAMPLES = """\
  gsasr info
  gsasr info --json > info.json
"""
DISTRIBUTION = 'gsasr-plugin'
LIBRARIES = ('basicsr', 'torch', 'torchvision', 'numpy', 'scipy', 'pillow', 'opencv-python', 'scikit-image')
REINSTALL = 'pip install --force-reinstall --no-deps --no-build-isolation .   (in the folder of gsasr-plugin)'


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
            'on CPUs': _explained(backend, 'cpu'),
            'on CUDA devices': _explained(backend, 'cuda'),
            'library': backend['library'],
            'compiler': backend['compiler'],
            'instruction set': _instruction_set(backend),
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

    from gsasr_ops import build

    commands = {}
    if version_of('basicsr') is None:
        commands['BasicSR (which trains and tests)'] = basicsr_command()
    if backend['cpu'] == 'reference' or (backend['library'] is None and build.compiler_complaint()):
        complaint = build.compiler_complaint()
        first = f'install a C++ compiler ({complaint}), then ' if complaint else ''
        commands['compiled rasterizer'] = first + REINSTALL
    if torch.cuda.is_available() and backend['cuda'] == 'reference':
        plan = build.plan_cuda(torch.version.cuda)
        first = f'install the CUDA toolkit {torch.version.cuda} ({plan.reason}), then ' if plan.home is None else ''
        commands['CUDA kernels'] = first + REINSTALL
    for extra, packages in _extras().items():
        absent = [package for package in packages if version_of(package) is None]
        if absent:
            commands[f'extra {extra} ({", ".join(absent)})'] = f"pip install '{DISTRIBUTION}[{extra}]'"
    return commands


def _explained(backend: dict[str, Any], device: str) -> str:
    """Which backend draws on a kind of device, and why."""
    import torch

    kind = backend[device]
    if device == 'cuda' and not torch.cuda.is_available() and kind != 'compiled':
        return f'{kind}: {"torch sees no CUDA device" if torch.version.cuda else "this torch is built without CUDA"}'
    if kind == 'compiled':
        seen = '' if device == 'cpu' or torch.cuda.is_available() else ' (but torch sees no such device here)'
        return f'compiled: the library has kernels for it{seen}'
    reasons = '; '.join(backend['problems']) or 'the library has no kernels for it'
    return f'{kind}: {reasons}'


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
