"""Hostile calls of the convolution."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor

from gsasr_ops import PackedConvolution, convolution, pack_convolution
from tests.ops.convolutions.test_convolution import HALF, check, inputs_of
from tests.ops.hostile.tensors import ERRORS, disturbed, tampered

SIDES = (0, 1, 2, 3, 5, 8, 13)
CHANNELS = (1, 2, 3, 15, 16, 17, 31, 32, 33, 48)


def call(choice: random.Random) -> str:
    """One call; returns what became of it. Raises AssertionError where the result is wrong."""
    shape = (choice.choice((0, 1, 1, 2)), *choice.choices(SIDES, k=2), *choice.choices(CHANNELS, k=2))
    types = {'operands': choice.choice(HALF), 'dtype': choice.choice(HALF)}
    side = choice.choice((2, 4))
    given = inputs_of(shape, choice.choice(HALF), seed=choice.randrange(1 << 30))
    if choice.random() < 0.5:
        given.pop()  # the residual
    ordinary = choice.random() < 0.5
    given = disturbed(given, not ordinary, choice)
    x, weight, bias, *residual = given
    is_packed = choice.random() < 0.4
    try:
        if choice.random() < 0.3:  # the operator itself, past the function that converts parameters
            flags = [dtype == torch.bfloat16 for dtype in types.values()]
            torch.ops.gsasr.convolution(x, weight, bias, None, *residual or [None], choice.choice((side, 3)), *flags)
            return 'applied'
        layer: list[Any] = [weight, bias]
        if is_packed:
            layer = [pack_convolution(weight, bias, operands=types['operands'])]
            if choice.random() < 0.5:
                return _tampered_call(x, layer[0], types['dtype'], choice)
        output = convolution(x, *layer, residual=residual[0] if residual else None, side=side, **types)
    except ERRORS:
        return 'packed error' if is_packed else 'error'
    rounded = not all(tensor.is_floating_point() for tensor in given)  # weights of another type are larger
    if not ordinary or rounded or not output.numel() or output.device.type == 'meta':
        return 'applied'
    check(output, given, **types, side=side)
    return 'packed compared' if is_packed else 'compared'


def _tampered_call(x: Tensor, layer: PackedConvolution, dtype: torch.dtype, choice: random.Random) -> str:
    """With bytes that pack_convolution did not make of this weight."""
    other = pack_convolution(layer.weight.transpose(0, 1), layer.weight[0, :, 0, 0], operands=choice.choice(HALF))
    packed = (other if choice.random() < 0.3 else layer).packed
    changed = tampered(packed, choice) if packed is not None else None
    convolution(x, PackedConvolution(layer.weight, layer.bias, layer.operands, changed), dtype=dtype)
    return 'packed applied'
