"""Random hostile calls of the rasterizer: `python -m tests.ops.hostile CALLS SEED`.

Each has to end in an error or in the right result. To be run with a sanitized library, which ends the process at the
first read or write out of bounds.
"""

from __future__ import annotations

import random
import sys
from typing import Any

import torch
from torch import Tensor

from gsasr_ops import rasterize_gaussians, rasterize_gaussians_reference

ERRORS = (ValueError, TypeError, RuntimeError)  # torch's own, of a tensor that does not fit, is a RuntimeError
STRANGE = (0.0, -0.0, 1e-45, 1e-30, -1.0, 1e30, -1e30, 3.4e38, float('inf'), float('-inf'), float('nan'))
SIDES = (1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64)
BAD_SIDES = (0, -1, 1 << 23, (1 << 23) + 1, 1 << 31, 1 << 40, -(1 << 62))


def strided(tensor: Tensor, choice: random.Random) -> Tensor:
    """The same values in another layout of memory: steps, offsets, transposed axes, repeated elements."""
    kind = choice.randrange(5)
    if kind == 0 or tensor.dim() == 0:
        return tensor
    if kind == 1:  # every second element of a larger tensor
        larger = tensor.new_full((*tensor.shape, 2), float('nan'))
        larger[..., 0] = tensor
        return larger[..., 0]
    if kind == 2:  # last axis first in memory
        return tensor.movedim(-1, 0).contiguous().movedim(0, -1)
    if kind == 3:  # at an odd offset
        larger = tensor.new_full((tensor.numel() + 3,), float('nan'))
        larger[3:] = tensor.reshape(-1)
        return larger[3:].view(tensor.shape)
    return tensor[:1].expand(tensor.shape)  # all images the same memory


def inputs(choice: random.Random, dtype: torch.dtype) -> tuple[list[Tensor], bool]:
    """Five tensors, and whether their values are all ordinary."""
    B, N, C = choice.choice((0, 1, 1, 2, 3)), choice.choice((0, 1, 2, 17, 64)), choice.randint(1, 4)
    generator = torch.Generator().manual_seed(choice.randrange(1 << 30))

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    tensors = [
        uniform(B, N, 2) * 20 - 4,
        0.1 + uniform(B, N, 2),
        1.8 * uniform(B, N) - 0.9,
        uniform(B, N),
        uniform(B, N, C),
    ]
    ordinary = True
    if choice.random() < 0.5:
        ordinary = False
        for tensor in tensors:
            for _ in range(choice.randrange(4) if tensor.numel() else 0):
                tensor.view(-1)[choice.randrange(tensor.numel())] = choice.choice(STRANGE)
    return [strided(tensor.to(dtype), choice) for tensor in tensors], ordinary


def misfit(tensors: list[Tensor], choice: random.Random) -> None:
    """Gives one tensor another shape or type."""
    number = choice.randrange(5)
    changes = [
        lambda t: t[..., :-1],
        lambda t: t.unsqueeze(0),
        lambda t: t.flatten(),
        lambda t: torch.cat([t, t]),
        lambda t: t.to(choice.choice((torch.float16, torch.float64, torch.int64, torch.bool, torch.complex64))),
        lambda t: t.to('meta'),
        lambda t: t.new_empty(0),
        lambda t: t.to_sparse() if t.dim() else t,
    ]
    tensors[number] = choice.choice(changes)(tensors[number])


def call(choice: random.Random) -> str:
    """One call; returns what became of it. Raises AssertionError where the result is wrong."""
    dtype = choice.choice((torch.float32, torch.float32, torch.float64))
    tensors, ordinary = inputs(choice, dtype)
    B = tensors[0].shape[0]
    sizes = [(choice.choice(SIDES), choice.choice(SIDES)) for _ in range(B)]
    size: Any = sizes if choice.random() < 0.5 else (choice.choice(SIDES), choice.choice(SIDES))
    scale: Any = choice.choice((1, 1.0, 3.7, (2.5, 4.0), [choice.uniform(0.1, 30) for _ in range(B)]))
    options: dict[str, Any] = {'support': choice.choice((4.5, 3.0, 0.5)), 'window': choice.choice((None, None, 0.1))}
    if choice.random() < 0.3:
        misfit(tensors, choice)
    if choice.random() < 0.15:
        size = choice.choice((choice.choice(BAD_SIDES), (choice.choice(BAD_SIDES),) * 2, [*sizes, (3, 3)], 'ab'))
    if choice.random() < 0.15:
        scale = choice.choice((*STRANGE, [1.0] * (B + 1), (1.0, -2.0), 'x', None, 1e-300, 1e300))
    if choice.random() < 0.1:
        options[choice.choice(('support', 'window'))] = choice.choice((*STRANGE, 'x', 1e300))

    leaves = [t.detach().requires_grad_() if t.is_floating_point() else t for t in tensors]
    try:
        result = rasterize_gaussians(*leaves, size, scale, **options)
    except ERRORS:
        return _raw_call(tensors, choice)
    images = result if isinstance(result, list) else [result]
    if any(image.requires_grad for image in images):
        sum(image.sum() for image in images).backward()
    if not ordinary or options['support'] not in (4.5, 3.0, 0.5) or options['window'] not in (None, 0.1):
        return 'drawn'
    # Pixels next to the edge of a box may fall on either side of it in another order of rounding: the smooth part of
    # the support only. Sums of at most 64 terms up to 1, each with a relative error of 1e-6 in float32.
    if options['support'] == 4.5 and options['window'] is None:
        expected = rasterize_gaussians_reference(*[t.double() for t in tensors], size, scale, **options)
        for image, exact in zip(images, expected if isinstance(expected, list) else [expected], strict=True):
            error = (image.double() - exact).abs().max().item() if image.numel() else 0.0
            assert error < 64 * (1e-5 if dtype == torch.float32 else 1e-10) + 64 * 4.1e-5, error
        return 'compared'
    return 'drawn'


def _raw_call(tensors: list[Tensor], choice: random.Random) -> str:
    """The operators themselves, past the checks of the public function, with arguments that need not fit."""
    B = choice.randint(0, 3)
    sizes = [choice.choice((*SIDES, *BAD_SIDES)) for _ in range(2 * B + choice.choice((0, 0, 1)))]
    if any(side > 64 for side in sizes):
        sizes = [1 << 23 if side > 64 else side for side in sizes]
    # Nothing that would be drawn for hours: images are small, or too large for any memory.
    if any(1 << 10 < h * w < 1 << 44 for h, w in zip(sizes[::2], sizes[1::2])):
        sizes = [min(side, 64) for side in sizes]
    scales = [choice.choice((1.0, 2.5, *STRANGE)) for _ in range(2 * B + choice.choice((0, 0, 1)))]
    support, window = choice.choice((4.5, *STRANGE)), choice.choice((None, 0.1, *STRANGE))
    v_images = torch.ones(choice.choice((0, 1, 7, 252)))
    try:
        torch.ops.gsasr.rasterize_gaussians(*tensors, sizes, scales, support, window)
    except (*ERRORS, NotImplementedError):
        pass
    try:
        torch.ops.gsasr.rasterize_gaussians_backward(v_images, *tensors, sizes, scales, support, window)
    except (*ERRORS, NotImplementedError):
        return 'error'
    return 'drawn'


def main(calls: int, seed: str) -> None:
    outcomes: dict[str, int] = {}
    for number in range(calls):
        try:
            outcome = call(random.Random(f'{seed} {number}'))
        except BaseException:
            print(f'call {number} of seed {seed}', file=sys.stderr)
            raise
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    print(outcomes)


if __name__ == '__main__':
    torch.set_num_threads(2)
    main(int(sys.argv[1]), sys.argv[2])
