"""The peak memory of each of the paper's networks beside the estimate that tiles are chosen by, which is of CPUs."""

import torch

from gsasr_plugin.archs.tile_memory import network_bytes
from gsasr_plugin.peak_memory import PeakMemory
from tests.gpu.networks import ENCODERS_OF_THE_PAPER, paper_network
from tests.gpu.precision import computed_in
from tests.gpu.report import Report

SIDES = (96, 240)
# Above that the half of the memory that the network is given would not do.
MOST = 1.5


def run(report: Report, rehearsed: bool) -> None:
    for encoder in ENCODERS_OF_THE_PAPER[:1] if rehearsed else ENCODERS_OF_THE_PAPER:
        net = paper_network(encoder).eval().to('cuda')
        for side in (24,) if rehearsed else SIDES:
            estimate = side * side * network_bytes(encoder, 180, 16)
            for name in ('float32', 'bf16'):
                image = torch.rand(1, 3, side, side, device='cuda')
                with torch.inference_mode(), computed_in(name):
                    net(image, scale=1.0, tile=None)  # libraries take their work space once
                    with PeakMemory('cuda') as memory:
                        net.gaussians(image, 1.0, tile=None)
                case = f'{encoder}, {side} x {side}, {name}: peak of the estimate'
                report.at_most(case, round((memory.bytes or 0) / estimate, 3), MOST)
