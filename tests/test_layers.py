"""Who may import whom: options -> model -> GSASR -> encoder -> decoder -> gsasr_ops, and never back."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from tests import forked

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


# From the ground up. A file may import what stands in its own room or on lower floors, not its neighbours.
FLOORS = (
    (
        'bicubic_weights',
        'free_memory',
        'library_limits',
        'option_types',
        'packaged_files',
        'peak_memory',
        'picture_colors',
        'precision',
        'run_errors',
        'sizes',
        'stop_signals',
    ),
    ('basicsr_private', 'torch_private', 'whole_file'),
    ('processes',),
    ('archs', 'data'),
    ('checkpoints',),
    ('metrics',),
    ('models',),
    ('host', 'upscaling'),
    ('benchmarking',),
    ('cli', 'commands'),
    ('__main__',),
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def plugin_modules() -> dict[str, Path]:
    """Every module of the plugin, by its full name."""
    names = {}
    for file in python_files(PLUGIN):
        parts = file.relative_to(ROOT).with_suffix('').parts
        names['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = file
    return names


def plugin_imports() -> dict[str, set[str]]:
    """Which modules of the plugin each of them imports, wherever in the file and for whatever purpose."""
    modules = plugin_modules()
    return {name: {used for used in imports(file) if used in modules} - {name} for name, file in modules.items()}


def test_rooms_do_not_look_up() -> None:
    used = plugin_imports()
    faults = []
    for name in used:
        room = name.split('.')[1] if '.' in name else None
        if room is None:
            continue  # the package's face
        for other in used[name]:
            other_room = other.split('.')[1] if '.' in other else None
            if other_room is None:
                continue
            if room != other_room and FLOOR[other_room] >= FLOOR[room]:
                faults.append(f'{name} imports {other}')
    assert not faults


def test_no_circles() -> None:
    """No two files need each other, not even for their types."""
    modules = plugin_modules()
    used: dict[str, set[str]] = {}
    for name, others in plugin_imports().items():
        # Python runs the faces of all rooms that a file lies in, but those that the importing file lies in itself.
        parts = (other.split('.') for other in others)
        faces = {'.'.join(part[: count + 1]) for part in parts for count in range(1, len(part))}
        used[name] = {face for face in faces & set(modules) if not f'{name}.'.startswith(f'{face}.')}
    done: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, ' -> '.join((*path[path.index(name) :], name))
        if name in done:
            return
        for other in sorted(used[name]):
            walk(other, (*path, name))
        done.add(name)

    for name in used:
        walk(name, ())


EVERY_MODULE = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print('basicsr' in sys.modules)
"""


@pytest.mark.slow
def test_who_only_upscales_needs_no_basicsr() -> None:
    """Nor whoever reads a stored network, or asks for help."""
    rooms = ('checkpoints', 'commands', 'upscaling')
    names = [name for name in plugin_modules() if name.startswith(tuple(f'gsasr_plugin.{room}.' for room in rooms))]
    done = forked.run(['-c', EVERY_MODULE, *names])
    assert len(names) > 50 and done.stdout.strip() == 'False', done.stderr


def test_only_the_network_draws() -> None:
    """And of gsasr_ops the network's room uses nothing else than its layers."""
    used = {file: uses(file, 'gsasr_ops') for file in python_files(PLUGIN)}
    asking = PLUGIN / 'commands' / 'info.py'  # what draws, and why
    assert not uses(asking, 'gsasr_ops.rasterize_gaussians', 'gsasr_ops.rasterizer')
    assert {file: sorted(names)[1:] for file, names in used.items() if names and file != asking} == {
        PLUGIN / 'archs' / 'rendering.py': ['gsasr_ops.rasterize_gaussians'],
        PLUGIN / 'archs' / 'window_attention.py': ['gsasr_ops.window_attention'],
        PLUGIN / 'archs' / 'encoders' / 'hat.py': ['gsasr_ops.window_attention'],
        PLUGIN / 'archs' / 'encoders' / 'swinir.py': ['gsasr_ops.window_attention'],
        PLUGIN / 'archs' / 'inference.py': [],
    }


def test_only_builders_see_options() -> None:
    """In the network's room only what is built from a section of an option file takes one."""
    for file in python_files(PLUGIN / 'archs'):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.arg):
                assert node.arg != 'opt', file
                if node.arg.endswith('_opt'):
                    assert file.name in ('gsasr_arch.py', '__init__.py'), file


def test_functions_are_short() -> None:
    """At most 60 lines, docstring and signature included."""
    for file in (*python_files(PLUGIN), *python_files(ROOT / 'ops')):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno < 60, f'{file}:{node.lineno}: {node.name}'
