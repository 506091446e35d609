"""Gradients of the layers' operators against those of their formulas in float64, by autograd."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gsasr_ops import convolution, perceptron, window_attention
from tests.ops import instruction_sets

HALF = (torch.float32, torch.bfloat16)


def compare(
    call: Callable[..., Tensor],
    formula: Callable[..., Tensor],
    inputs: dict[str, Any],
    *,
    in_bfloat16: bool,
    tolerance: float = 0.02,
) -> None:
    """All gradients, with a random gradient of the result.

    By the norm of the whole gradient of each input: in float32 some hundred roundings of 2^-24 each; in bfloat16 the
    factors of each product are off by 2^-9 at most, 0.16 % on average for two, through at most five products.

    Args:
        tolerance: in bfloat16.
    """
    leaves = {key: leaf(value) for key, value in inputs.items()}
    result = call(**leaves)
    generator = torch.Generator().manual_seed(7)
    v_result = torch.randn(result.shape, generator=generator).to(result.dtype)
    exact_leaves = {key: leaf(value, torch.float64) for key, value in inputs.items()}
    wanted = [t for t in tensors(exact_leaves) if t.requires_grad]
    found = torch.autograd.grad(result, [t for t in tensors(leaves) if t.requires_grad], v_result)
    exact = torch.autograd.grad(formula(**exact_leaves), wanted, v_result.double())
    for gradient, correct in zip(found, exact, strict=True):
        assert gradient.isfinite().all()
        error = (gradient.double() - correct).norm() / correct.norm()
        assert error < (tolerance if in_bfloat16 or gradient.dtype == torch.bfloat16 else 2e-5), error


def leaf(value: Any, dtype: torch.dtype | None = None) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(leaf(one, dtype) for one in value)
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    # To the strides of the value, in a copy.
    return (value.detach() if dtype is None else value.detach().to(dtype)).requires_grad_()


def tensors(inputs: dict[str, Any]) -> list[Tensor]:
    flat: list[Any] = []
    for value in inputs.values():
        flat += value if isinstance(value, list | tuple) else [value]
    return [value for value in flat if isinstance(value, Tensor)]


# ------------------------------------------------------------------------------------------------- perceptron ------


def perceptron_formula(
    x: Tensor,
    weights: list[Tensor],
    biases: list[Tensor],
    added: Tensor | None,
    norm: tuple[Tensor, Tensor, float] | None,
    adds_x: bool,
    residual: Tensor | None,
    operands: torch.dtype,
) -> Tensor:
    """Operands are rounded: else a ReLU would leave out others, where its input is near 0."""

    def rounded(x: Tensor) -> Tensor:
        return x + (x.to(operands).to(x.dtype) - x).detach() if operands == torch.bfloat16 else x

    y = x if added is None else x + added.repeat_interleave(len(x) // len(added), 0)
    result = y if norm is None else F.layer_norm(y, y.shape[1:], *norm)
    for i, (weight, bias) in enumerate(zip(weights, biases)):
        result = F.linear(rounded(F.relu(result) if i else result), rounded(weight), bias)
    for addend in (y if adds_x else None, residual):
        result = result if addend is None else result + addend
    return result


# Rows of less than a tile and a block, and of several parts; widths on both sides of vectors and of tiles.
@pytest.mark.parametrize(
    ('n', 'widths'),
    [
        (1, (1, 1)),
        (7, (3, 5, 2)),
        (100, (48, 48, 192, 2)),
        (97, (17, 31, 17)),
        (4700, (12, 12)),
        (96, (36, 180, 13, 36)),
    ],
)
@pytest.mark.parametrize(('operands', 'x_dtype', 'dtype'), list(itertools.product(HALF, HALF, HALF)))
def test_perceptron(
    n: int, widths: tuple[int, ...], operands: torch.dtype, x_dtype: torch.dtype, dtype: torch.dtype
) -> None:
    torch.manual_seed(n)
    K, M = widths[0], widths[-1]
    inputs: dict[str, Any] = {
        'x': torch.randn(n, K + 3).to(x_dtype)[:, 1:-2],
        'weights': [torch.randn(outs, ins) / ins**0.5 for ins, outs in itertools.pairwise(widths)],
        'biases': [torch.randn(outs) for outs in widths[1:]],
        'added': torch.randn(n if n < 10 else n // 4 if n % 4 == 0 else 1, K) if n > 1 else None,
        'norm': (torch.randn(K), torch.randn(K), 1e-5) if K > 3 else None,
        'adds_x': K == M and x_dtype == torch.float32,
        'residual': torch.randn(n, M) if n % 2 else None,
    }
    compare(
        lambda **given: perceptron(**given, operands=operands, dtype=dtype),
        functools.partial(perceptron_formula, operands=operands),
        inputs,
        in_bfloat16=torch.bfloat16 in (operands, x_dtype),  # the gradient of `added` is the sum of that of x
    )


# ------------------------------------------------------------------------------------------------ convolution ------


def convolution_formula(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None) -> Tensor:
    y = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=1).permute(0, 2, 3, 1)
    return y if residual is None else y + residual


# Odd sides, sides shorter than a square, and more squares than a block and than a part.
@pytest.mark.parametrize(
    'shape', [(1, 1, 1, 1, 1), (2, 13, 9, 17, 33), (1, 5, 7, 64, 40), (3, 2, 3, 16, 13), (2, 40, 34, 5, 12)]
)
@pytest.mark.parametrize(('operands', 'x_dtype', 'dtype'), list(itertools.product(HALF, HALF, HALF)))
@pytest.mark.parametrize('side', [2, 4])
def test_convolution(
    shape: tuple[int, ...], operands: torch.dtype, x_dtype: torch.dtype, dtype: torch.dtype, side: int
) -> None:
    if side == 4 and operands == torch.float32:
        pytest.skip('squares of 4 are for bfloat16')
    B, H, W, C, N = shape
    torch.manual_seed(C)
    inputs = {
        'x': torch.randn(B, H + 2, W + 1, C + 3).to(x_dtype)[:, 1:-1, 1:, 2:-1],
        'weight': torch.randn(N, C, 3, 3) / (9 * C) ** 0.5,
        'bias': torch.randn(N),
        'residual': torch.randn(B, H, W, N) if C % 2 else None,
    }
    compare(
        lambda **given: convolution(**given, operands=operands, dtype=dtype, side=side),
        convolution_formula,
        inputs,
        in_bfloat16=operands == torch.bfloat16,
        # Squares of 4: 1.1 % on average; of a single pixel and channel, where nothing averages, some times that.
        tolerance=0.02 if side == 2 else 0.04,
    )


# -------------------------------------------------------------------------------------------------- attention ------


def attention_formula(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    windows: Tensor | None = None,
    context_windows: Tensor | None = None,
) -> Tensor:
    """With (any, heads, D) where there are windows."""
    if windows is not None:
        context_windows = windows if context_windows is None else context_windows
        q, k, v = q[windows].transpose(1, 2), k[context_windows].transpose(1, 2), v[context_windows].transpose(1, 2)
    logits = q @ k.transpose(2, 3) / q.shape[3] ** 0.5
    mixed = (logits if bias is None else logits + bias).softmax(3) @ v
    mixed = mixed.transpose(1, 2).flatten(2)
    return mixed if windows is None else mixed.flatten(0, 1)[windows.flatten().argsort()]


# M, heads, T, S, D: on both sides of vectors, of tiles and of groups of queries.
@pytest.mark.parametrize(
    'shape', [(1, 1, 1, 2, 1), (3, 2, 64, 64, 12), (2, 3, 17, 31, 9), (2, 1, 7, 5, 33), (1, 2, 144, 144, 30)]
)
@pytest.mark.parametrize('dtype', HALF)
@pytest.mark.parametrize('numbered', [False, True])
def test_attention(shape: tuple[int, ...], dtype: torch.dtype, numbered: bool) -> None:
    M, heads, T, S, D = shape
    torch.manual_seed(T)
    inputs: dict[str, Any] = {'bias': torch.randn(heads, T, S) if D % 2 == 0 else None}
    if numbered:
        # A key may be in several windows, or in none.
        inputs |= {'windows': torch.randperm(M * T).view(M, T), 'context_windows': torch.randint(S + 3, (M, S))}
        shapes = {'q': (M * T, heads, D), 'k': (S + 3, heads, D), 'v': (S + 3, heads, D)}
    else:
        shapes = {'q': (M, heads, T, D), 'k': (M, heads, S, D), 'v': (M, heads, S, D)}
    for name, size in shapes.items():
        inputs[name] = torch.randn(*size[:-1], D + 2).to(dtype)[..., 1:-1]
    compare(window_attention, attention_formula, inputs, in_bfloat16=dtype == torch.bfloat16)


# ----------------------------------------------------------------------------------------------------- others ------


@instruction_sets.each
def test_instruction_sets(name: str) -> None:
    """Odd sizes, in both types of operands, with the kernels of each instruction set."""
    script = """
import torch
from tests.ops import test_layer_gradients as tests
for operands in tests.HALF:
    for n, widths in ((97, (17, 31, 17)), (100, (48, 48, 192, 2))):
        tests.test_perceptron(n, widths, operands, torch.float32, torch.float32)
    for shape in ((2, 13, 9, 17, 33), (3, 2, 3, 16, 13)):
        for side in (2, 4) if operands == torch.bfloat16 else (2,):
            tests.test_convolution(shape, operands, torch.float32, operands, side)
    for numbered in (False, True):
        tests.test_attention((2, 3, 17, 31, 9), operands, numbered)
"""
    instruction_sets.run_with(name, script)


def test_gradients_do_not_depend_on_threads() -> None:
    """Of several parts each: their sums are added in one order."""
    torch.manual_seed(0)
    x, v = torch.randn(7000, 20), torch.randn(7000, 30)
    weights, biases = [torch.randn(30, 20)], [torch.randn(30)]
    maps, v_maps = torch.randn(2, 60, 50, 6), torch.randn(2, 60, 50, 9)
    tokens = torch.randn(6, 5, 40, 12)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            ops = torch.ops.gsasr
            results.append(
                [
                    *ops.perceptron_backward(v, x, weights, biases, None, None, None, 0.0, False, True),
                    *ops.convolution_weight_backward(v_maps, maps, 4, True),
                    *ops.window_attention_backward(torch.ones(6, 40, 60), *[tokens] * 3, None, None, None, 1.0),
                ]
            )
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.slow
def test_twins_round_as_the_kernels_do() -> None:
    """In PyTorch alone, with the same operands: only the order of sums, and roundings on the verge, differ."""
    from gsasr_ops.attention.reference import token_gradients
    from gsasr_ops.convolutions.reference import convolution_weight_backward
    from gsasr_ops.perceptrons.reference import perceptron_backward

    torch.manual_seed(0)
    ops = torch.ops.gsasr
    x, v = torch.randn(200, 24), torch.randn(200, 24)
    layers = [torch.randn(40, 24) / 5, torch.randn(24, 40) / 6], [torch.randn(40), torch.randn(24)]
    given = (v, x, *layers, torch.randn(4, 24), torch.randn(24), torch.randn(24), 1e-5, True)
    maps, v_maps = torch.randn(2, 6, 5, 6), torch.randn(2, 6, 5, 9)
    attention = (torch.randn(3, 7, 24), *(torch.randn(3, 2, 7, 12) for _ in range(3)), torch.randn(2, 7, 7), None, None)
    for half in (False, True):
        torch.library.opcheck(ops.perceptron_backward, (*given, half))
    torch.library.opcheck(ops.window_attention_backward, (*attention, 0.3))
    pairs = [
        *((ops.perceptron_backward(*given, half), perceptron_backward(*given, half)) for half in (False, True)),
        (ops.convolution_weight_backward(v_maps, maps, 2, False), convolution_weight_backward(v_maps, maps, 2, False)),
        (ops.window_attention_backward(*attention, 0.3), token_gradients(*attention, 0.3)),
    ]
    for kernel, twin in pairs:
        for a, b in zip(kernel, twin, strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            assert (a - b).norm() <= 2e-3 * b.norm()
