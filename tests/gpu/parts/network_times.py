"""The paper's protocol, 720 x 720 by the network with EDSR, made for inference as validation does: time of each stage,
memory, waiting for the device, and the same replayed from CUDA graphs.
"""

import warnings
from unittest import mock

import torch

from gsasr_plugin.archs import GSASR, primary_head
from gsasr_plugin.archs.inference import for_inference
from gsasr_plugin.peak_memory import PeakMemory
from tests.gpu.networks import paper_network
from tests.gpu.precision import FORMATS, computed_in
from tests.gpu.report import Report
from tests.gpu.timing import call_ms, captured

CASES = ((360, 2), (180, 4), (60, 12))  # LR side and scale
REHEARSED = ((12, 2),)
SLICES = (16384, 65536, 262144)  # the first is what the head takes


def run(report: Report, rehearsed: bool) -> None:
    plain = paper_network().eval().to('cuda')
    net, recorded = for_inference(plain), for_inference(plain, cuda_graph=True)
    report.figure('parameters', sum(parameter.numel() for parameter in net.parameters()))
    with torch.inference_mode():
        # The smallest first: should the time run out, most is known.
        for side, scale in reversed(REHEARSED if rehearsed else CASES):
            image = torch.rand(1, 3, side, side, device='cuda')
            size = (side * scale, side * scale)
            for name in FORMATS:
                with computed_in(name):
                    report.figure(f'x{scale} {name}', _measured(net, image, size, scale))
                    _look_at_recording(report, f'x{scale} {name}', net, recorded, image, size)
                    _look_at_slices(report, f'x{scale} {name}', net, image, scale)
        _look_at_capture(report, net, image, size)
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


def _look_at_slices(report: Report, case: str, net: GSASR, image: torch.Tensor, scale: int) -> None:
    """Whether the primary head computes as many Gaussians at once as it should: fewer launches, or the cache."""
    features, factor = net.encoder(image), torch.full((1,), float(scale), device='cuda')
    times = {}
    for count in SLICES:
        with mock.patch.object(primary_head, 'SLICE_GPU_EVALUATION', count):
            times[f'{count:,}'] = round(call_ms(lambda: net.decoder(features, factor, None), 3), 2)
    report.figure(f'{case}: decoder ms by Gaussians at once', times)


def _look_at_recording(
    report: Report, case: str, net: GSASR, recorded: GSASR, image: torch.Tensor, size: tuple[int, int]
) -> None:
    """`val.cuda_graph`: the second image of a size is recorded, the third one replayed, and all are the same."""
    expected = net(image, size=size, tile=None)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        for _ in range(3):
            result = recorded(image, size=size, tile=None)
    refused = [str(warning.message) for warning in told if 'cuda_graph' in str(warning.message)]
    report.check(f'{case}: encoder and decoder can be recorded', not refused, ''.join(refused))
    # The same kernels on the same numbers; the choice of an algorithm may differ while a graph is captured.
    limit = 1e-2 if case.endswith('bf16') else 1e-4
    report.at_most(f'{case}: replayed - computed', (result - expected).abs().max().item(), limit)
    report.figure(f'{case}: replayed', {'ms': round(call_ms(lambda: recorded(image, size=size, tile=None)), 2)})


def _look_at_capture(report: Report, net: GSASR, image: torch.Tensor, size: tuple[int, int]) -> None:
    """The whole of it, drawing included, in one graph: what a program of the user's may do."""
    try:
        graph, _ = captured(lambda: net(image, size=size, tile=None))
    except RuntimeError as error:
        report.check('a whole forward pass can be captured in a graph', False, str(error).partition('\n')[0])
    else:
        report.figure('whole forward pass of the last case as a graph, ms', round(call_ms(graph.replay), 2))


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
