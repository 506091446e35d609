"""The peak memory of each of the paper's networks beside the estimate that tiles are chosen by, which is of CPUs."""

import torch

from gsasr_plugin.archs.tile_memory import network_bytes
from gsasr_plugin.peak_memory import PeakMemory
from tests.gpu.networks import ENCODERS_OF_THE_PAPER, paper_network
from tests.gpu.precision import computed_in
from tests.gpu.report import Report
from tests.gpu.timing import synchronize

SIDES = (96, 240)
# Above that the half of the memory that the network is given would not do.
MOST = 1.5


def run(report: Report, device: str) -> None:
    for encoder in ENCODERS_OF_THE_PAPER if device == 'cuda' else ENCODERS_OF_THE_PAPER[:1]:
        net = paper_network(encoder).eval().to(device)
        for side in SIDES if device == 'cuda' else (24,):
            estimate = side * side * network_bytes(encoder, 180, 16)
            for name in ('float32', 'bf16'):
                image = torch.rand(1, 3, side, side, device=device)
                with torch.inference_mode(), computed_in(name, device):
                    net(image, scale=1.0, tile=None)  # libraries take their work space once
                    with PeakMemory(device) as memory:
                        net.gaussians(image, 1.0, tile=None)
                        synchronize(device)
                case = f'{encoder}, {side} x {side}, {name}: peak of the estimate'
                ratio = round((memory.bytes or 0) / estimate, 3)
                report.at_most(case, ratio, MOST if device == 'cuda' else float('inf'))
