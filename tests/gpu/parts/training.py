"""A training step of the paper: 16 images of 48 x 48 at scales from 1 to 4. Time, memory, and gradients."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gsasr_plugin.archs import GSASR
from gsasr_plugin.peak_memory import PeakMemory
from tests.gpu.networks import fill, paper_network
from tests.gpu.precision import FORMATS, computed_in
from tests.gpu.report import Report
from tests.gpu.timing import call_ms


def run(report: Report, rehearsed: bool) -> None:
    _compare_gradients(report, 12 if rehearsed else 24)
    B, side = (2, 12) if rehearsed else (16, 48)
    net = paper_network().to('cuda').train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-5, foreach=True)
    lq, sizes, gt = batch(B, side, 'cuda')
    for name in FORMATS:

        def step(name: str = name) -> None:
            with computed_in(name):
                images = net(lq, size=sizes)
            optimizer.zero_grad()
            loss(images, gt).backward()
            optimizer.step()

        step()
        with PeakMemory('cuda') as memory:
            step()
        told = {'ms': round(call_ms(step, 2 if rehearsed else 5), 1), 'peak GiB': round((memory.bytes or 0) / 2**30, 2)}
        report.figure(f'step of {B} x {side}^2 {name}', told)
    finite = all(bool(parameter.isfinite().all()) for parameter in net.parameters())
    report.check('the weights are finite', finite)


def batch(B: int, side: int, device: str) -> tuple[Tensor, list[tuple[int, int]], list[Tensor]]:
    """LR images, the sizes of the results at scales from 1 to 4, and what they should be."""
    generator = torch.Generator().manual_seed(3)
    sizes = [(round(side * (1 + 3 * k / B)),) * 2 for k in range(B)]
    lq = torch.rand(B, 3, side, side, generator=generator)
    return lq.to(device), sizes, [torch.rand(3, *size, generator=generator).to(device) for size in sizes]


def loss(images: Tensor | list[Tensor], gt: list[Tensor]) -> Tensor:
    return torch.stack([F.l1_loss(image, target) for image, target in zip(images, gt)]).mean()


def gradients(net: GSASR, side: int, device: str, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Of a small batch of side x side pixels, in float64 on the CPU."""
    net = net.to(device, dtype).train().requires_grad_()
    lq, sizes, gt = batch(2, side, 'cpu')
    images = net(lq.to(device, dtype), size=sizes)
    found = torch.autograd.grad(loss(images, [image.to(device, dtype) for image in gt]), list(net.parameters()))
    return [gradient.double().cpu() for gradient in found]


def _compare_gradients(report: Report, side: int) -> None:
    net = paper_network()
    fill(net)
    exact = gradients(net, side, 'cpu', torch.float64)
    on_cpu = _distance(gradients(net, side, 'cpu'), exact)
    report.figure('gradients: CPU - float64, relative', on_cpu)
    with computed_in('float32'):
        on_gpu = _distance(gradients(net, side, 'cuda'), exact)
    report.at_most('gradients: GPU - float64, relative', on_gpu, 8 * max(on_cpu, 1e-6))


def _distance(given: list[Tensor], exact: list[Tensor]) -> float:
    """The length of the difference of all gradients as one vector, in parts of the exact one's."""
    difference = sum((a - b).square().sum().item() for a, b in zip(given, exact))
    return math.sqrt(difference / sum(b.square().sum().item() for b in exact))
