"""LIIF's formulas, beside loops over the paper's equations in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import gsasr_ops
from gsasr_plugin.archs.padding import pad_to_multiple
from gsasr_plugin.data.bicubic import resize_bicubic
from tests.benchmarks.liif import network
from tests.benchmarks.liif.network import GREY, LIIF, LocalDecoder, neighbours

EDSR = {'type': 'EDSR', 'num_feat': 3, 'num_block': 1}
# Wants both sides to be multiples of 4.
SWINIR = {'type': 'SwinIR', 'window_size': 4, 'embed_dim': 8, 'depths': [1], 'num_heads': [2]}


def liif(*, encoder_opt: dict[str, Any] = EDSR, **options: Any) -> LIIF:
    torch.manual_seed(0)
    return LIIF(encoder_opt=encoder_opt, **{'width': 8, 'depth': 4, **options})


def image(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def unfolded(features: Tensor, row: int, column: int) -> list[float]:
    """The 3 x 3 features around a code, zeros outside: channel by channel, (9 C,)."""
    C, h, w = features.shape
    around = [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return [features[c, y, x].item() if 0 <= y < h and 0 <= x < w else 0.0 for c in range(C) for y, x in around]


def mlp(decoder: LocalDecoder, x: list[float]) -> Tensor:
    """The paper's f, with the first layer as one."""
    first = torch.cat([decoder.features.weight.flatten(1), decoder.coordinates.weight], 1)
    value = first @ torch.tensor(x, dtype=torch.float64) + decoder.features.bias
    for layer in decoder.layers:
        value = layer.weight @ value.clamp(min=0) + layer.bias
    return value


def loops(net: LIIF, lq: Tensor, size: tuple[int, int]) -> Tensor:
    """The paper's Eqs. 1 to 4 for one image, (3, h, w) to (3, H, W), in coordinates where it spans -1..1."""
    h, w = lq.shape[1:]
    H, W = size
    features = net.encoder(pad_to_multiple(lq[None], net.encoder.multiple))[0, :, :h, :w]
    result = torch.zeros(3, H, W, dtype=torch.float64)
    for i in range(H):
        for j in range(W):
            y, x = -1 + (2 * i + 1) / H, -1 + (2 * j + 1) / W
            # Codes up to one beyond the border on each side, in the order of their positions.
            rows = [(k, -1 + (2 * k + 1) / h) for k in range(-1, h + 1)]
            columns = [(k, -1 + (2 * k + 1) / w) for k in range(-1, w + 1)]
            above = max(k for k, v in rows if v <= y + 1e-12)
            left = max(k for k, v in columns if v <= x + 1e-12)
            areas, values = {}, {}
            for t in [(0, 0), (0, 1), (1, 0), (1, 1)]:
                (row, v_y), (column, v_x) = rows[above + 1 + t[0]], columns[left + 1 + t[1]]
                areas[t] = abs((y - v_y) * (x - v_x))
                code = unfolded(features, min(max(row, 0), h - 1), min(max(column, 0), w - 1))
                values[t] = mlp(net.decoder, [*code, (y - v_y) * h, (x - v_x) * w, 2 / H * h, 2 / W * w])
            total = sum(areas.values())
            for (a, b), value in values.items():
                result[:, i, j] += areas[1 - a, 1 - b] / total * value
    return result


@pytest.mark.parametrize(
    'encoder_opt, size', [(EDSR, (3, 4)), (EDSR, (7, 9)), (EDSR, (12, 8)), (EDSR, (2, 3)), (SWINIR, (5, 7))]
)
def test_formulas(encoder_opt: dict[str, Any], size: tuple[int, int]) -> None:
    """Float64 on both sides; sums of 30 products of numbers below 4 differ by some 1e-15."""
    net, lq = liif(encoder_opt=encoder_opt).double(), image(2, 3, 3, 4)
    expected = torch.stack([loops(net, one, size) for one in lq]) + GREY
    assert expected.std() > 0.01
    torch.testing.assert_close(net(lq, size=size), expected, rtol=0, atol=1e-12)


def test_the_first_layer_starts_as_one() -> None:
    torch.manual_seed(0)
    decoder = LocalDecoder(20, width=300, depth=4)
    bound = 1 / math.sqrt(9 * 20 + 4)
    for parameter in (decoder.features.weight, decoder.coordinates.weight, decoder.features.bias):
        assert parameter.abs().max() <= bound
        assert parameter.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.15)


@pytest.mark.parametrize('lq_size, size', [((1, 1), (5, 3)), ((4, 5), (4, 5)), ((4, 5), (9, 17)), ((6, 3), (72, 36))])
def test_local_ensemble(lq_size: tuple[int, int], size: tuple[int, int]) -> None:
    """Weights sum to 1, and the codes' weighted positions are the pixel's: bilinear."""
    every = torch.arange(size[0] * size[1])
    around = neighbours(every, lq_size, size)
    assert around.weights.min() >= 0
    torch.testing.assert_close(around.weights.sum(0), torch.ones(len(every), dtype=torch.float64), rtol=0, atol=1e-14)
    offsets = (around.weights[..., None] * around.coordinates[..., :2]).sum(0)
    torch.testing.assert_close(offsets, torch.zeros_like(offsets), rtol=0, atol=1e-13)
    assert around.coordinates[..., :2].abs().max() <= 2
    assert 0 <= around.index.min() <= around.index.max() < lq_size[0] * lq_size[1]


@pytest.mark.parametrize('size', [(6, 10), (7, 13), (36, 60)])
def test_with_a_skip_nothing_learnt_is_bicubic(size: tuple[int, int]) -> None:
    net, lq = liif(skip=True), image(1, 3, 3, 5).float()
    torch.nn.init.zeros_(net.decoder.layers[-1].weight)
    torch.nn.init.zeros_(net.decoder.layers[-1].bias)
    bicubic = resize_bicubic(np.ascontiguousarray(lq[0].permute(1, 2, 0)), size)
    with torch.no_grad():
        assert np.array_equal(net(lq, size=size)[0].permute(1, 2, 0), bicubic)
    net.skip = False
    with torch.no_grad():
        assert (net(lq, size=size) == GREY).all()


def test_skip_is_added() -> None:
    net, lq = liif(skip=True).double(), image(1, 3, 3, 4)
    bicubic = torch.from_numpy(resize_bicubic(np.ascontiguousarray(lq[0].permute(1, 2, 0)), (7, 9))).permute(2, 0, 1)
    torch.testing.assert_close(net(lq, size=(7, 9))[0], loops(net, lq[0], (7, 9)) + bicubic, rtol=0, atol=1e-12)


@pytest.mark.parametrize('skip', [False, True])
def test_some_pixels_are_those_of_the_whole(skip: bool) -> None:
    net, lq = liif(skip=skip).double(), image(2, 3, 5, 4)
    sizes = [(11, 9), (5, 8)]
    pixels = [torch.tensor([98, 0, 41]), torch.tensor([7, 39])]
    whole = net(lq, size=sizes)
    for part, at, full in zip(net(lq, size=sizes, pixels=pixels), pixels, whole):
        torch.testing.assert_close(part, full.flatten(1)[:, at], rtol=0, atol=1e-12)


def test_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without gradients pixels are computed a part at a time."""
    net, lq = liif().double(), image(1, 3, 4, 5)
    whole = net(lq, size=(13, 11))
    monkeypatch.setattr(network, 'QUERIES', 17)
    with torch.no_grad():
        torch.testing.assert_close(net(lq, size=(13, 11)), whole.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize('encoder_opt', [EDSR, SWINIR])
def test_sizes(encoder_opt: dict[str, Any]) -> None:
    """Any size and scale, also of images that the encoder wants padded."""
    net, lq = liif(encoder_opt=encoder_opt), image(2, 3, 9, 7).float()
    assert net(lq, scale=2.5).shape == (2, 3, 23, 18)
    assert net(lq, scale=(1.0, 4.0)).shape == (2, 3, 9, 28)
    assert net(lq[:1], size=(100, 3)).shape == (1, 3, 100, 3)
    assert [tuple(one.shape) for one in net(lq, scale=[2.0, 3.0])] == [(3, 18, 14), (3, 27, 21)]


@pytest.mark.skipif(torch.float32 not in gsasr_ops.MULTIPLIED, reason='no kernel on this machine')
def test_the_kernel_computes_the_same() -> None:
    """The MLP without gradients: in float32 it differs by rounding, in bfloat16 by its 8 bits."""
    net, lq = liif(width=32), image(1, 3, 6, 5).float()
    plain = net(lq, scale=3).detach()
    with torch.no_grad():
        torch.testing.assert_close(net(lq, scale=3), plain, rtol=0, atol=1e-6)
        with torch.autocast('cpu', torch.bfloat16):
            half = net(lq, scale=3)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, plain, rtol=0, atol=2**-7 * (plain - GREY).abs().max().item() * 4)
