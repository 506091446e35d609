"""Snapshots for inference: the same results as the network's own modules, which are left as they are."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gsasr_ops
import gsasr_plugin
from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs import inference as fused
from gsasr_plugin.archs.gaussians import Gaussians
from gsasr_plugin.archs.inference import for_inference
from gsasr_plugin.models.compute import prepare
from tests.archs.test_encoders import SMALL
from tests.archs.test_gsasr import WITHOUT_ATTENTION

FIELDS = ('means', 'sigmas', 'rhos', 'opacities', 'colors')
BOTH = frozenset((torch.float32, torch.bfloat16))
ENHANCED = {'position_encoding': 'rope', 'closing_conv': True}


def make_net(encoder: str = 'EDSR', **options: Any) -> GSASR:
    """Wide enough for the kernel of convolutions, with weights that make Gaussians depend on all of it."""
    torch.manual_seed(0)
    wide = {'num_feat': 20, 'num_grow_ch': 16} if encoder != 'HAT' else {'num_feat': 20, 'embed_dim': 32}
    encoder_opt = {key: wide.get(key, value) for key, value in SMALL[encoder][0].items()}
    sizes = {'embed_dim': 16, 'num_heads': 2, 'window_size': 4, 'num_interaction_blocks': 2, 'gaussian_density': 4}
    net = GSASR(encoder_opt=encoder_opt, **{**sizes, 'num_interaction_layers': 2, **options}).eval()
    for name, p in net.named_parameters():
        if p.ndim > 1 and name.endswith('weight'):
            nn.init.normal_(p, std=p[0].numel() ** -0.5)
    return net


def image(size: tuple[int, int] = (13, 18), batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(1))


def errors(got: Gaussians, exact: Gaussians) -> Tensor:
    """Of each field, the root of the mean square."""
    differences = (getattr(got, field).double() - getattr(exact, field) for field in FIELDS)
    return torch.stack([difference.square().mean().sqrt() for difference in differences])


def assert_as_exact_as_the_formulas(net: GSASR, lq: Tensor, **tiles: Any) -> None:
    """The Gaussians of network and snapshot beside those of the same network in float64, in float32 and bfloat16.

    Both round each result of a layer, in another order of sums: the two errors are of one size, and the kernels' is
    the smaller one where they keep sums in float32. In bfloat16 single sums differ by a unit of its last place more.
    """
    snapshot = for_inference(net)
    with torch.no_grad():
        exact = copy.deepcopy(net).double().gaussians(lq.double(), 2.5, **tiles)
        for half in (False, True):
            with torch.autocast('cpu', torch.bfloat16, enabled=half):
                plain, got = (errors(n.gaussians(lq, 2.5, **tiles), exact) for n in (net, snapshot))
            # Of the smallest numbers, of about 1, float32 itself has errors of 1e-8.
            assert (got <= 1.5 * plain + 1e-7).all(), (half, got, plain)
            assert (plain <= (3e-2 if half else 1e-5)).all()


@pytest.fixture(params=['gsasr_ops', 'oneDNN'])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(gsasr_ops, 'MULTIPLIED', BOTH if request.param == 'gsasr_ops' else frozenset())
    return request.param


@pytest.mark.parametrize('encoder', SMALL)
def test_every_encoder_gives_the_same(encoder: str, kernels: str) -> None:
    assert_as_exact_as_the_formulas(make_net(encoder), image())


@pytest.mark.parametrize(
    'options',
    [
        ENHANCED,
        {'scale_condition': False, 'gaussian_density': 1},
        {'relative_colors': True, 'feature_skip': True},
        {'bicubic_skip': True},
        {**WITHOUT_ATTENTION, 'bicubic_skip': True, 'joint_head': True},
    ],
    ids=['enhanced', 'unconditioned', 'relative', 'skip', 'unattended'],
)
@pytest.mark.parametrize('tiles', [{}, {'tile': 12, 'tile_overlap': 4}], ids=['whole', 'tiles'])
def test_every_decoder_gives_the_same(options: dict[str, Any], tiles: dict[str, Any], kernels: str) -> None:
    assert_as_exact_as_the_formulas(make_net(**options), image((9, 23), 1), **tiles)


def test_the_packaged_model_gives_the_same(kernels: str) -> None:
    assert_as_exact_as_the_formulas(gsasr_plugin.load('gsasr-small'), image((21, 33), 1), tile=24, tile_overlap=8)


@pytest.mark.parametrize('options', [{}, ENHANCED], ids=['paper', 'enhanced'])
def test_all_that_can_be_is_fused(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """No step of the decoder goes back to the formulas, nor a convolution of 16 channels or more."""
    monkeypatch.setattr(gsasr_ops, 'MULTIPLIED', BOTH)
    snapshot = for_inference(make_net('HAT', **options))
    ways = {'perceptron': 0, 'convolution': 0, 'window_attention': 0}

    def count(name: str) -> None:
        function = getattr(gsasr_ops, name)

        def call(*args: Any, **kwargs: Any) -> Tensor:
            ways[name] += 1
            return function(*args, **kwargs)

        monkeypatch.setattr(gsasr_ops, name, call)

    for name in ways:
        count(name)
    with torch.inference_mode():
        snapshot.gaussians(image((12, 12), 1), 2)
    # 6 layers: 2 of the injection block, with queries apart, and 2 blocks of 2; a perceptron for each block; 5 heads.
    assert ways['perceptron'] == 2 * 5 + 4 * 4 + 3 + 5 + 4 * 2
    # Features' projection 2, enlargement 2, closing 4; HAT's first one sees 3 channels, 2 of each of 4 blocks, 2
    # groups, after the body, features.
    assert ways['convolution'] == 4 + (4 if options else 0) + 4 * 2 + 2 + 2
    assert ways['window_attention'] == 6 + 4


@pytest.mark.parametrize('half', [False, True])
def test_weights_are_packed_once(half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over images, sizes and tiles; and once more for another dtype."""
    monkeypatch.setattr(gsasr_ops, 'MULTIPLIED', BOTH)
    packed: list[torch.dtype] = []

    def counted(function: Callable[..., Any], *args: Any, operands: torch.dtype) -> Any:
        packed.append(operands)
        return function(*args, operands=operands)

    for name in ('pack_perceptron', 'pack_convolution'):
        monkeypatch.setattr(gsasr_ops, name, partial(counted, getattr(gsasr_ops, name)))
    snapshot = for_inference(make_net(**ENHANCED))

    def run() -> None:
        with torch.inference_mode(), torch.autocast('cpu', torch.bfloat16, enabled=half):
            snapshot(image((9, 23), 1), scale=2, tile=12, tile_overlap=4)
            snapshot(image((13, 18)), size=[(20, 30), (31, 7)])

    run()
    # Perceptrons: 3 of each of 2 injection layers, and queries apart; 4 of 4 interaction layers; of 3 blocks; 5 heads.
    # Convolutions: EDSR's 5 (its first one sees 3 channels), 2 and 2 around the blocks, 4 that close them.
    assert packed == [torch.bfloat16 if half else torch.float32] * (2 * 5 + 4 * 4 + 3 + 5 + 5 + 2 + 2 + 4)
    half = not half
    run()
    assert len(packed) == 2 * packed.count(torch.float32)


def test_the_network_is_left_as_it_is() -> None:
    net = make_net('HAT').train()
    net.encoder.requires_grad_(False)
    hooked: list[nn.Module] = []
    net.decoder.primary_head.register_forward_hook(lambda module, *_: hooked.append(module))
    flags = [p.requires_grad for p in net.parameters()]
    classes = [type(module) for module in net.modules()]
    weights = {key: value.clone() for key, value in net.state_dict().items()}
    places = [p.data_ptr() for p in net.parameters()]

    snapshot = for_inference(net)
    snapshot.decoder.primary_head.register_forward_hook(lambda module, *_: hooked.append(module))
    snapshot.decoder.checkpoint_gradients('decoder')
    assert [p.data_ptr() for p in snapshot.parameters()] == places  # no memory for weights
    assert list(snapshot.state_dict()) == list(weights) and not snapshot.training
    with torch.inference_mode():
        snapshot(image(), scale=2)
    assert hooked == [snapshot.decoder.primary_head] * 2
    snapshot.double()
    assert isinstance(snapshot, GSASR) and snapshot.options == net.options

    assert [type(module) for module in net.modules()] == classes
    assert all(module.training for module in net.modules())
    assert [p.requires_grad for p in net.parameters()] == flags and not net.decoder.primary_head.recompute
    assert [p.data_ptr() for p in net.parameters()] == places
    assert all(torch.equal(value, weights[key]) for key, value in net.state_dict().items())


def same(*results: Gaussians) -> bool:
    return all(torch.equal(getattr(results[0], field), getattr(results[1], field)) for field in FIELDS)


@pytest.mark.parametrize('options', [{}, ENHANCED], ids=['paper', 'enhanced'])
def test_what_the_kernels_cannot_do_is_the_networks_own_result(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit: with gradients, and of weights in other types, which autocast leaves alone."""
    monkeypatch.setattr(gsasr_ops, 'MULTIPLIED', BOTH)
    net = make_net('HAT', **options)
    snapshot = for_inference(net)
    gradients = []
    for each in (net, snapshot):
        lq = image().requires_grad_()
        each(lq, scale=2).square().sum().backward()
        gradients.append(lq.grad)
    assert torch.equal(*gradients)
    assert same(net.gaussians(image(), 2), snapshot.gaussians(image(), 2))
    assert all(p.grad is None for p in snapshot.parameters())
    with torch.no_grad():
        snapshot.gaussians(image(), 2)
        for dtype in (torch.float64, torch.bfloat16):
            lq = image().to(dtype)
            with torch.autocast('cpu', torch.bfloat16, enabled=dtype == torch.float64):
                assert same(copy.deepcopy(net).to(dtype).gaussians(lq, 2), snapshot.to(dtype).gaussians(lq, 2))
        # Packed anew, for its weights have been through bfloat16.
        again = for_inference(copy.deepcopy(net).bfloat16().float()).gaussians(image(), 2)
        assert same(snapshot.float().gaussians(image(), 2), again)


def test_hooks_are_called_as_in_the_network() -> None:
    net = make_net()
    called: list[str] = []
    for name, module in net.named_modules():
        module.register_forward_hook(lambda *_, name=name: called.append(name))
    with torch.no_grad():
        net.gaussians(image(), 2.5)
        by_network = called.copy()
        called.clear()
        for_inference(net).gaussians(image(), 2.5)
    assert called == by_network and len(called) > 50


@pytest.mark.filterwarnings('ignore:.*weight_norm:FutureWarning')
@pytest.mark.parametrize('weight_norm', [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
def test_weights_that_are_computed_are_those_of_now(weight_norm: Callable[[nn.Module], nn.Module]) -> None:
    """After a step, of which modules hear when they are called. Rounding differs by 1e-4, weights of before by 0.1."""
    net = make_net()
    for module in list(net.modules()):
        if isinstance(module, nn.Linear | nn.Conv2d):
            weight_norm(module)
    with torch.no_grad():
        before = net.gaussians(image(), 2.5)
        for p in net.parameters():
            p.mul_(1.25)
        found, expected = (one.gaussians(image(), 2.5) for one in (for_inference(net), net))
    distances = [
        max((a - b).abs().max() for a, b in zip(*pair))
        for pair in (
            [[getattr(one, field) for field in FIELDS] for one in (gaussians, expected)]
            for gaussians in (found, before)
        )
    ]
    assert distances[0] < 1e-3 and distances[1] > 0.1


def test_weights_are_not_loaded_into_a_snapshot() -> None:
    net = make_net()
    with pytest.raises(RuntimeError, match='load them into the network itself'):
        for_inference(net).load_state_dict(net.state_dict())


@pytest.mark.slow
def test_a_compiled_network_is_not_called() -> None:
    net = make_net()
    prepare(net, {'compile': True})
    calls: list[int] = []
    net.decoder.register_forward_pre_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        for_inference(net.decoder)(torch.rand(1, 20, 4, 4), torch.ones(1))
    assert calls == [1]  # the snapshot's copy of the hook, once


@pytest.mark.parametrize('grad', [False, True])
def test_convolutions_of_an_encoder(computed: Callable[[Any], Any], grad: bool) -> None:
    """Those that the kernel can do are done by it without gradients; all give what they gave."""

    class Subclass(nn.Conv2d):
        pass

    torch.manual_seed(0)
    changed = [nn.Conv2d(16, 20, 3, padding=1), nn.Conv2d(20, 16, (3, 3), padding=(1, 1))]
    kept = [
        nn.Conv2d(16, 16, 3, padding=1, stride=2),
        nn.Conv2d(16, 16, 3, padding=1, groups=2),
        nn.Conv2d(16, 16, 3, padding=1, padding_mode='reflect'),
        nn.Conv2d(16, 16, 3, padding=2, dilation=2),
        nn.Conv2d(16, 16, 3, padding=1, bias=False),
        nn.Conv2d(16, 16, 3, padding='same'),
        nn.Conv2d(16, 3, 1),
        nn.Conv2d(3, 16, 3, padding=1),
        Subclass(16, 16, 3, padding=1),
    ]
    net = nn.Sequential(*changed, *kept)
    x = torch.randn(2, 16, 13, 11)
    snapshot = computed(net)
    count = len(changed) if snapshot is not net else 0
    assert [isinstance(layer, fused._FusedConvolution) for layer in snapshot] == [True] * count + [False] * (11 - count)
    assert [type(layer) for layer in net] == [nn.Conv2d] * 10 + [Subclass]
    with torch.set_grad_enabled(grad):
        got = snapshot(x)
    # Float32 through eleven layers, of numbers of about 1.
    torch.testing.assert_close(got.double(), copy.deepcopy(net).double()(x.double()), rtol=1e-5, atol=1e-5)
