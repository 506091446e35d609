"""Private names of torch stand in one file, which says in which versions they were seen."""

from __future__ import annotations

import ast
from pathlib import Path

import torch

from gsasr_ops import build, torch_private


def private_names(source: str) -> set[str]:
    """Attributes with a leading underscore, of anything but an object's own."""
    return {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith('_')
        and not node.attr.startswith('__')
        and not (isinstance(node.value, ast.Name) and node.value.id in ('self', 'cls'))
    }


def test_nobody_else_uses_private_names() -> None:
    found = {file.relative_to(build.FOLDER).as_posix(): private_names(file.read_text()) for file in sources()}
    assert len(found) > 10
    assert {name for name, names in found.items() if names} == {'torch_private.py'}


def sources() -> list[Path]:
    return sorted(build.FOLDER.rglob('*.py'))


def test_they_do_what_they_are_used_for() -> None:
    assert torch_private.has_kernel('aten::add.Tensor', 'CompositeExplicitAutograd') is False
    assert torch_private.has_kernel('aten::add.Tensor', 'CPU') is True
    schema = next(schema for schema in build.schemas() if schema.startswith('pack_linear('))
    assert torch_private.has_schema(torch.ops.gsasr.pack_linear, schema)
    assert not torch_private.has_schema(torch.ops.gsasr.pack_linear, schema.replace('Tensor bias', 'Tensor? bias'))
    assert isinstance(torch_private.has_matrix_unit(), bool)
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    v_weights = torch.randn(3, 5, dtype=torch.float64)
    (expected,) = torch.autograd.grad((logits.softmax(-1) * v_weights).sum(), logits)
    found = torch_private.softmax_backward(v_weights, logits.softmax(-1).detach())
    torch.testing.assert_close(found, expected)  # float64, sums of five
