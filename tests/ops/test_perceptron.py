"""The perceptron whose hidden layer is not stored: values against float64, arguments, how it sits in PyTorch."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from gsasr_ops import perceptron
from tests.ops import instruction_sets

# (n, K, N, O): the heads' sizes, and lengths on both sides of vectors, of groups of them, and of blocks of rows.
SHAPES = [
    (50, 180, 720, 3),
    (25, 192, 768, 1),
    (1, 1, 1, 1),
    (23, 7, 17, 2),
    (24, 16, 48, 5),
    (49, 33, 95, 2),
    (7, 2, 3, 0),
]


def inputs_of(shape: tuple[int, ...], x_dtype: torch.dtype, weight_dtype: torch.dtype) -> list[Tensor]:
    """Hidden numbers and outputs of a few units; x is a part of wider rows."""
    n, K, N, outs = shape
    torch.manual_seed(0)
    x = torch.randn(n, 3 * K).to(x_dtype)[:, K : 2 * K]
    weight, out_weight = torch.randn(N, K) / K**0.5, torch.randn(outs, N) / N**0.5
    return [x, weight.to(weight_dtype), torch.randn(N), out_weight, torch.randn(outs)]


def exact(x: Tensor, weight: Tensor, bias: Tensor, out_weight: Tensor, out_bias: Tensor) -> Tensor:
    """By the formula, in float64, of the operands that are rounded to bfloat16."""
    x, weight = x.bfloat16().double(), weight.bfloat16().double()
    hidden = (x @ weight.t() + bias.double()).clamp(min=0)
    return hidden @ out_weight.double().t() + out_bias.double()


def check_values() -> None:
    """For one instruction set; also run in processes of their own. Sums of K and N products in float32."""
    for shape, *dtypes in itertools.product(SHAPES, *2 * [(torch.float32, torch.bfloat16)]):
        inputs = inputs_of(shape, *dtypes)
        found = perceptron(*inputs)
        assert found.dtype == torch.float32 and found.shape == (shape[0], shape[3])
        torch.testing.assert_close(found.double(), exact(*inputs), atol=1e-5, rtol=1e-5)


@instruction_sets.each
def test_values_with_each_instruction_set(name: str) -> None:
    instruction_sets.run_with(
        name,
        'from gsasr_ops import MULTIPLIES_BFLOAT16\n'
        'from tests.ops.test_perceptron import check_values\n'
        f'assert MULTIPLIES_BFLOAT16 == {name == "avx512bf16"}\n'
        'check_values()',
    )


def test_same_bits_for_any_number_of_threads_and_any_strides() -> None:
    x, weight, *others = inputs_of((100, 36, 70, 3), torch.bfloat16, torch.float32)
    threads = torch.get_num_threads()
    expected = perceptron(x, weight, *others)
    try:
        for count in (1, 2, 3, 8):
            torch.set_num_threads(count)
            assert torch.equal(perceptron(x, weight, *others), expected)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(perceptron(x.t().contiguous().t(), weight.t().contiguous().t(), *others), expected)
    assert torch.equal(perceptron(x[30:60], weight, *others), expected[30:60])


def test_nan_shows_where_it_belongs() -> None:
    """Of an input in its row, of a weight in every row."""
    x, *others = inputs_of((50, 36, 70, 3), torch.bfloat16, torch.float32)
    spoilt = x.clone()
    spoilt[30, 35] = torch.nan
    assert torch.equal(perceptron(spoilt, *others).isnan().all(1), torch.arange(50) == 30)
    others[0][69, 0] = torch.nan
    assert perceptron(x, *others).isnan().all()


def test_empty() -> None:
    assert perceptron(*inputs_of((0, 6, 8, 2), torch.bfloat16, torch.float32)).shape == (0, 2)


def test_opcheck_and_compiled() -> None:
    inputs = inputs_of((9, 6, 8, 2), torch.bfloat16, torch.float32)
    torch.library.opcheck(torch.ops.gsasr.perceptron, inputs)
    compiled = torch.compile(perceptron, fullgraph=True, backend='aot_eager')
    assert torch.equal(compiled(*inputs), perceptron(*inputs))
    with pytest.raises(NotImplementedError, match='the operator perceptron has no derivative'):
        perceptron(inputs[0], inputs[1].requires_grad_(), *inputs[2:]).sum().backward()


@pytest.mark.parametrize(
    ('number', 'change', 'message'),
    [
        (0, lambda t: t[0], r'x must be a matrix, got \(6\)'),
        (0, lambda t: t.double(), 'x must be of dtype float32 or bfloat16'),
        (0, lambda t: t[:, :0], r'x and weight must have at least one column .* got \(9, 0\)'),
        (1, lambda t: t[:0], r'x and weight must have at least one column .* and \(0, 6\)'),
        (1, lambda t: t[:, :5], r'weight must have the shape \(8, 6\), got \(8, 5\)'),
        (1, lambda t: t.half(), 'weight must be of dtype float32 or bfloat16'),
        (2, lambda t: t[:7], r'bias must have the shape \(8\), got \(7\)'),
        (3, lambda t: t[0], r'out_weight must be a matrix, got \(8\)'),
        (3, lambda t: t[:, :7], r'out_weight must have the shape \(2, 8\), got \(2, 7\)'),
        (4, lambda t: t[:1], r'out_bias must have the shape \(2\), got \(1\)'),
    ],
)
def test_refuses(number: int, change, message: str) -> None:
    inputs = inputs_of((9, 6, 8, 2), torch.float32, torch.float32)
    inputs[number] = change(inputs[number])
    with pytest.raises(RuntimeError, match=message):
        perceptron(*inputs)
    with pytest.raises(RuntimeError, match='bias must be of dtype float32'):
        torch.ops.gsasr.perceptron(
            *(t.double() if t.dim() == 1 else t for t in inputs_of((9, 6, 8, 2), *2 * [torch.float32]))
        )
