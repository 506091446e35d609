"""Private names of torch and BasicSR are used in one file each."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[1] / 'gsasr_plugin'
KEEPERS = ('torch_private.py', 'basicsr_private.py')
NAMED_TUPLES = {'_asdict', '_fields', '_make', '_replace'}  # private by their looks only


def is_private(name: str) -> bool:
    return name.startswith('_') and not name.startswith('__') and name.strip('_') != ''


def defined(tree: ast.AST) -> Iterator[str]:
    """What a file itself names: functions, classes, variables, attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == 'self':
            yield node.attr


def used(tree: ast.AST) -> Iterator[str]:
    """Private attributes and imports, also those that are asked for by a text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if ast.unparse(node.value).split('.')[0] not in sys.stdlib_module_names:
                yield node.attr
        elif isinstance(node, ast.ImportFrom) and (node.module or '').split('.')[0] in ('torch', 'basicsr'):
            yield from filter(is_private, [*(node.module or '').split('.'), *(alias.name for alias in node.names)])
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split('.')[0] in ('torch', 'basicsr'):
                    yield from filter(is_private, alias.name.split('.'))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ('getattr', 'hasattr', 'setattr', 'delattr'):
            name = node.args[1]
            if isinstance(name, ast.Constant) and isinstance(name.value, str) and is_private(name.value):
                yield name.value


def private_uses(folder: Path) -> dict[str, list[str]]:
    """By file: what it uses and the package does not define."""
    trees = {file: ast.parse(file.read_text()) for file in sorted(folder.rglob('*.py')) if file.name not in KEEPERS}
    ours = NAMED_TUPLES | {name for tree in trees.values() for name in defined(tree)}
    uses = {str(file.relative_to(folder)): sorted(set(used(tree)) - ours) for file, tree in trees.items()}
    return {file: names for file, names in uses.items() if names}


def test_private_names_stand_in_their_files() -> None:
    assert private_uses(PLUGIN) == {}


def test_private_names_of_the_operators_do_too() -> None:
    """gsasr_ops knows nothing of the plugin: it has a file of its own."""
    assert private_uses(PLUGIN.parent / 'ops') == {}


@pytest.mark.parametrize(
    ('line', 'found'),
    [
        ('module._call_impl()', ['_call_impl']),
        ('import torch\nx = torch._C.thing', ['_C']),
        ('from torch.utils.data._utils.collate import f', ['_utils']),
        ('from basicsr.utils.dist_util import _init_dist_pytorch', ['_init_dist_pytorch']),
        ('import torch._dynamo', ['_dynamo']),
        ("getattr(module, '_parameters')", ['_parameters']),
        ('self._log_validation_metric_values()', ['_log_validation_metric_values']),
        ('self._own = 1\nother._own', []),
        ('def _own(): pass\nx._own', []),
        ('import argparse\nargparse._ArgumentGroup', []),
        ('mean._replace(x=1), x.__dict__, _', []),
    ],
)
def test_they_are_found(tmp_path: Path, line: str, found: list[str]) -> None:
    (tmp_path / 'file.py').write_text(line)
    assert private_uses(tmp_path) == ({'file.py': found} if found else {})


def test_what_they_stand_for_is_there() -> None:
    """With the versions that are installed: an upgrade that loses one is noticed here."""
    import torch
    from basicsr.models.sr_model import SRModel

    from gsasr_plugin import torch_private

    text = (PLUGIN / 'basicsr_private.py').read_text()
    names = {node.attr for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute) and node.attr[0] == '_'}
    assert len(names) == 4 and all(callable(getattr(SRModel, name)) for name in names)
    assert torch_private.linear_pointwise() is not None or not torch.backends.mkldnn.is_available()
    block = torch_private.shared_block(torch.zeros(2, dtype=torch.float16), 5)
    assert block.is_shared() and block.shape == (5,) and block.dtype == torch.float16


def test_without_them_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from gsasr_plugin import torch_private

    owner = next(cls for cls in torch.UntypedStorage.__mro__ if '_new_shared' in vars(cls))
    monkeypatch.delattr(owner, '_new_shared')
    block = torch_private.shared_block(torch.zeros(2), 5)
    assert block.shape == (5,) and block.dtype == torch.float32
    monkeypatch.delattr(torch.nn.Module, '_compiled_call_impl')
    with pytest.raises(AssertionError, match='torch calls modules in another way'):
        torch_private.replace_call(torch.nn.Identity(), lambda plain: plain)
