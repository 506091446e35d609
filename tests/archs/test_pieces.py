"""Work in pieces, in fused kernels or twice over: the same numbers as in one go, written out plainly."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import gsasr_ops
from gsasr_plugin.archs import primary_head
from gsasr_plugin.archs.decoder import GaussianDecoder
from gsasr_plugin.archs.gaussians import Gaussians
from gsasr_plugin.archs.linear import linear
from gsasr_plugin.archs.map_conv import PlaneConv, convolve_by_kernel
from gsasr_plugin.archs.primary_head import GaussianPrimaryHead
from gsasr_plugin.archs.window_attention import RelativePositionBias

FIELDS = ('means', 'sigmas', 'rhos', 'opacities', 'colors')


def small_decoder(**options) -> GaussianDecoder:
    torch.manual_seed(0)
    sizes = {'num_features': 6, 'embed_dim': 16, 'num_heads': 2, 'window_size': 4, 'num_interaction_blocks': 1}
    return GaussianDecoder(**{**sizes, 'num_interaction_layers': 2, **options}).double()


def assert_same(got: Gaussians, expected: Gaussians, tolerance: float) -> None:
    for field in FIELDS:
        torch.testing.assert_close(getattr(got, field), getattr(expected, field), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize('density', [1, 4, 9, 16])
def test_bands_and_slices_change_nothing(density: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head = GaussianPrimaryHead(embed_dim=8, gaussian_density=density).double()
    x = torch.randn(2, 11, 7, 8, dtype=torch.float64)
    with torch.no_grad():
        whole = head(x)
        monkeypatch.setattr(primary_head, 'BAND_PIXELS', 2 * 7 * 3)  # three rows of both images
        monkeypatch.setattr(primary_head, 'SLICE_CPU', 5)
        assert [len(band) for band in head._bands(x)] == [3, 3, 3, 2]
        pieces = head(x)
    # Float64, and sums in another order at most.
    assert_same(pieces, whole, 1e-12)


@pytest.mark.parametrize('parts', ['heads', 'decoder'])
def test_checkpointing_recomputes_and_changes_no_gradient(parts) -> None:
    decoder = small_decoder()
    features = torch.randn(2, 6, 8, 4, dtype=torch.float64)
    scale = torch.tensor((1.5, 3.0), dtype=torch.float64)
    calls: list[int] = []
    decoder.gaussian_interaction[0].layers[0].register_forward_pre_hook(lambda *_: calls.append(1))

    def gradients() -> list[Tensor]:
        gaussians = decoder(features, scale)
        total = sum((getattr(gaussians, field) * (i + 1)).square().sum() for i, field in enumerate(FIELDS))
        return list(torch.autograd.grad(total, list(decoder.parameters())))

    expected = gradients()
    before = len(calls)
    decoder.checkpoint_gradients(parts)
    assert decoder.primary_head.recompute
    got = gradients()
    assert len(calls) - before == (2 if parts == 'decoder' else 1)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    decoder.checkpoint_gradients(None)
    assert not decoder.primary_head.recompute


def test_checkpointing_keeps_less() -> None:
    """Bytes that autograd keeps for the backward pass."""

    def kept(decoder: GaussianDecoder) -> int:
        sizes: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            gaussians = decoder(torch.randn(2, 6, 16, 16, dtype=torch.float64), torch.ones(2, dtype=torch.float64))
        del gaussians
        return sum(sizes.values())

    decoder = small_decoder(gaussian_density=16)
    everything = kept(decoder)
    decoder.checkpoint_gradients('heads')
    assert kept(decoder) < 0.5 * everything


@pytest.mark.parametrize('side', [1, 2, 5])
def test_biases_are_looked_up_by_offset(side: int) -> None:
    """The row of the table that its docstring states, for each pair, and gradients to where the bias came from."""
    module = RelativePositionBias(num_heads=3, window_size=side)
    bias = module()
    weights = torch.randn(bias.shape)
    (bias * weights).sum().backward()
    expected, v_table = torch.zeros(bias.shape), torch.zeros(module.table.shape)
    for query in range(side * side):
        for key in range(side * side):
            dy, dx = query // side - key // side, query % side - key % side
            row = (dy + side - 1) * (2 * side - 1) + dx + side - 1
            expected[:, query, key] = module.table[row]
            v_table[row] += weights[:, query, key]
    assert torch.equal(bias, expected)
    torch.testing.assert_close(module.table.grad, v_table)  # sums of up to 25 numbers of about 1


@pytest.mark.parametrize('grad', [False, True])
@pytest.mark.parametrize('relu', [False, True])
@pytest.mark.parametrize(('half', 'tolerance'), [(False, 1e-5), (True, 4e-2)])
def test_linear(grad: bool, relu: bool, half: bool, tolerance: float) -> None:
    """Against float64, with rows that do not follow each other in memory; bfloat16 keeps eight bits."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 7, 12, generator=generator)[..., 2:10]
    weight, bias = torch.randn(3, 8, generator=generator), torch.randn(3, generator=generator)
    expected = x.double() @ weight.double().T + bias.double()
    expected = expected.clamp(min=0) if relu else expected
    weight.requires_grad_(grad)
    with torch.set_grad_enabled(grad), torch.autocast('cpu', torch.bfloat16, enabled=half):
        got = linear(x, weight, bias, relu=relu)
    assert got.dtype == (torch.bfloat16 if half else torch.float32)
    assert got.requires_grad == grad
    torch.testing.assert_close(got.double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'position_encoding': 'rope', 'closing_conv': True},
        {'scale_condition': False, 'gaussian_density': 1},
    ],
)
@pytest.mark.parametrize(('half', 'tolerance'), [(False, 1e-5), (True, 6e-2)])
def test_layers_by_either_kernels(layers_by: str, options: dict, half: bool, tolerance: float) -> None:
    """Two images of different scales, windows that are shifted, against float64; bfloat16 keeps eight bits.

    A float64 network takes plain PyTorch everywhere.
    """
    decoder = small_decoder(**options)
    features = torch.randn(2, 6, 8, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scale = torch.tensor((1.5, 3.0), dtype=torch.float64)
    with torch.no_grad():
        expected = decoder(features, scale)
        with torch.autocast('cpu', torch.bfloat16, enabled=half):
            got = decoder.float()(features.float(), scale.float())
    for field in FIELDS:
        assert getattr(got, field).dtype == torch.float32
        torch.testing.assert_close(
            getattr(got, field).double(), getattr(expected, field), rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize('options', [{}, {'position_encoding': 'rope', 'closing_conv': True}])
def test_networks_of_other_types_stay_with_pytorch(options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit: in bfloat16 throughout, and in float64, which autocast leaves alone."""
    features = torch.randn(2, 6, 8, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scale = torch.tensor((1.5, 3.0), dtype=torch.float64)
    for dtype in (torch.bfloat16, torch.float64):
        decoder = small_decoder(**options).to(dtype)
        results = []
        for multiplied in (frozenset(), frozenset((torch.float32, torch.bfloat16))):
            monkeypatch.setattr(gsasr_ops, 'MULTIPLIED', multiplied)
            with torch.no_grad(), torch.autocast('cpu', torch.bfloat16, enabled=dtype == torch.float64):
                results.append(decoder(features.to(dtype), scale.to(dtype)))
        assert all(torch.equal(getattr(results[0], field), getattr(results[1], field)) for field in FIELDS)
        assert results[0].means.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_gradients_where_the_kernels_have_none(layers_by: str) -> None:
    decoder = small_decoder().float()
    features, scale = torch.randn(1, 6, 4, 4), torch.tensor((2.0,))
    gaussians = decoder(features, scale)
    torch.stack([getattr(gaussians, field).sum() for field in FIELDS]).sum().backward()
    assert all(parameter.grad is not None for parameter in decoder.parameters())


@pytest.mark.parametrize('grad', [False, True])
def test_convolutions_of_an_encoder(layers_by: str, grad: bool) -> None:
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
    plain = copy.deepcopy(net).double()
    names = list(net.state_dict())
    convolve_by_kernel(net)
    assert [type(layer) is PlaneConv for layer in net] == [True] * len(changed) + [False] * len(kept)
    assert list(net.state_dict()) == names
    with torch.set_grad_enabled(grad):
        got = net(x)
    assert got.requires_grad == grad
    # Float32 through eleven layers, of numbers of about 1.
    torch.testing.assert_close(got.double(), plain(x.double()), rtol=1e-5, atol=1e-5)
