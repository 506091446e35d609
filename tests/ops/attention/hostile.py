"""Hostile calls of the window attention, forward and backward."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor

from gsasr_ops import window_attention
from tests.ops.attention.test_attention import TOLERANCE, by_windows, exact, inputs_of, numbered_of, rotations_of
from tests.ops.hostile.tensors import ERRORS, STRANGE, disturbed, misfit, strided

LENGTHS = (1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 48, 49)


def call(choice: random.Random) -> str:
    """One call; returns what became of it. Raises AssertionError where the result is wrong."""
    dtype = choice.choice((torch.float32, torch.bfloat16))
    shape = (choice.randint(0, 3), choice.randint(1, 3), *choice.choices(LENGTHS, k=3))
    inputs, windows = _inputs(shape, dtype, choice)
    ordinary = choice.random() < 0.5
    given = disturbed([tensor for tensor in inputs if tensor is not None], not ordinary, choice)
    if windows and choice.random() < 0.3:
        name = choice.choice(tuple(windows))
        windows[name] = _other_numbers(windows[name], choice)
    rotations = rotations_of(shape) if shape[4] % 2 == 0 and choice.random() < 0.5 else None
    if rotations is not None and choice.random() < 0.2:
        rotations = choice.choice((rotations[:0], rotations[:, :1], rotations[..., :-1], rotations.real.contiguous()))
    if choice.random() < 0.3:
        return _raw_call(given, rotations, windows, choice)
    if choice.random() < 0.2:
        given = [tensor.detach().requires_grad_(tensor.is_floating_point()) for tensor in given]
    try:
        output = window_attention(*given, rotations=rotations, **windows)
        if output.requires_grad:
            output.sum().backward()
    except (*ERRORS, IndexError):  # PyTorch's own, of a number that is too large
        return 'error'
    if output.dtype not in TOLERANCE or output.device.type == 'meta':
        return 'attended'
    if windows:
        _check_numbers(given, **windows)
    if not ordinary:
        return 'attended'
    tolerance = {**TOLERANCE[output.dtype]}
    if rotations is not None and dtype == torch.bfloat16:
        tolerance['atol'] += 2**-5  # see tests.ops.attention.test_attention.check_values; of many more draws
    expected = (
        by_windows(exact, *given, rotations=rotations, **windows) if windows else exact(*given, rotations=rotations)
    )
    torch.testing.assert_close(output.detach().double(), expected, **tolerance)
    return 'compared in windows' if windows else 'compared'


def _inputs(
    shape: tuple[int, ...], dtype: torch.dtype, choice: random.Random
) -> tuple[list[Tensor | None], dict[str, Any]]:
    """q, k, v and the bias; where tokens are numbered, windows by their names."""
    with_bias, seed = choice.random() < 0.7, choice.randrange(1 << 30)
    if choice.random() < 0.5:
        return inputs_of(shape, dtype, with_bias, seed=seed), {}
    numbered = numbered_of(shape, dtype, with_bias, own_context=choice.random() < 0.7, seed=seed)
    windows = {name: numbered.pop(name) for name in ('windows', 'context_windows')}
    return list(numbered.values()), windows


def _other_numbers(numbers: Tensor | None, choice: random.Random) -> Tensor | None:
    """One number changed, which may still be one, or another shape, type, device or layout."""
    if numbers is None or choice.random() < 0.1:
        return None if numbers is not None else torch.zeros(1, 1, dtype=torch.int64)
    if choice.random() < 0.4:
        return choice.choice((misfit(numbers, choice), numbers.int(), numbers.t(), numbers[:, :0]))
    if choice.random() < 0.3:
        return strided(numbers, choice)
    numbers = numbers.clone()
    if numbers.numel():
        strange = (-1, 0, numbers.numel() - 1, numbers.numel(), 1 << 31, 1 << 62, -(1 << 63))
        numbers.view(-1)[choice.randrange(numbers.numel())] = choice.choice(strange)
    return numbers


def _check_numbers(given: list[Tensor], windows: Tensor, context_windows: Tensor | None) -> None:
    """Other numbers must not have been accepted."""
    queries, keys = given[0].shape[0], given[1].shape[0]
    assert sorted(windows.flatten().tolist()) == list(range(queries))
    context = windows if context_windows is None else context_windows
    assert all(0 <= number < keys for number in context.flatten().tolist())


def _raw_call(given: list[Tensor], rotations: Tensor | None, windows: dict[str, Any], choice: random.Random) -> str:
    """The operator itself, past the checks of the public function."""
    q, k, v, *bias = given
    if rotations is not None and rotations.is_complex():
        rotations = torch.view_as_real(rotations)
    numbers = [windows.get('windows'), windows.get('context_windows', windows.get('windows'))]
    scale = choice.choice((0.2, *STRANGE))
    try:
        output = torch.ops.gsasr.window_attention(q, k, v, bias[0] if bias else None, rotations, *numbers, scale)
    except ERRORS:
        return 'error'
    on_meta = any(tensor is not None and tensor.device.type == 'meta' for tensor in (*given, rotations, *numbers))
    if numbers[0] is not None and output.device.type != 'meta' and not on_meta:
        _check_numbers(given, *numbers)
    return 'attended'
