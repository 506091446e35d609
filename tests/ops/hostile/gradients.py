"""Hostile calls of the layers' gradients: the operators themselves, for what autograd passes them fits."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gsasr_ops.attention.reference import token_gradients
from gsasr_ops.convolutions.reference import convolution_weight_backward
from gsasr_ops.perceptrons.reference import perceptron_backward
from tests.ops.hostile.tensors import ERRORS, disturbed

SIDES = (0, 1, 2, 3, 5, 8, 13)
WIDTHS = (1, 2, 3, 15, 16, 17, 31, 32, 33, 48)


def call(choice: random.Random) -> str:
    """One call; returns what became of it. Raises AssertionError where the result is wrong."""
    generator = torch.Generator().manual_seed(choice.randrange(1 << 30))

    def values(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(choice.choice((torch.float32, torch.float32, torch.bfloat16)))

    make = choice.choice((_perceptron, _convolution, _attention))
    operator, twin, tensors, arranged = make(values, choice)
    ordinary = choice.random() < 0.5
    tensors = disturbed(tensors, not ordinary, choice)
    try:
        found = operator(*arranged(tensors))
    except ERRORS:
        return 'error'
    if not ordinary or any(not t.is_floating_point() or t.is_meta or not t.numel() for t in tensors):
        return 'applied'
    for gradient, correct in zip(found, twin(*arranged(tensors)), strict=True):
        assert gradient.shape == correct.shape and gradient.dtype == correct.dtype
        # The twins round to bfloat16 at other places, by 2^-9 each, and a ReLU may leave out others by that.
        size = 0.1 * correct.float().norm() + 0.01 * correct.numel() ** 0.5
        assert (gradient.float() - correct.float()).norm() <= size
    return 'compared'


Call = tuple[Callable[..., Any], Callable[..., Any], list[Tensor], Callable[[list[Tensor]], list[Any]]]


def _perceptron(values: Callable[..., Tensor], choice: random.Random) -> Call:
    n = choice.choice((0, 1, 2, 47, 48, 97))
    widths = choice.choices(WIDTHS, k=choice.randint(2, 4))
    count, half, normed = len(widths) - 1, choice.random() < 0.5, choice.random() < 0.5
    tensors = [values(n, widths[-1]), values(n, widths[0])]
    tensors += [values(outs, ins) / ins**0.5 for ins, outs in itertools.pairwise(widths)]
    tensors += [values(outs).float() for outs in widths[1:]]
    tensors += [values(widths[0]).float(), values(widths[0]).float()] if normed else []

    def arranged(given: list[Tensor]) -> list[Any]:
        v_output, x, *layers = given
        norm = layers[2 * count :] or [None, None]
        return [v_output, x, layers[:count], layers[count : 2 * count], None, *norm, 1e-5, False, half]

    return torch.ops.gsasr.perceptron_backward, perceptron_backward, tensors, arranged


def _convolution(values: Callable[..., Tensor], choice: random.Random) -> Call:
    B, H, W, C, N = choice.choice((0, 1, 2)), *choice.choices(SIDES, k=2), *choice.choices(WIDTHS, k=2)
    half, side = choice.random() < 0.5, choice.choice((2, 2, 4))
    tensors = [values(B, H, W, N), values(B, H, W, C)]
    operator = torch.ops.gsasr.convolution_weight_backward
    return operator, convolution_weight_backward, tensors, lambda given: [*given, side, half]


def _attention(values: Callable[..., Tensor], choice: random.Random) -> Call:
    M, heads, T, S = choice.choice((0, 1, 3)), choice.choice((1, 2)), *choice.choices(SIDES, k=2)
    D, dtype, scale = choice.choice(WIDTHS), choice.choice((torch.float32, torch.bfloat16)), 0.2
    sizes = (M, T, heads * D), (M, heads, T, D), (M, heads, S, D), (M, heads, S, D)
    tensors = [values(*size).to(dtype) for size in sizes]
    tensors += [values(heads, T, S).float()] if choice.random() < 0.5 else []

    def arranged(given: list[Tensor]) -> list[Any]:
        return [*given[:4], given[4] if len(given) > 4 else None, None, None, scale]

    return torch.ops.gsasr.window_attention_backward, token_gradients, tensors, arranged
