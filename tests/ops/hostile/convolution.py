"""Hostile calls of the convolution."""

from __future__ import annotations

import random

import torch

from gsasr_ops import convolution
from tests.ops.hostile.tensors import ERRORS, disturbed
from tests.ops.test_convolution import HALF, check, inputs_of

SIDES = (0, 1, 2, 3, 5, 8, 13)
CHANNELS = (1, 2, 3, 15, 16, 17, 31, 32, 33, 48)


def call(choice: random.Random) -> str:
    """One call; returns what became of it. Raises AssertionError where the result is wrong."""
    shape = (choice.choice((0, 1, 1, 2)), *choice.choices(SIDES, k=2), *choice.choices(CHANNELS, k=2))
    types = {'operands': choice.choice(HALF), 'dtype': choice.choice(HALF)}
    given = inputs_of(shape, choice.choice(HALF), seed=choice.randrange(1 << 30))
    if choice.random() < 0.5:
        given.pop()  # the residual
    ordinary = choice.random() < 0.5
    given = disturbed(given, not ordinary, choice)
    x, weight, bias, *residual = given
    try:
        if choice.random() < 0.3:  # the operator itself, past the function that converts parameters
            flags = [dtype == torch.bfloat16 for dtype in types.values()]
            torch.ops.gsasr.convolution(x, weight, bias, *residual or [None], *flags)
            return 'applied'
        output = convolution(x, weight, bias, residual=residual[0] if residual else None, **types)
    except ERRORS:
        return 'error'
    rounded = not all(tensor.is_floating_point() for tensor in given)  # weights of another type are larger
    if not ordinary or rounded or not output.numel() or output.device.type == 'meta':
        return 'applied'
    check(output, given, **types)
    return 'compared'
