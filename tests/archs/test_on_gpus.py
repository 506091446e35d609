"""What GPUs are asked to do, on traces, and that it is the same as on CPUs, there.

No GPU is needed: traces are made on fake CUDA tensors, and the paths of GPUs computed on the CPU in float64.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gsasr_ops.attention import on_gpu
from gsasr_ops.attention.reference import window_attention as formula
from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.inference import for_inference
from gsasr_plugin.archs.linear import _LinearReLU
from gsasr_plugin.archs.map_conv import MapShuffle
from gsasr_plugin.archs.window_attention import WindowAttention
from tests.benchmarks.trace.runs import PRECISIONS, build, forward, training_step

# Every encoder and decoder of the released networks and the packaged one.
NETWORKS = ['gsasr_edsr', 'gsasr_enhanced_edsr', 'gsasr_rdn', 'gsasr_small', 'gsasr_swinir', 'gsasr_ultra_hat']


@pytest.fixture(scope='module')
def traces() -> dict[str, Any]:
    """Of each network, at x12, in bfloat16: of the smallest images."""
    return {name: forward(name, 12, 'bf16') for name in NETWORKS}


def test_all_attention_meets_a_fused_kernel(traces: dict[str, Any]) -> None:
    calls = {name: trace.attention for name, trace in traces.items()}
    assert {name: len(found) for name, found in calls.items() if found}.keys() == set(NETWORKS) - {'gsasr_small'}
    assert all(call['against'] == [] for found in calls.values() for call in found)
    assert all(call['scale'] == 30**-0.5 for call in calls['gsasr_edsr'])  # that of the true width


@pytest.mark.parametrize('precision', list(PRECISIONS))
def test_so_does_it_in_every_precision_and_in_training(precision: str) -> None:
    for trace in (forward('gsasr_edsr', 12, precision), training_step('gsasr_edsr', precision)):
        assert len(trace.attention) == 38
        assert all(call['against'] == [] for call in trace.attention)
        # The weights of T x S tokens of all windows are nowhere.
        assert not any('softmax' in op.name for op in trace.ops)


@pytest.mark.parametrize('with_bias', [True, False])
@pytest.mark.parametrize(('D', 'S'), [(30, 144), (32, 49), (20, 50), (4, 3)])
def test_padded_attention_is_exact(D: int, S: int, with_bias: bool) -> None:
    """Zeros are added to zeros: to the last bit but for the order of sums, a few units of float64."""
    generator = torch.Generator().manual_seed(D)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    q, k, v = random(3, 2, 10, D), random(3, 2, S, D), random(3, 2, S, D)
    bias, rotations = (random(2, 10, S), None) if with_bias else (None, random(2, max(10, S), D // 2, 2))
    arguments = (q, k, v, bias, rotations, None, None, 0.3)
    torch.testing.assert_close(on_gpu.window_attention(*arguments), formula(*arguments), rtol=0, atol=1e-13)


def test_a_bias_is_copied_only_to_be_aligned() -> None:
    bias = torch.rand(6, 144, 144)
    assert on_gpu.aligned(bias) is bias
    odd = torch.rand(6, 49, 49)
    assert torch.equal(on_gpu.aligned(odd), odd)
    assert on_gpu.aligned(odd).stride() == (49 * 56, 56, 1)


@pytest.mark.parametrize(('d', 'heads', 'encoding'), [(180, 6, 'bias'), (48, 4, 'rope'), (64, 2, 'rope')])
@pytest.mark.parametrize('crosses', [True, False])
def test_window_attention_as_on_gpus_is_exact(d: int, heads: int, encoding: Any, crosses: bool) -> None:
    torch.manual_seed(0)
    attention = WindowAttention(embed_dim=d, num_heads=heads, window_size=4, position_encoding=encoding).double()
    queries, context = torch.rand(2, 16, d).double(), torch.rand(2, 16, d).double()
    context = context if crosses else queries
    plain, padded = attention._plain(queries, context), attention._padded(queries, context)
    torch.testing.assert_close(padded, plain, rtol=0, atol=1e-13)
    gradients = [torch.autograd.grad(y.square().sum(), list(attention.parameters())) for y in (plain, padded)]
    for found, exact in zip(*gradients):
        torch.testing.assert_close(found, exact, rtol=1e-10, atol=1e-10)


def test_relu_in_the_product_is_exact() -> None:
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(shape).double().requires_grad_() for shape in ((7, 5), (4, 5), (4,)))
    torch.testing.assert_close(_LinearReLU.apply(x, weight, bias), F.linear(x, weight, bias).relu(), rtol=0, atol=0)
    assert torch.autograd.gradcheck(_LinearReLU.apply, (x, weight, bias))
    # NaN shows in the gradient, as after nn.ReLU.
    with torch.no_grad():
        bias[0] = torch.nan
    (gradient,) = torch.autograd.grad(_LinearReLU.apply(x, weight, bias).sum(), bias)
    assert gradient[0] == 7


@pytest.mark.parametrize(('r', 'd'), [(1, 6), (2, 5), (3, 4)])
def test_maps_are_shuffled_as_planes(r: int, d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(2, 3, 4, r * r * d)
    expected = F.pixel_shuffle(x.permute(0, 3, 1, 2), r).permute(0, 2, 3, 1)
    assert torch.equal(MapShuffle(r)(x), expected)
    found = MapShuffle.shuffled(x, r)
    assert torch.equal(found, expected) and found.is_contiguous()


def test_weights_are_cast_once(traces: dict[str, Any]) -> None:
    """Of a forward pass with its weights in place, only what is computed is cast."""
    for name, trace in traces.items():
        net = _sizes(name)
        assert not [op for op in trace.ops if op.name in ('_to_copy', 'cat', 'constant_pad_nd') and op.bytes in net]


def _sizes(name: str) -> set[int]:
    """Bytes that casts of the weights of linear layers and convolutions would move."""
    layers = [module for module in build(name).modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    return {6 * layer.weight.numel() for layer in layers if layer.weight.numel() > 10**4}


def test_no_relu_of_the_decoder_is_a_pass_of_its_own(traces: dict[str, Any]) -> None:
    count = {name: sum('relu' in op.name for op in trace.ops) for name, trace in traces.items()}
    assert count['gsasr_edsr'] == 16 + 1  # of EDSR's blocks, and between the convolutions before the decoder
    assert sum(op.name == '_addmm_activation' for op in traces['gsasr_edsr'].ops) >= 83


def test_maps_stay_maps(traces: dict[str, Any]) -> None:
    """No convolution is followed by a copy from planes to maps."""
    assert not any(op.name.startswith('pixel_shuffle') for trace in traces.values() for op in trace.ops)


def test_a_snapshot_keeps_weights_by_dtype() -> None:
    """As on GPUs, on the meta device, whose values nobody asks for: one pack for each layer and dtype."""
    net = GSASR(encoder_opt={'type': 'EDSR', 'num_block': 1}, embed_dim=48, num_heads=4, num_interaction_blocks=1)
    snapshot = for_inference(copy.deepcopy(net).to('meta'))
    with torch.no_grad():
        for _ in range(2):
            snapshot.gaussians(torch.zeros(1, 3, 24, 24, device='meta'), 2, tile=None)
    packs = [len(module.packs) for module in snapshot.modules() if hasattr(module, 'packs')]
    assert max(packs) <= 4 and sum(packs) > 30
