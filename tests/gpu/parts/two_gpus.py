"""A training step on two GPUs: the gradients that NCCL averages are those of both halves of the batch on one.

Without GPUs: two processes on the CPU under gloo.
"""

import os
import socket
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from gsasr_plugin.archs import GSASR
from tests.gpu.networks import fill
from tests.gpu.parts.training import batch, loss
from tests.gpu.precision import computed_in
from tests.gpu.report import Report

IMAGES = 4


def run(report: Report, rehearsed: bool) -> None:
    device = 'cpu' if rehearsed else 'cuda'
    if not rehearsed and torch.cuda.device_count() < 2:
        report.not_here('two GPUs', f'there is {torch.cuda.device_count()}')
        return
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_process, args=(_free_port(), device, folder), nprocs=2)
        halves = [torch.load(Path(folder) / f'{rank}.pt') for rank in (0, 1)]
    report.check('both have the same gradients', all(torch.equal(a, b) for a, b in zip(*halves)))
    expected = [
        gradient.cpu() for gradient in _gradients(_network().to(_place(0, device)), range(IMAGES), _place(0, device))
    ]
    largest = max(gradient.abs().max().item() for gradient in expected)
    difference = max((a - b).abs().max().item() for a, b in zip(halves[0], expected))
    # The mean of two means of sums in float32, beside the mean of all.
    report.at_most('two - one, of the largest gradient', difference / largest, 1e-4)


def _process(rank: int, port: int, device: str, folder: str) -> None:
    os.environ |= {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port)}
    place = _place(rank, device)
    if device == 'cuda':
        torch.cuda.set_device(place)
    dist.init_process_group('nccl' if device == 'cuda' else 'gloo', rank=rank, world_size=2)
    net = DistributedDataParallel(_network().to(place), device_ids=[rank] if device == 'cuda' else None)
    half = range(rank * IMAGES // 2, (rank + 1) * IMAGES // 2)
    torch.save([gradient.cpu() for gradient in _gradients(net, half, place)], Path(folder) / f'{rank}.pt')
    dist.destroy_process_group()


def _place(rank: int, device: str) -> str:
    return f'cuda:{rank}' if device == 'cuda' else 'cpu'


def _network() -> GSASR:
    net = GSASR(
        encoder_opt={'type': 'EDSR', 'num_block': 2, 'num_feat': 32},
        embed_dim=60,
        num_interaction_blocks=1,
        num_interaction_layers=2,
        gaussian_density=4,
    )
    fill(net)
    return net.train()


def _gradients(net: torch.nn.Module, which: range, place: str) -> list[Tensor]:
    """Of the mean loss of these images of the batch."""
    lq, sizes, gt = batch(IMAGES, 12, place)
    with computed_in('float32'):
        loss(net(lq[which.start : which.stop], size=[sizes[i] for i in which]), [gt[i] for i in which]).backward()
    return [parameter.grad for parameter in net.parameters() if parameter.grad is not None]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]
