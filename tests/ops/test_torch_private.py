"""The private names of torch do what they are used for; that nobody else uses any is in tests/test_private_names.py."""

from __future__ import annotations

import torch

from gsasr_ops import build, torch_private


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
