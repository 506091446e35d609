"""Work in pieces or twice over: the same numbers as in one go, written out plainly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gsasr_plugin.archs import primary_head
from gsasr_plugin.archs.decoder import GaussianDecoder
from gsasr_plugin.archs.gaussians import Gaussians
from gsasr_plugin.archs.window_attention import RelativePositionBias
from tests.archs.decoders import make_decoder, make_head

FIELDS = ('means', 'sigmas', 'rhos', 'opacities', 'colors')


def small_decoder(**options) -> GaussianDecoder:
    torch.manual_seed(0)
    sizes = {'num_features': 6, 'embed_dim': 16, 'num_heads': 2, 'window_size': 4, 'num_interaction_blocks': 1}
    return make_decoder(**{**sizes, 'num_interaction_layers': 2, **options}).double()


def assert_same(got: Gaussians, expected: Gaussians, tolerance: float) -> None:
    for field in FIELDS:
        torch.testing.assert_close(getattr(got, field), getattr(expected, field), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize('density', [1, 4, 9, 16])
def test_bands_and_slices_change_nothing(density: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head = make_head(embed_dim=8, gaussian_density=density).double()
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
