"""Every released variant, with random weights: what a GPU computes is as near to float64 as what a CPU does."""

import torch

from gsasr_plugin.archs import GSASR
from tests.gpu.networks import released_network, variants
from tests.gpu.precision import COARSER, computed_in
from tests.gpu.report import Report

SCALE = 2.7
# Sums in another order: each device is off by as much, in another direction, and large sums are split otherwise.
OF_ANOTHER_ORDER = 8.0


def run(report: Report, device: str) -> None:
    chosen = variants() if device == 'cuda' else variants()[:1]
    for variant in chosen:
        net = released_network(variant)
        side = 32 if device == 'cuda' else 12
        image = torch.rand(1, 3, side, side + 7, generator=torch.Generator().manual_seed(1))
        exact = _drawn(net.double(), image.double())
        net.float()
        on_cpu = (_drawn(net, image) - exact).abs().max().item()
        report.figure(f'{variant}: CPU - float64', on_cpu)
        net.to(device)
        for name in COARSER if device == 'cuda' else ('float32', 'bf16'):
            with computed_in(name, device):
                got = _drawn(net, image.to(device)).cpu().double()
            # An image of Gaussians is a smooth function of what is rounded, until errors are as large as it is.
            limit = min(OF_ANOTHER_ORDER * COARSER[name] * max(on_cpu, 1e-7), exact.abs().max().item())
            report.at_most(f'{variant}: {device} in {name} - float64', (got - exact).abs().max().item(), limit)
        if device == 'cuda':
            _look_at_attention(report, variant, net)


def _drawn(net: GSASR, image: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return net(image, scale=SCALE, tile=None)


def _look_at_attention(report: Report, variant: str, net: GSASR) -> None:
    """Whether the decoder's attention meets a fused kernel: PyTorch's slowest path is products and a softmax.

    The encoders' attention is BasicSR's.
    """
    from torch.profiler import ProfilerActivity, profile

    with torch.inference_mode():
        features = net.encoder(torch.rand(1, 3, 48, 48, device='cuda'))
    factor = torch.full((1,), SCALE, device='cuda')
    for name in ('float32', 'bf16'):
        with torch.inference_mode(), computed_in(name, 'cuda'), profile(activities=[ProfilerActivity.CPU]) as profiled:
            net.decoder(features, factor, None)
        counts = {event.key.removeprefix('aten::'): event.count for event in profiled.key_averages()}
        by_formula = counts.get('_safe_softmax', 0) + counts.get('_softmax', 0) + counts.get('softmax', 0)
        attention = {key: count for key, count in counts.items() if key.startswith('_scaled_dot_product')}
        report.figure(f'{variant}: attention in {name}', {**attention, 'softmax': by_formula})
        report.check(f'{variant}: attention in {name} is fused', by_formula == 0, f'{by_formula} by formula')
