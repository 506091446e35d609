"""What makes tensors hostile: values, layouts of memory, shapes and types that do not fit."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor

# What a caller may get; torch's own, of a tensor that does not fit, is a RuntimeError, of a layout NotImplementedError.
ERRORS = (ValueError, TypeError, RuntimeError, NotImplementedError)
STRANGE = (0.0, -0.0, 1e-45, 1e-30, -1.0, 1e30, -1e30, 3.4e38, float('inf'), float('-inf'), float('nan'))


def spoil(tensors: list[Tensor], choice: random.Random) -> None:
    """Puts a few strange values in."""
    for tensor in tensors:
        for _ in range(choice.randrange(4) if tensor.numel() else 0):
            tensor.view(-1)[choice.randrange(tensor.numel())] = choice.choice(STRANGE)


def strided(tensor: Tensor, choice: random.Random) -> Tensor:
    """The same values in another layout of memory (steps, offsets, transposed axes), or the first image's for all."""
    kind = choice.randrange(5)
    between = float('nan') if tensor.is_floating_point() else -1
    if kind == 0 or tensor.dim() == 0:
        return tensor
    if kind == 1:  # every second element of a larger tensor
        larger = tensor.new_full((*tensor.shape, 2), between)
        larger[..., 0] = tensor
        return larger[..., 0]
    if kind == 2:  # last axis first in memory
        return tensor.movedim(-1, 0).contiguous().movedim(0, -1)
    if kind == 3:  # at an odd offset
        larger = tensor.new_full((tensor.numel() + 3,), between)
        larger[3:] = tensor.reshape(-1)
        return larger[3:].view(tensor.shape)
    return tensor[:1].expand(tensor.shape)  # all images the same memory


def misfit(tensor: Tensor, choice: random.Random) -> Tensor:
    """Another shape, type, device or layout."""
    types = (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.complex64)
    changes: tuple[Callable[[Tensor], Tensor], ...] = (
        lambda t: t[..., :-1],
        lambda t: t.unsqueeze(0),
        lambda t: t.flatten(),
        lambda t: torch.cat([t, t]),
        lambda t: t.to(choice.choice(types)),
        lambda t: t.to('meta'),
        lambda t: t.new_empty(0),
        lambda t: t.to_sparse() if t.dim() else t,
    )
    return choice.choice(changes)(tensor)


def tampered(packed: Tensor, choice: random.Random) -> Tensor:
    """What a packed weight (ops/common/packed.h) may have become: bytes changed, most of them in the header, left out
    or put in, laid out elsewhere, or another tensor."""
    packed = packed.clone()
    for _ in range(choice.randrange(3)):
        place = choice.randrange(len(packed) if choice.random() < 0.7 else 48)
        packed[place] = choice.choice((0, 1, 2, 127, 128, 255))
    length = choice.randrange(len(packed) + 1)
    changes: tuple[Callable[[Tensor], Tensor], ...] = (
        lambda t: t[:length],
        lambda t: torch.cat([t, t[:length]]),
        lambda t: misfit(t, choice),
        lambda t: torch.cat([t[:3], t])[3:],
        lambda t: torch.stack([t, t], 1)[:, 1],
        lambda t: t[:1].expand(t.shape),
    )
    return choice.choice(changes)(packed) if choice.random() < 0.4 else packed


def disturbed(tensors: list[Tensor], spoilt: bool, choice: random.Random) -> list[Tensor]:
    """In other layouts of memory, one of them at times a misfit; if `spoilt`, with a few strange values."""
    tensors = [tensor.contiguous() for tensor in tensors]
    if spoilt:
        spoil(tensors, choice)
    tensors = [strided(tensor, choice) for tensor in tensors]
    if choice.random() < 0.3:
        number = choice.randrange(len(tensors))
        tensors[number] = misfit(tensors[number], choice)
    return tensors
