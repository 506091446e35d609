"""Every released variant, with random weights: what a GPU computes is as near to float64 as what a CPU does."""

import torch

from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.inference import for_inference
from tests.gpu.networks import released_network, variants
from tests.gpu.precision import COARSER, computed_in
from tests.gpu.report import Report

SCALE = 2.7
# Sums in another order: each device is off by as much, in another direction, and large sums are split otherwise.
OF_ANOTHER_ORDER = 8.0


def run(report: Report, rehearsed: bool) -> None:
    chosen = variants()[:1] if rehearsed else variants()
    for variant in chosen:
        net = released_network(variant)
        side = 12 if rehearsed else 32
        image = torch.rand(1, 3, side, side + 7, generator=torch.Generator().manual_seed(1))
        exact = _drawn(net.double(), image.double())
        net.float()
        on_cpu = _error(_drawn(net, image), exact)
        report.figure(f'{variant}: CPU - float64', on_cpu)
        net.to('cuda')
        for name in COARSER:
            with computed_in(name):
                got = _drawn(net, image.to('cuda')).cpu()
            # An image of Gaussians is a smooth function of all that is rounded.
            limit = max(OF_ANOTHER_ORDER, COARSER[name]) * on_cpu
            report.at_most(f'{variant}: GPU in {name} - float64', _error(got, exact), limit)
            with computed_in(name):
                got = _drawn(for_inference(net), image.to('cuda')).cpu()
            report.at_most(f'{variant}: GPU in {name}, for inference - float64', _error(got, exact), limit)
        _look_at_attention(report, variant, net)


def _drawn(net: GSASR, image: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return net(image, scale=SCALE, tile=None)


def _error(given: torch.Tensor, exact: torch.Tensor) -> float:
    """The mean square of the difference, its root in parts of that of the exact image."""
    return ((given.double() - exact).square().mean() / exact.square().mean()).sqrt().item()


def _look_at_attention(report: Report, variant: str, net: GSASR) -> None:
    """Whether attention meets a fused kernel: PyTorch's slowest path is products and a softmax."""
    from torch.profiler import ProfilerActivity, profile

    image, factor = torch.rand(1, 3, 48, 48, device='cuda'), torch.full((1,), SCALE, device='cuda')
    for name in ('float32', 'bf16'):
        with torch.inference_mode(), computed_in(name), profile(activities=[ProfilerActivity.CPU]) as profiled:
            net.decoder(net.encoder(image), factor, None)
        counts = {event.key.removeprefix('aten::'): event.count for event in profiled.key_averages()}
        by_formula = counts.get('_safe_softmax', 0) + counts.get('_softmax', 0) + counts.get('softmax', 0)
        attention = {key: count for key, count in counts.items() if key.startswith('_scaled_dot_product')}
        report.figure(f'{variant}: attention in {name}', {**attention, 'softmax': by_formula})
        report.check(f'{variant}: attention in {name} is fused', by_formula == 0, f'{by_formula} by formula')
