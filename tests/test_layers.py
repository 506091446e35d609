"""Who may import whom: options -> model -> GSASR -> encoder -> decoder -> gsasr_ops, and never back."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / 'gsasr_plugin'


def imports(file: Path) -> set[str]:
    """The full names that a file imports, wherever in it."""
    names: set[str] = set()
    package = file.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = '.'.join(package[: len(package) - node.level + 1]) if node.level else ''
            module = '.'.join(filter(None, (base, node.module)))
            names.update({module, *(f'{module}.{alias.name}' for alias in node.names)})
    return names


def uses(file: Path, *prefixes: str) -> list[str]:
    return [n for n in imports(file) if any(n == prefix or n.startswith(f'{prefix}.') for prefix in prefixes)]


def python_files(folder: Path) -> list[Path]:
    files = sorted(folder.rglob('*.py'))
    assert files
    return files


def test_the_rasterizer_knows_torch_only() -> None:
    for file in python_files(ROOT / 'ops'):
        # filelock is a dependency of torch's own: it needs no installing.
        known = {*sys.stdlib_module_names, 'torch', 'filelock', 'ops'}
        assert {name.split('.')[0] for name in imports(file)} <= known, file


@pytest.mark.parametrize(
    ('room', 'known'),
    [
        ('archs', ('archs',)),
        ('official', ('official', 'archs')),
        ('host_repairs', ('host_repairs', 'checkpoint_pairs', 'data', 'run_errors', 'stop_signals')),
        ('prepare', ('prepare', 'data', 'whole_file')),
        ('data', ('data', 'run_errors', 'whole_file')),
        ('metrics', ('metrics', 'official')),
        ('paper_tables', ('paper_tables',)),
        (
            'cost',
            (
                *('cost', 'archs', 'checkpoint', 'data', 'paper_tables', 'peak_memory', 'precision', 'visuals'),
                'whole_file',
            ),
        ),
        (
            'models',
            (
                *('models', 'archs', 'checkpoint', 'checkpoint_pairs', 'data', 'paper_tables'),
                *('precision', 'run_errors', 'stop_signals', 'whole_file'),
            ),
        ),
        ('option_check', ('option_check', 'archs', 'checkpoint', 'data', 'official', 'packaged')),
        ('pictures', ('pictures', 'whole_file')),
        ('visuals', ('visuals', 'archs', 'whole_file')),
        ('demo', ('demo', 'archs', 'data', 'upscaling', 'visuals')),
        (
            'upscaling',
            ('upscaling', 'archs', 'checkpoint', 'data', 'peak_memory', 'pictures', 'precision', 'pretrained'),
        ),
    ],
)
def test_rooms_do_not_look_back(room: str, known: tuple[str, ...]) -> None:
    for file in python_files(PLUGIN / room):
        rooms = {name.split('.')[1] for name in uses(file, 'gsasr_plugin') if '.' in name}
        assert rooms <= set(known), file


def test_only_the_network_draws() -> None:
    """And of gsasr_ops the network's room uses nothing else than its layers."""
    used = {file: uses(file, 'gsasr_ops') for file in python_files(PLUGIN)}
    asking = PLUGIN / 'commands' / 'info.py'  # what draws, and why
    assert not uses(asking, 'gsasr_ops.rasterize_gaussians', 'gsasr_ops.rasterize')
    assert {file: sorted(names)[1:] for file, names in used.items() if names and file != asking} == {
        PLUGIN / 'archs' / 'gsasr_arch.py': ['gsasr_ops.rasterize_gaussians'],
        PLUGIN / 'archs' / 'window_attention.py': ['gsasr_ops.window_attention'],
        PLUGIN / 'archs' / 'encoders' / 'hat.py': ['gsasr_ops.window_attention'],
        PLUGIN / 'archs' / 'linear.py': [],
        PLUGIN / 'archs' / 'map_conv.py': [],
    }


def test_only_builders_see_options() -> None:
    """In the network's room only what is built from a section of an option file takes one."""
    for file in python_files(PLUGIN / 'archs'):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.arg):
                assert node.arg != 'opt', file
                if node.arg.endswith('_opt'):
                    assert file.name in ('gsasr_arch.py', '__init__.py'), file
