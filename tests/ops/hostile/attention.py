"""Hostile calls of the window attention, forward and backward."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from gsasr_ops import window_attention
from tests.ops.hostile.tensors import ERRORS, STRANGE, misfit, spoil, strided
from tests.ops.test_attention import TOLERANCE, exact, inputs_of, rotations_of

LENGTHS = (1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 48, 49)


def call(choice: random.Random) -> str:
    """One call; returns what became of it. Raises AssertionError where the result is wrong."""
    dtype = choice.choice((torch.float32, torch.bfloat16))
    shape = (choice.randint(0, 3), choice.randint(1, 3), *choice.choices(LENGTHS, k=3))
    tensors = inputs_of(shape, dtype, choice.random() < 0.7, seed=choice.randrange(1 << 30))
    given = [tensor.contiguous() for tensor in tensors if tensor is not None]
    ordinary = choice.random() < 0.5
    if not ordinary:
        spoil(given, choice)
    given = [strided(tensor, choice) for tensor in given]
    if choice.random() < 0.3:
        number = choice.randrange(len(given))
        given[number] = misfit(given[number], choice)
    rotations = rotations_of(shape) if shape[4] % 2 == 0 and choice.random() < 0.5 else None
    if rotations is not None and choice.random() < 0.2:
        rotations = choice.choice((rotations[:0], rotations[:, :1], rotations[..., :-1], rotations.real.contiguous()))
    if choice.random() < 0.3:
        return _raw_call(given, rotations, choice)
    if choice.random() < 0.2:
        given = [tensor.detach().requires_grad_(tensor.is_floating_point()) for tensor in given]
    try:
        output = window_attention(*given, rotations=rotations)
        if output.requires_grad:
            output.sum().backward()
    except ERRORS:
        return 'error'
    # What needs a gradient is PyTorch's own attention, which rounds in between.
    if not ordinary or output.requires_grad or output.dtype not in TOLERANCE or output.device.type == 'meta':
        return 'attended'
    tolerance = {**TOLERANCE[output.dtype]}
    if rotations is not None and dtype == torch.bfloat16:
        tolerance['atol'] += 2**-5  # see tests.ops.test_attention.check_values; of many more draws
    torch.testing.assert_close(output.double(), exact(*given, rotations=rotations), **tolerance)
    return 'compared'


def _raw_call(given: list[Tensor], rotations: Tensor | None, choice: random.Random) -> str:
    """The operator itself, past the checks of the public function."""
    q, k, v, *bias = given
    if rotations is not None and rotations.is_complex():
        rotations = torch.view_as_real(rotations)
    scale = choice.choice((0.2, *STRANGE))
    try:
        torch.ops.gsasr.window_attention(q, k, v, bias[0] if bias else None, rotations, scale)
    except ERRORS:
        return 'error'
    return 'attended'
