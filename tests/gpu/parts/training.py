"""A training step of the paper: 16 images of 48 x 48 at scales from 1 to 4. Time, memory, and gradients."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gsasr_plugin.archs import GSASR
from gsasr_plugin.peak_memory import PeakMemory
from tests.gpu.networks import fill, paper_network
from tests.gpu.precision import FORMATS, computed_in
from tests.gpu.report import Report
from tests.gpu.timing import call_ms, synchronize


def run(report: Report, device: str) -> None:
    if device == 'cuda':
        _compare_gradients(report)
    B, side = (16, 48) if device == 'cuda' else (2, 12)
    net = paper_network().to(device).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-5, foreach=True)
    lq, sizes, gt = batch(B, side, device)
    for name in FORMATS if device == 'cuda' else ('float32', 'bf16'):

        def step(name: str = name) -> None:
            with computed_in(name, device):
                images = net(lq, size=sizes)
            optimizer.zero_grad()
            loss(images, gt).backward()
            optimizer.step()

        step()
        with PeakMemory(device) as memory:
            step()
            synchronize(device)
        told = {'ms': round(call_ms(step, device, 5), 1), 'peak GiB': round((memory.bytes or 0) / 2**30, 2)}
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


def gradients(net: GSASR, device: str, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Of a small batch, in float64 on the CPU."""
    net = net.to(device, dtype).train().requires_grad_()
    lq, sizes, gt = batch(2, 24, 'cpu')
    images = net(lq.to(device, dtype), size=sizes)
    found = torch.autograd.grad(loss(images, [image.to(device, dtype) for image in gt]), list(net.parameters()))
    return [gradient.double().cpu() for gradient in found]


def _compare_gradients(report: Report) -> None:
    net = paper_network()
    fill(net)
    exact = gradients(net, 'cpu', torch.float64)
    on_cpu = _distance(gradients(net, 'cpu'), exact)
    report.figure('gradients: CPU - float64, relative', on_cpu)
    with computed_in('float32', 'cuda'):
        report.at_most(
            'gradients: cuda - float64, relative', _distance(gradients(net, 'cuda'), exact), 8 * max(on_cpu, 1e-6)
        )


def _distance(given: list[Tensor], exact: list[Tensor]) -> float:
    """The length of the difference of all gradients as one vector, in parts of the exact one's."""
    difference = sum((a - b).square().sum() for a, b in zip(given, exact))
    return (difference / sum(b.square().sum() for b in exact)).sqrt().item()
