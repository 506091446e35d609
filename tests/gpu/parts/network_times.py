"""The paper's protocol, 720 x 720 by the network with EDSR: time of each stage, memory, waiting for the device, and the
same as a CUDA graph.
"""

import torch

from gsasr_plugin.archs import GSASR
from gsasr_plugin.peak_memory import PeakMemory
from tests.gpu.networks import paper_network
from tests.gpu.precision import FORMATS, computed_in
from tests.gpu.report import Report
from tests.gpu.timing import call_ms, captured

CASES = ((360, 2), (180, 4), (60, 12))  # LR side and scale
REHEARSED = ((12, 2),)


def run(report: Report, rehearsed: bool) -> None:
    net = paper_network().eval().to('cuda')
    report.figure('parameters', sum(parameter.numel() for parameter in net.parameters()))
    with torch.inference_mode():
        # The smallest first: should the time run out, most is known.
        for side, scale in reversed(REHEARSED if rehearsed else CASES):
            image = torch.rand(1, 3, side, side, device='cuda')
            size = (side * scale, side * scale)
            for name in FORMATS:
                with computed_in(name):
                    report.figure(f'x{scale} {name}', _measured(net, image, size, scale))
                    _look_at_graph(report, f'x{scale} {name}', net, image, size)
        _look_at_waiting(report, net, image, size)


def _measured(net: GSASR, image: torch.Tensor, size: tuple[int, int], scale: int) -> dict[str, float]:
    """Milliseconds of the whole and of its stages, GiB at the peak."""
    with PeakMemory('cuda') as memory:
        net(image, size=size, tile=None)
    features = net.encoder(image)
    factor = torch.full((1,), float(scale), device='cuda')
    gaussians = net.gaussians(image, float(scale), tile=None)
    return {
        'ms': round(call_ms(lambda: net(image, size=size, tile=None)), 2),
        'encoder ms': round(call_ms(lambda: net.encoder(image)), 2),
        'decoder ms': round(call_ms(lambda: net.decoder(features, factor, None)), 2),
        'rendering ms': round(call_ms(lambda: net.render(gaussians, size)), 3),
        'peak GiB': round((memory.bytes or 0) / 2**30, 2),
    }


def _look_at_graph(report: Report, case: str, net: GSASR, image: torch.Tensor, size: tuple[int, int]) -> None:
    def drawn() -> torch.Tensor:
        return net(image, size=size, tile=None)

    try:
        graph, result = captured(drawn)
    except RuntimeError as error:
        report.check(f'{case}: the forward pass can be captured in a graph', False, str(error).partition('\n')[0])
        return
    graph.replay()
    report.figure(f'{case}: graph', {'ms': round(call_ms(graph.replay), 2)})
    # The same kernels on the same numbers; the choice of an algorithm may differ while a graph is captured.
    report.at_most(f'{case}: graph - calls', (result - drawn()).abs().max().item(), 1e-2 if 'bf16' in case else 1e-4)


def _look_at_waiting(report: Report, net: GSASR, image: torch.Tensor, size: tuple[int, int]) -> None:
    torch.cuda.set_sync_debug_mode('error')
    try:
        net(image, size=size, tile=None)
        waits = ''
    except RuntimeError as error:
        waits = str(error).partition('\n')[0]
    finally:
        torch.cuda.set_sync_debug_mode('default')
    report.check('a forward pass waits for the device nowhere', not waits, waits)
