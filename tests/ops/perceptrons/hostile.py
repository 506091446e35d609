"""Hostile calls of the perceptron."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gsasr_ops import PackedPerceptron, pack_perceptron, perceptron
from tests.ops.hostile.tensors import ERRORS, STRANGE, misfit, spoil, strided, tampered
from tests.ops.perceptrons.test_perceptron import DTYPES, check, inputs_of, packed, raw

ROWS = (0, 1, 2, 5, 6, 7, 11, 12, 13, 47, 48, 49, 97)
WIDTHS = (1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 48, 49)


def call(choice: random.Random) -> str:
    """One call; returns what became of it. Raises AssertionError where the result is wrong."""
    inputs = _inputs(choice)
    ordinary = choice.random() < 0.5
    if not ordinary:
        inputs = _changed(inputs, lambda t: _spoilt(t, choice))
    inputs = _changed(inputs, lambda t: strided(t, choice))
    if choice.random() < 0.3:
        unlucky = choice.randrange(len(_tensors(inputs)))
        numbers = itertools.count()
        inputs = _changed(inputs, lambda t: misfit(t, choice) if next(numbers) == unlucky else t)
    on_meta = any(tensor.device.type == 'meta' for tensor in _tensors(inputs))  # where only shapes are computed
    if not on_meta and choice.random() < 0.15:
        inputs = _spoilt_call(inputs, choice)
    if choice.random() < 0.3:
        return _raw_call(inputs, choice)
    is_packed = choice.random() < 0.4
    try:
        if is_packed and choice.random() < 0.5:
            return _tampered_call(inputs, choice)
        output = perceptron(**(packed(inputs) if is_packed else inputs))
    except ERRORS:
        return 'packed error' if is_packed else 'error'
    if not ordinary or on_meta:
        return 'applied'
    check(output, inputs)
    return 'packed compared' if is_packed else 'compared'


def _inputs(choice: random.Random) -> dict[str, Any]:
    n, widths = choice.choice(ROWS), choice.choices(WIDTHS, k=choice.randint(2, 5))
    adds_x = choice.random() < 0.3
    if adds_x:
        widths[-1] = widths[0]
    divisors = [B for B in range(1, n + 1) if n % B == 0] or [1, 2]
    return inputs_of(
        n,
        tuple(widths),
        B=choice.choice((0, *divisors)),
        norm=choice.random() < 0.5,
        adds_x=adds_x,
        residual=choice.random() < 0.5,
        x_dtype=torch.float32 if adds_x else choice.choice(DTYPES),
        weight_dtype=choice.choice(DTYPES),
        operands=choice.choice(DTYPES),
        dtype=choice.choice(DTYPES),
        seed=choice.randrange(1 << 30),
    )


def _changed(given: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same structure with each tensor changed."""
    if isinstance(given, Tensor):
        return change(given)
    if isinstance(given, dict):
        return {name: _changed(value, change) for name, value in given.items()}
    return type(given)(_changed(value, change) for value in given) if isinstance(given, list | tuple) else given


def _tensors(given: Any) -> list[Tensor]:
    tensors: list[Tensor] = []
    _changed(given, lambda t: tensors.append(t) or t)
    return tensors


def _spoilt(tensor: Tensor, choice: random.Random) -> Tensor:
    tensor = tensor.contiguous()
    spoil([tensor], choice)
    return tensor


def _spoilt_call(inputs: dict[str, Any], choice: random.Random) -> dict[str, Any]:
    """Too many or too few layers, one thing in the place of another, strange numbers, other types."""
    weights, biases, norm = inputs['weights'], inputs['biases'], inputs['norm']
    changes: tuple[dict[str, Any], ...] = (
        {'weights': weights[:-1]},
        {'weights': [], 'biases': []},
        {'weights': weights[::-1]},
        {'weights': weights * 2, 'biases': biases * 2},
        {'biases': [*biases, biases[0]]},
        {'biases': biases[0]},
        {'norm': (*norm[:2], choice.choice(STRANGE)) if norm else (biases[0], None, 1e-5)},
        {'adds_x': not inputs['adds_x']},
        {'residual': inputs['x']},
        {'added': inputs['x']},
        {'x': weights[0]},
        {choice.choice(('operands', 'dtype')): choice.choice((torch.float16, torch.int8, None))},
    )
    return inputs | choice.choice(changes)


def _tampered_call(inputs: dict[str, Any], choice: random.Random) -> str:
    """With bytes that pack_perceptron did not make of these weights."""
    given = packed(inputs)
    right: PackedPerceptron = given['weights']
    other = pack_perceptron(inputs['weights'][::-1], inputs['biases'][::-1], operands=choice.choice(DTYPES))
    bytes_of = list(right.packed)
    if bytes_of:
        number = choice.randrange(len(bytes_of))
        bytes_of[number] = tampered((other if choice.random() < 0.3 else right).packed[number], choice)
    if choice.random() < 0.1:
        bytes_of = choice.choice((bytes_of[1:], bytes_of * 2))
    perceptron(**given | {'weights': PackedPerceptron(right.weights, right.biases, right.operands, tuple(bytes_of))})
    return 'packed applied'


def _raw_call(inputs: dict[str, Any], choice: random.Random) -> str:
    """The operator itself, past the function that converts parameters."""
    given = raw(inputs)
    for name in ('norm_weight', 'norm_bias'):
        if choice.random() < 0.1:
            given[name] = None
    if choice.random() < 0.2:
        given['eps'] = choice.choice(STRANGE)
    try:
        torch.ops.gsasr.perceptron(**given)
    except ERRORS:
        return 'error'
    return 'applied'
