"""Device time of the rasterizer at the paper's protocol and in training, forward and backward, by graph replay; time of
each kernel; the same of a plain Algorithm 1; two million Gaussians at one place.
"""

import hashlib
import sys
from typing import Any

import torch
from torch import Tensor

from gsasr_ops import build
from tests.gpu.machine import work_folder
from tests.gpu.report import Report
from tests.gpu.timing import device_ms, kernel_us
from tests.ops.rasterizer.simt.algorithm1 import SOURCE, Algorithm1, compile_for
from tests.ops.rasterizer.simt.harness import build_library

# Name, LR side, scales of the batch, the authors' window.
CASES = (
    ('x2', 360, (2.0,), 0.05),
    ('x4', 180, (4.0,), 0.1),
    ('x12', 60, (12.0,), 0.1),
    ('training', 48, tuple(1 + 3 * k / 15 for k in range(16)), 0.5),
)
REHEARSED = (('x4', 6, (4.0,), 0.9), ('training', 6, (1.0, 2.5), 0.5))
AT_ONE_PLACE = 2_000_000
SUPPORT = 4.5


def run(report: Report, rehearsed: bool) -> None:
    algorithm1 = Algorithm1(build_library(SOURCE, work_folder())) if rehearsed else _algorithm1(report)
    for name, side, scales, window in REHEARSED if rehearsed else CASES:
        for spread in (False, True):
            inputs = scene(side, len(scales), spread)
            arguments = call_arguments(side, scales)
            law = 'deviations of 0.1 to 0.83' if spread else 'initial deviations'
            report.figure(f'{name}, {law}', _measured(inputs, arguments))
        if algorithm1 is not None and len(scales) == 1:
            _beside_algorithm_1(report, name, algorithm1, scene(side, 1, False), arguments, window)
    _at_one_place(report, 20_000 if rehearsed else AT_ONE_PLACE)


def scene(side: int, B: int, spread: bool) -> list[Tensor]:
    """The paper's 16 Gaussians per LR pixel on their grid, slightly moved: with the deviation of a fresh network, or
    with deviations and correlations of all sizes."""
    generator = torch.Generator().manual_seed(1)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator).to('cuda')

    centres = (torch.arange(4 * side, device='cuda') + 0.5) / 4
    grid = torch.stack(torch.meshgrid(centres, centres, indexing='xy'), -1).reshape(1, -1, 2)
    N = grid.shape[1]
    means = grid + 0.2 * uniform(B, N, 2) - 0.1
    sigmas = 0.1 + 0.734 * uniform(B, N, 2) if spread else torch.full((B, N, 2), 0.5 / 1.2, device='cuda')
    rhos = 1.9 * uniform(B, N) - 0.95 if spread else torch.zeros(B, N, device='cuda')
    return [means, sigmas, rhos, uniform(B, N), uniform(B, N, 3)]


def call_arguments(side: int, scales: tuple[float, ...]) -> tuple:
    """What the operator takes beside the tensors."""
    sizes = [round(side * scale) for scale in scales for _ in 'yx']
    return sizes, [size / side for size in sizes], SUPPORT, None


def _measured(inputs: list[Tensor], arguments: tuple) -> dict[str, Any]:
    forward, backward = torch.ops.gsasr.rasterize_gaussians, torch.ops.gsasr.rasterize_gaussians_backward
    flat = forward(*inputs, *arguments)
    v_flat = torch.linspace(-1, 1, flat.numel(), device='cuda')

    def both() -> tuple[Tensor, ...]:
        return forward(*inputs, *arguments), *backward(v_flat, *inputs, *arguments)

    content = b''.join(tensor.cpu().numpy().tobytes() for tensor in both())
    told: dict[str, Any] = {'bits': hashlib.sha256(content).hexdigest()[:12]}
    for name, call in (
        ('forward ms', lambda: forward(*inputs, *arguments)),
        ('backward ms', lambda: backward(v_flat, *inputs, *arguments)),
    ):
        told[name] = round(device_ms(call), 4)
    told['us of'] = kernel_us(both)
    return told


def _algorithm1(report: Report) -> Algorithm1 | None:
    home, how = build.find_toolkit(None)
    if home is None:
        report.not_here('Algorithm 1', how)
        return None
    library = work_folder() / 'algorithm1.so'  # of the part that compiles
    if not library.exists():
        library = compile_for(home, torch.cuda.get_device_capability(), work_folder())
    return Algorithm1(library)


def _beside_algorithm_1(
    report: Report, name: str, algorithm1: Algorithm1, inputs: list[Tensor], arguments: tuple, window: float
) -> None:
    plain = [tensor[0].contiguous() for tensor in inputs]
    size, scale = tuple(arguments[0]), arguments[1][0]
    ours = torch.ops.gsasr.rasterize_gaussians(*inputs, *arguments).view(3, *size)
    theirs = algorithm1.forward(plain, size, scale, window)
    # Both sum some hundred terms of order one, in other orders; the window holds more than 4.5 deviations.
    report.at_most(f'{name}: ours - Algorithm 1', (ours - theirs).abs().max().item(), 1e-3)
    v_image = torch.linspace(-1, 1, ours.numel(), device='cuda').view_as(ours)
    told = {
        'forward ms': round(device_ms(lambda: algorithm1.forward(plain, size, scale, window), 3, 1), 3),
        'backward ms': round(device_ms(lambda: algorithm1.backward(plain, v_image, size, scale, window), 3, 1), 3),
    }
    report.figure(f'{name}: Algorithm 1', told)


def _at_one_place(report: Report, count: int) -> None:
    """All Gaussians in one cell: the time is bounded, and the bits are those of every run."""
    inputs = scene(1, 1, False)
    inputs = [tensor[:, :1].expand(-1, count, *tensor.shape[2:]).contiguous() for tensor in inputs]
    inputs[3] = torch.rand(1, count, device='cuda') / count
    arguments = ([64, 64], [4.0, 4.0], SUPPORT, None)

    def draw() -> Tensor:
        return torch.ops.gsasr.rasterize_gaussians(*inputs, *arguments)

    first = draw()
    report.check('at one place: the bits are the same', all(torch.equal(first, draw()) for _ in range(3)))
    report.figure(f'{count:,} Gaussians at one place: forward ms', round(device_ms(draw, 3, 1), 2))


def _once(cases: int) -> None:
    """Each pass of so many cases, for a profiler."""
    for _, side, scales, _ in CASES[:cases]:
        inputs, arguments = scene(side, len(scales), False), call_arguments(side, scales)
        flat = torch.ops.gsasr.rasterize_gaussians(*inputs, *arguments)
        torch.ops.gsasr.rasterize_gaussians_backward(torch.ones_like(flat), *inputs, *arguments)
    torch.cuda.synchronize()


if __name__ == '__main__':
    _once(int(sys.argv[1]))
