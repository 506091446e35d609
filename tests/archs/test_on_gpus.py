"""What GPUs are asked to do, on traces, and that it is the same as on CPUs, there.

No GPU is needed: traces are made on fake CUDA tensors, and the paths of GPUs computed on the CPU in float64.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gsasr_ops.attention import on_gpu
from gsasr_ops.attention.reference import window_attention as formula
from gsasr_plugin import precision
from gsasr_plugin.archs import GSASR, cuda_graphs
from gsasr_plugin.archs.encoders import build_encoder
from gsasr_plugin.archs.inference import for_inference
from gsasr_plugin.archs.linear import _LinearReLU
from gsasr_plugin.archs.map_conv import MapShuffle
from gsasr_plugin.archs.window_attention import WindowAttention
from gsasr_plugin.upscaling.upscaler import Upscaler
from tests.archs.test_encoders import SMALL
from tests.benchmarks.trace.meta_autocast import meta_autocast
from tests.benchmarks.trace.runs import FEW_CALLS, FEW_LAYERS, build, forward, inference, on_cuda, training_step
from tests.benchmarks.trace.tracer import Trace, fake_cuda, tracing
from tests.models.test_gsasr_model import batch, make_model

# Every encoder and decoder of the released networks and the packaged one: calls of attention in each.
NETWORKS = {'gsasr_edsr': 38, 'gsasr_enhanced_edsr': 38, 'gsasr_small': 0}
LARGE = {'gsasr_rdn': 38, 'gsasr_swinir': 38 + 36, 'gsasr_ultra_hat': 148}


@pytest.fixture(scope='module')
def traces() -> dict[str, Trace]:
    """Of each network, at x12, in bfloat16: of the smallest images."""
    return {name: forward(name, 12, 'bf16') for name in NETWORKS}


@pytest.mark.slow
def test_all_attention_meets_a_fused_kernel(traces: dict[str, Trace]) -> None:
    for name, count in NETWORKS.items():
        check_attention(traces[name], count)
    # The scale is that of the true width.
    assert all(call['scale'] == 30**-0.5 and call['q'][-1] == 32 for call in traces['gsasr_edsr'].attention)


def check_attention(trace: Trace, count: int) -> None:
    assert len(trace.attention) == count
    assert all(call['against'] == [] for call in trace.attention)
    # No attention step by step, which the calls above would not show: the weights of T x S tokens are nowhere.
    assert not any('softmax' in op.name for op in trace.ops)


@pytest.mark.slow
def test_a_forward_pass_does_not_wait(traces: dict[str, Trace]) -> None:
    """Which is also what a CUDA graph forbids; nor does a graph hold what was on the CPU when it was captured."""
    assert not any(trace.waits or trace.copies for trace in traces.values())


@pytest.mark.parametrize('name', SMALL)
def test_no_encoder_waits(name: str) -> None:
    """Of all encoders, forward and with gradients, and their attention meets a fused kernel in small sizes too."""
    encoder = build_encoder(SMALL[name][0])
    in_training = copy.deepcopy(encoder).to('meta').train()
    with tracing() as trace:
        in_training(torch.zeros(2, 3, 12, 12, device='meta')).sum().backward()
    count = {'HAT': 6, 'SwinIR': 4}.get(name, 0)
    check_attention(trace, count)
    assert not trace.waits and not trace.copies
    with fake_cuda(), torch.no_grad():
        snapshot = for_inference(on_cuda(encoder))
        with torch.autocast('cuda', torch.bfloat16), tracing() as trace:
            snapshot(torch.zeros(2, 3, 12, 12).to('cuda'))
    check_attention(trace, count)
    assert trace.waits == ['to'] and not trace.copies  # of the image


@pytest.mark.slow
@pytest.mark.parametrize('name', LARGE)
def test_large_networks_likewise(name: str) -> None:
    trace = forward(name, 12, 'bf16')
    check_attention(trace, LARGE[name])
    assert not trace.waits


@pytest.mark.slow
def test_in_float32() -> None:
    check_attention(forward('gsasr_edsr', 12, 'tf32'), 38)
    hat = inference('gsasr_ultra_hat', 'float32', (1, 60, 60), {'size': (720, 720)}, **FEW_LAYERS)
    check_attention(hat, FEW_CALLS)


@pytest.mark.slow
def test_tiles_do_not_wait() -> None:
    assert not forward('gsasr_small', 6, 'bf16', tile=48).waits


def test_a_training_step_waits_once() -> None:
    check_training_step('gsasr_small')


@pytest.mark.slow
@pytest.mark.parametrize('name', ['gsasr_edsr', 'gsasr_enhanced_edsr', *LARGE])
def test_training_steps_of_the_others_likewise(name: str) -> None:
    check_training_step(name, **FEW_LAYERS if name == 'gsasr_ultra_hat' else {})


def check_training_step(name: str, **changes: Any) -> None:
    """Fused attention, and one wait: for the losses and gradients that decide whether the step is taken."""
    trace = training_step(name, 'bf16', changes=changes)
    check_attention(trace, FEW_CALLS if changes else (NETWORKS | LARGE)[name])
    assert trace.waits == ['tolist']
    # A batch is drawn at once, and so is its gradient.
    assert name != 'gsasr_edsr' or not any(op.name == 'slice_backward' for op in trace.ops)
    # ReLUs write into no views, whose gradients would be copied.
    assert name == 'gsasr_rdn' or not any(op.name == 'relu_' for op in trace.ops)


@pytest.mark.slow
def test_bicubic_enlargements_are_few_products(traces: dict[str, Trace]) -> None:
    """In blocks of 256 pixels: a bicubic enlargement and three of consistency, with their reductions, and of two maps
    and a reduction that level: ten, each along two axes of 720 pixels."""
    assert 0 < sum(op.name in ('mm', 'bmm') for op in traces['gsasr_small'].ops) <= 10 * 2 * 3


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
    across = bias.transpose(1, 2)
    assert torch.equal(on_gpu.aligned(across), across) and on_gpu.aligned(across).stride() == bias.stride()


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


@pytest.mark.parametrize(('window', 'bias'), [(8, True), (7, False)])
def test_swinirs_attention_as_on_gpus_is_exact(window: int, bias: bool) -> None:
    """Beside BasicSR's, in windows that are shifted and not, of two images."""
    from gsasr_plugin.archs.encoders.swinir import FusibleAttention, SwinIRFeatures, shifted_window_mask

    torch.manual_seed(0)
    arguments: dict[str, Any] = {'embed_dim': 60, 'depths': [2], 'num_heads': [6], 'qkv_bias': bias}
    (plain, _) = SwinIRFeatures(window_size=window, **arguments).double().layers[0].residual_group.blocks
    attention = plain.attn
    assert isinstance(attention, FusibleAttention)
    x = torch.rand(2 * 6, window**2, 60).double()
    for mask in (None, shifted_window_mask(2 * window, 3 * window, window_size=window, like=x)):
        found, exact = attention.fused(x, mask), attention(x, mask)
        torch.testing.assert_close(found, exact, rtol=0, atol=1e-13)
        gradients = [torch.autograd.grad(y.square().sum(), list(attention.parameters())) for y in (found, exact)]
        for own, expected in zip(*gradients):
            torch.testing.assert_close(own, expected, rtol=1e-10, atol=1e-10)


class FloatsOfAllWindows(TorchDispatchMode):
    """Notes what makes so many float32 numbers, or more."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count, self.found = count, []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, Tensor) and x.dtype == torch.float32 and x.untyped_storage().nbytes() >= 4 * self.count:
                self.found.append(func)
        return result


def test_no_bias_of_all_windows_is_of_float32_under_autocast() -> None:
    """SwinIR's masks make one for each window of an image; two images here, with gradients."""
    encoder = build_encoder({'type': 'SwinIR', 'embed_dim': 60, 'depths': [2], 'num_heads': [6]}).to('meta').train()
    windows, T = 12, 64
    lq = torch.zeros(2, 3, 24, 32, device='meta')
    with meta_autocast(), tracing() as trace, FloatsOfAllWindows(windows * 6 * T * T) as large:
        with torch.autocast('meta', torch.bfloat16):
            y = encoder(lq)
        y.float().sum().backward()
    check_attention(trace, 2)
    assert not large.found


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


@pytest.mark.slow
def test_weights_are_cast_once(traces: dict[str, Trace]) -> None:
    """Of a forward pass with its weights in place, only what is computed is cast."""
    for name, trace in traces.items():
        net = _sizes(name)
        assert not [op for op in trace.ops if op.name in ('_to_copy', 'cat', 'constant_pad_nd') and op.bytes in net]


def _sizes(name: str) -> set[int]:
    """Bytes that casts of the weights of linear layers and convolutions would move."""
    layers = [module for module in build(name).modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    return {6 * layer.weight.numel() for layer in layers if layer.weight.numel() > 10**4}


@pytest.mark.slow
def test_no_relu_of_the_decoder_is_a_pass_of_its_own(traces: dict[str, Trace]) -> None:
    count = {name: sum('relu' in op.name for op in trace.ops) for name, trace in traces.items()}
    # Of EDSR's blocks, between the convolutions before the decoder, and of the scale's single row.
    assert count['gsasr_edsr'] == 16 + 1 + 1
    assert sum(op.name == '_addmm_activation' for op in traces['gsasr_edsr'].ops) >= 83


@pytest.mark.slow
def test_maps_stay_maps(traces: dict[str, Trace]) -> None:
    """No convolution is followed by a copy from planes to maps."""
    assert not any(op.name.startswith('pixel_shuffle') for trace in traces.values() for op in trace.ops)


def test_a_snapshot_keeps_weights_by_dtype() -> None:
    """As on GPUs, on the meta device, whose values nobody asks for: one pack for each layer and dtype."""
    options: dict[str, Any] = {'num_interaction_blocks': 1, 'scale_condition': False}  # that would ask for autocast
    net = GSASR(encoder_opt={'type': 'EDSR', 'num_block': 1}, embed_dim=48, num_heads=4, **options)
    snapshot = for_inference(copy.deepcopy(net).to('meta'))
    with torch.no_grad():
        for _ in range(2):
            snapshot.gaussians(torch.zeros(1, 3, 24, 24, device='meta'), 2, tile=None)
    packs = [len(module.packs) for module in snapshot.modules() if hasattr(module, 'packs')]
    assert max(packs) <= 4 and sum(packs) > 30


class FakeGraph(TorchDispatchMode):
    """A CUDA graph on the CPU: the operations within a context, done again on the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.done.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        for func, args, kwargs, result in self.done:
            for old, new in zip(tree_leaves(result), tree_leaves(func(*args, **kwargs))):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[FakeGraph]:
    """torch.cuda, of which each recording is noted."""
    made: list[FakeGraph] = []

    def new() -> FakeGraph:
        made.append(FakeGraph())
        return made[-1]

    @contextlib.contextmanager
    def record(graph: FakeGraph, pool: object, stream: object, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == 'thread_local'  # else what other threads ask of the GPU would fail
        with graph:
            yield

    stream = SimpleNamespace(wait_stream=lambda _: None)
    fakes = {
        'Stream': lambda: stream,
        'current_stream': lambda: stream,
        'stream': lambda _: contextlib.nullcontext(),
        'device': lambda _: contextlib.nullcontext(),
        'CUDAGraph': new,
        'graph': record,
        'graph_pool_handle': lambda: object(),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(cuda_graphs, '_is_cuda', lambda _: True)
    return made


def small_net() -> GSASR:
    torch.manual_seed(0)
    options: dict[str, Any] = {'num_interaction_blocks': 0, 'window_size': 4, 'gaussian_density': 4}
    return GSASR(encoder_opt={'type': 'EDSR', 'num_block': 1}, embed_dim=16, num_heads=2, **options).eval()


def test_a_recording_replays_other_images_and_scales(graphs: list[FakeGraph]) -> None:
    net = small_net()
    recorded = for_inference(net, cuda_graph=True)
    results = []
    with torch.no_grad():
        for i, size in enumerate([(8, 8), (8, 8), (8, 8), (8, 12), (8, 8), (8, 12)]):
            lq, scale = torch.rand(1, 3, *size), 2.0 + i
            found, expected = recorded(lq, scale), for_inference(net)(lq, scale)
            assert isinstance(found, Tensor) and torch.equal(found, expected), i
            results.append((recorded.gaussians(lq, scale).means, recorded.gaussians(lq, scale).means.clone()))
    assert len(graphs) == 2  # a size that comes once is not recorded
    assert all(torch.equal(kept, copied) for kept, copied in results)  # no later replay writes into a result


def test_pictures_of_one_size_are_recorded_once(graphs: list[FakeGraph]) -> None:
    """`gsasr upscale --cuda-graph`: of each size of pictures, whatever the sizes of their results."""
    recorded, plain = (
        Upscaler(small_net(), device='cpu', dtype='float32', cuda_graph=graph, tile=None) for graph in (True, False)
    )
    for i, (h, w) in enumerate([(8, 8), (8, 12), (8, 8), (8, 12), (8, 8), (8, 12)]):
        picture, size = torch.rand(1, 3, h, w), (3 * h + i, 2 * w)
        ((found,), (expected,)) = (upscaler.tensors(picture, [size]) for upscaler in (recorded, plain))
        assert torch.equal(found, expected), i
    assert len(graphs) == 2


def test_validation_records_each_size_once(graphs: list[FakeGraph], tmp_path: Path) -> None:
    """`val.cuda_graph`: of all images of a validation, by the averaged weights."""
    model = make_model(tmp_path)
    results = []
    for val in ({}, {'cuda_graph': True}):
        model.opt['val'] = val
        model.snapshot = model._for_inference()
        for _ in range(3):
            model.feed_data(batch())
            model.test()
            results.append(model.output)
    assert len(graphs) == 1
    for found in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found, results[0], strict=True))


def test_recordings_of_other_conditions_and_weights_are_others(graphs: list[FakeGraph]) -> None:
    recorder = cuda_graphs.Recorder()
    weights, x = torch.ones(2), torch.ones(3)

    def call(weights: Tensor) -> Tensor:
        with torch.no_grad():
            return recorder(lambda y: (y * weights.sum(),), weights, x)[0]

    for _ in range(3):
        call(weights)
    assert len(graphs) == 1
    moved = 2 * weights
    assert [call(moved)[0].item() for _ in range(3)] == [4.0] * 3 and len(graphs) == 2
    with precision.tf32(True):
        for _ in range(3):
            call(weights)
    assert len(graphs) == 3
    for length in range(4, 4 + 2 * cuda_graphs.KEPT):
        x = torch.ones(length)
        for _ in range(2):
            call(weights)
    assert sum(kept is not None for kept in recorder.recordings.values()) == cuda_graphs.KEPT


def test_what_cannot_be_recorded_is_computed_as_ever(graphs: list[FakeGraph], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Any:
        raise RuntimeError('operation not permitted when stream is capturing\nmore')

    monkeypatch.setattr(torch.cuda, 'graph', refuse)
    net = for_inference(small_net(), cuda_graph=True)
    lq = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        first = net(lq, 2)
        with pytest.warns(UserWarning, match='cannot be recorded.*: operation not permitted when stream is capturing$'):
            second = net(lq, 2)
        third = net(lq, 2)
    assert torch.equal(first, second) and torch.equal(first, third)


def test_with_gradients_nothing_is_recorded(graphs: list[FakeGraph]) -> None:
    recorder = cuda_graphs.Recorder()
    x = torch.ones(3, requires_grad=True)
    for _ in range(3):
        (result,) = recorder(lambda y: (2 * y,), torch.ones(1), x)
        assert torch.autograd.grad(result.sum(), x)[0].tolist() == [2.0] * 3
    assert not graphs and not recorder.recordings


def test_tf32_is_a_state_that_ends() -> None:
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    with precision.tf32(True):
        assert [backend.allow_tf32 for backend in backends] == [True, True]
        with precision.exact(torch.device('cpu')), torch.no_grad():
            assert [backend.allow_tf32 for backend in backends] == [False, False]
        assert [backend.allow_tf32 for backend in backends] == [True, True]
    assert [backend.allow_tf32 for backend in backends] == before


def test_tf32_ends_when_the_last_thread_has_left() -> None:
    """Threads that enter one after another need not leave in the order of the other way round."""
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    first, second = precision.tf32(True), precision.tf32(True)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert [backend.allow_tf32 for backend in backends] == [True, True]
    second.__exit__(None, None, None)
    assert [backend.allow_tf32 for backend in backends] == before


def test_free_memory_is_asked_for_only_where_tiles_could_be_needed() -> None:
    net = for_inference(small_net())
    with torch.no_grad(), mock.patch('gsasr_plugin.archs.tile_options.free_budget', return_value=1e12) as asked:
        assert net.tiles((96, 96)) is None and not asked.called  # tiles are not smaller
        assert net.tiles((97, 96)) is None and asked.call_count == 1
        with mock.patch('gsasr_plugin.archs.tile_options.held_bytes', return_value=1 << 40):
            assert net.tiles((500, 500)) is None and asked.call_count == 1
