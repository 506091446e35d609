"""The whole network: geometry, sizes, options, gradients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from gsasr_ops.attention.reference import rotate
from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.gaussians import Gaussians
from gsasr_plugin.archs.rope import MixedRotaryEmbedding
from gsasr_plugin.archs.window_attention import by_offset

# Sums of up to a thousand float32 terms against float64, and a cut-off at 5 standard deviations (rasterizer error
# 0.0004 of an 8-bit level): 1e-5 of the range 0..1 holds both.
TOLERANCE = 1e-5

WITHOUT_ATTENTION = {'num_injection_blocks': 0, 'num_interaction_blocks': 0, 'feature_skip': True}


def small_gsasr(**options: Any) -> GSASR:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        'encoder_opt': {'type': 'EDSR', 'num_feat': 8, 'num_block': 1},
        'embed_dim': 16,
        'num_heads': 2,
        'window_size': 4,
        'num_interaction_blocks': 1,
        'num_interaction_layers': 2,
        'gaussian_density': 4,
        'support': 5.0,
    }
    return GSASR(**(sizes | options))


def sum_of_gaussians(gaussians: Gaussians, size: tuple[int, int]) -> np.ndarray:
    """Eq. 1-4 of the paper, term by term, in float64: (B, 3, H, W)."""
    h, w = gaussians.lq_size
    H, W = size
    x = (np.arange(W) + 0.5) * w / W
    y = (np.arange(H) + 0.5) * h / H
    fields = (gaussians.means, gaussians.sigmas, gaussians.rhos, gaussians.opacities, gaussians.colors)
    means, sigmas, rhos, opacities, colors = (field.detach().double().numpy() for field in fields)
    images = np.zeros((len(means), 3, H, W))
    for b in range(len(means)):
        for n in range(means.shape[1]):
            u = ((x - means[b, n, 0]) / sigmas[b, n, 0])[None, :]
            v = ((y - means[b, n, 1]) / sigmas[b, n, 1])[:, None]
            rho = rhos[b, n]
            f = np.exp(-(u * u - 2 * rho * u * v + v * v) / (2 * (1 - rho * rho)))
            images[b] += opacities[b, n] * colors[b, n][:, None, None] * f
    return images


@pytest.mark.parametrize('size', [(7, 9), (12, 31)])
def test_image_is_the_sum_of_the_gaussians(size: tuple[int, int]) -> None:
    net = small_gsasr()
    lq = torch.rand(2, 3, 5, 6)
    with torch.no_grad():
        gaussians = net.gaussians(lq, 2)
        image = net.render(gaussians, size)
    assert gaussians.lq_size == (5, 6)
    assert gaussians.means.shape == (2, 4 * 8 * 8, 2)  # padded to two windows of 4
    np.testing.assert_allclose(image.numpy(), sum_of_gaussians(gaussians, size), atol=TOLERANCE)


@pytest.mark.parametrize('lq_size', [(1, 1), (1, 9), (3, 4), (17, 5)])
@pytest.mark.parametrize('scale', [1, 2.7, 12])
def test_any_size_and_scale(lq_size: tuple[int, int], scale: float) -> None:
    h, w = lq_size
    with torch.no_grad():
        image = small_gsasr()(torch.rand(1, 3, h, w), scale=scale)
    assert image.shape == (1, 3, math.floor(h * scale + 0.5), math.floor(w * scale + 0.5))
    assert image.isfinite().all()


def test_mixed_batch_equals_its_images_one_by_one() -> None:
    net = small_gsasr()
    lq = torch.rand(3, 3, 6, 5)
    scales = [(1.0, 1.0), (2.5, 2.5), (3.0, 1.6)]
    with torch.no_grad():
        together = net(lq, scale=scales)
        for i, pair in enumerate(scales):
            alone = net(lq[i : i + 1], scale=[pair])[0]
            assert together[i].shape == alone.shape
            torch.testing.assert_close(together[i], alone, atol=TOLERANCE, rtol=0)


def test_one_size_gives_a_tensor_and_encoding_once_gives_the_same() -> None:
    net = small_gsasr()
    lq = torch.rand(2, 3, 6, 5)
    with torch.no_grad():
        image = net(lq, scale=(2, 2))
        assert isinstance(image, torch.Tensor) and image.shape == (2, 3, 12, 10)
        torch.testing.assert_close(net.render(net.gaussians(lq, 2), (12, 10)), image, atol=0, rtol=0)
        torch.testing.assert_close(net(lq, size=(12, 10)), image, atol=0, rtol=0)
        assert isinstance(net(lq, size=[(12, 10), (3, 3)]), list)


def test_unequal_scales_condition_on_their_geometric_mean() -> None:
    net = small_gsasr()
    lq = torch.rand(1, 3, 4, 4)
    with torch.no_grad():
        unequal, equal, other = (net.gaussians(lq, s) for s in ([(2, 4.5)], 3, 2))
    torch.testing.assert_close(unequal.means, equal.means)
    assert not torch.allclose(other.means, equal.means)


def test_without_scale_condition_scale_does_not_matter() -> None:
    net = small_gsasr(scale_condition=False)
    lq = torch.rand(1, 3, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(net.gaussians(lq, 2).means, net.gaussians(lq, 4).means, atol=0, rtol=0)
    assert not any('scale_attention' in name for name, _ in net.named_parameters())


@pytest.mark.parametrize('density', [1, 4, 9, 16])
def test_gaussians_start_around_their_reference_points(density: int) -> None:
    net = small_gsasr(gaussian_density=density, initial_sigma=0.3)
    with torch.no_grad():
        gaussians = net.gaussians(torch.rand(1, 3, 4, 8), 2)
    k = math.isqrt(density)
    columns, rows = np.meshgrid((np.arange(8 * k) + 0.5) / k, (np.arange(4 * k) + 0.5) / k)
    expected = np.stack((columns, rows), -1).reshape(1, -1, 2)
    np.testing.assert_allclose(gaussians.means.numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(gaussians.sigmas.numpy(), 0.3, atol=2e-5)  # 0.99999 of the sigmoid


def test_without_reference_points_all_positions_are_regressed() -> None:
    net = small_gsasr(use_reference_points=False, initial_sigma=0.3)
    with torch.no_grad():
        assert not net.gaussians(torch.rand(1, 3, 4, 4), 2).means.any()


@pytest.mark.parametrize('size', [(24, 24), (36, 60)])
def test_first_image_with_relative_colors_is_a_bicubic_enlargement(size: tuple[int, int]) -> None:
    net = small_gsasr(relative_colors=True, initial_sigma=0.3)
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing='ij')
    waves = [0.5 + 0.3 * torch.sin(0.9 * x + phase) * torch.cos(0.7 * y) for phase in (0.0, 1.0, 2.0)]
    lq = torch.stack(waves)[None]
    with torch.no_grad():
        image = net(lq, size=size)
    bicubic = torch.nn.functional.interpolate(lq, size=size, mode='bicubic', align_corners=False)
    inner = (
        ...,
        slice(4, -4),
        slice(4, -4),
    )  # beyond the border, one reflects and the other repeats
    assert (image - bicubic)[inner].abs().max() < 0.01  # the blur that the start undoes would be 0.05 here


def test_every_parameter_gets_a_gradient() -> None:
    enhanced = {'position_encoding': 'rope', 'closing_conv': True}
    for options in (
        {},
        {'relative_colors': True, 'feature_skip': True},
        {'scale_condition': False},
        {'gaussian_density': 16},
        enhanced,
        {'bicubic_skip': True, 'consistency': 2, 'joint_head': True},
        {'num_injection_blocks': 0, 'num_interaction_blocks': 0, 'feature_skip': True, 'bicubic_skip': True},
    ):
        net = small_gsasr(**options)
        images = net(torch.rand(2, 3, 6, 6), scale=[1.5, 3])
        sum(image.square().mean() for image in images).backward()
        assert [name for name, p in net.named_parameters() if p.grad is None] == [], options


def test_with_the_feature_skip_a_pixel_reaches_the_head_at_once() -> None:
    """What one LR pixel changes in the Gaussians near it, before any training, against what it changes far away."""
    lq = torch.full((1, 3, 12, 12), 0.5)
    changed = lq.clone()
    changed[..., 1, 1] = 0.6
    contrast = {}
    for skip in (False, True):
        net = small_gsasr(feature_skip=skip, num_interaction_blocks=0)
        with torch.no_grad():
            difference = (net.gaussians(lq, 2).colors - net.gaussians(changed, 2).colors).abs().sum(-1).view(24, 24)
        contrast[skip] = difference[1:4, 1:4].mean().item()
    assert contrast[True] > 10 * contrast[False]


def test_state_dict_holds_no_sizes_of_images() -> None:
    net = small_gsasr()
    before = {key: value.shape for key, value in net.state_dict().items()}
    with torch.no_grad():
        net(torch.rand(1, 3, 9, 10), scale=2)
    assert {key: value.shape for key, value in net.state_dict().items()} == before


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'gaussian_density': 5}, 'gaussian_density: given 5; accepted: 1 or 4 or 9 or 16'),
        ({'num_heads': 3}, 'num_heads must divide embed_dim'),
        ({'initial_sigma': 0.9}, 'initial_sigma must be less than sigma_max, 0.8333, got 0.9'),
        ({'sigma_max': 0}, 'sigma_max: given 0; accepted: a number, greater than 0'),
        ({'window_size': 0}, 'window_size: given 0; accepted: a whole number, at least 1'),
        ({'support': float('inf')}, 'support: given .*inf.*; accepted: a number, greater than 0'),
        ({'embed_dim': 16.5, 'initial_sigma': 0}, 'embed_dim: given 16.5; .*; initial_sigma: given 0; '),
        ({'raster_ratio': -0.5}, 'raster_ratio: given -0.5; accepted: '),
        ({'consistency': -1}, 'consistency: given -1; accepted: a whole number, at least 0'),
        ({'bicubic_skip': True, 'relative_colors': True}, 'bicubic_skip and relative_colors exclude each other'),
        ({'num_injection_blocks': 0, 'num_interaction_blocks': 0}, 'feature_skip true, .* and feature_skip False'),
        (
            {'num_injection_blocks': 0, 'feature_skip': True},
            'needs num_interaction_blocks 0 .*num_interaction_blocks 1',
        ),
        ({'position_encoding': 'sine'}, "position_encoding: given 'sine'.*; accepted: .*bias"),
        ({'position_encoding': 'rope', 'embed_dim': 12}, 'embed_dim / num_heads to be a multiple of 4, got 6'),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_gsasr(**options)


@pytest.mark.parametrize(
    'lq', [torch.rand(3, 4, 4), torch.rand(1, 1, 4, 4), torch.rand(1, 3, 0, 4), torch.rand(0, 3, 4, 4)]
)
def test_wrong_images_are_named(lq: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r'lq must be \(B, 3, h, w\)'):
        small_gsasr()(lq, scale=2)


def test_the_enhanced_version_shares_all_but_positions_and_convolutions() -> None:
    paper, enhanced = (
        {name: p.shape for name, p in small_gsasr(**options).named_parameters()}
        for options in ({}, {'position_encoding': 'rope', 'closing_conv': True})
    )
    assert {name for name in paper if name not in enhanced} == {name for name in paper if name.endswith('.bias.table')}
    added = {name.removesuffix('.weight').removesuffix('.bias') for name in enhanced if name not in paper}
    assert {name for name in added if not name.endswith('.rope.freqs')} == {
        'decoder.condition_injection.0.conv',
        'decoder.gaussian_interaction.0.conv',
        'decoder.interaction_conv',
    }
    assert all(paper[name] == enhanced[name] for name in paper if name in enhanced)


def test_rotary_positions_make_attention_depend_on_offsets_only() -> None:
    rope = MixedRotaryEmbedding(num_heads=2, head_dim=8, side=4).double()
    turns = rope()
    q, k = torch.randn(2, 2, 1, 8, dtype=torch.float64)  # one query and one key per head, at every token
    products = rotate(q.expand(2, 16, 8), turns) @ rotate(k.expand(2, 16, 8), turns).transpose(1, 2)  # (2, T, T)
    of_offsets = products.new_zeros(2, 49)
    (index,) = by_offset(torch.arange(49)[:, None], 4)
    of_offsets[:, index.flatten()] = products.flatten(1)
    torch.testing.assert_close(of_offsets[:, index], products)
    assert products[0].unique().numel() > 16  # they do depend on the offsets


def test_rotary_frequencies_start_as_two_perpendicular_directions() -> None:
    freqs = MixedRotaryEmbedding(num_heads=3, head_dim=16, side=4).freqs.detach()  # (2, 3, 8)
    along, across = freqs[..., :4], freqs[..., 4:]
    expected = torch.tensor([1.0, 10**-0.25, 10**-0.5, 10**-0.75]).expand(3, 4)
    torch.testing.assert_close(along.norm(dim=0), expected)
    torch.testing.assert_close(across.norm(dim=0), expected)
    torch.testing.assert_close((along * across).sum(0), torch.zeros(3, 4), atol=1e-6, rtol=0)
    turns = torch.atan2(along[1], along[0])
    torch.testing.assert_close(turns, turns[:, :1].expand(3, 4))  # one turn for a head
    assert turns[:, 0].unique().numel() == 3


def test_without_attention_the_head_reads_features_and_scale() -> None:
    net = small_gsasr(**WITHOUT_ATTENTION, closing_conv=True)
    names = {
        name.rsplit('.', 1)[0].removeprefix('decoder.') for name in net.state_dict() if name.startswith('decoder.')
    }
    beside = {name for name in names if not name.startswith(('primary_head.', 'feature_projection.'))}
    assert beside == {'scale_embedding.mlp.0', 'scale_embedding.mlp.2', 'scale_attention.value', 'scale_attention.out'}
    assert net.padding_multiple == 1
    lq = torch.rand(2, 3, 5, 7)
    with torch.no_grad():
        decoder = net.decoder
        gaussians = net.gaussians(lq, [2, 3])
        assert gaussians.means.shape == (2, 4 * 5 * 7, 2)  # nothing is padded
        features = decoder.feature_projection(net.encoder(lq).permute(0, 2, 3, 1))
        told = decoder.scale_attention(decoder.scale_embedding(torch.tensor((2.0, 3.0))))
        expected = decoder.primary_head(features + told)
    assert told[0].sub(told[1]).abs().max() > 1e-3
    torch.testing.assert_close(gaussians.colors, expected.colors)
    untold = small_gsasr(**WITHOUT_ATTENTION, scale_condition=False)
    assert not any('scale' in name for name in untold.state_dict())


@pytest.mark.parametrize(('bicubic_skip', 'numbers'), [(False, 9), (True, 8)])
def test_the_joint_head_is_one_perceptron(bicubic_skip: bool, numbers: int) -> None:
    """In the order sigma as (y, x), rho, opacity, colour, offset."""
    net = small_gsasr(joint_head=True, bicubic_skip=bicubic_skip, feature_skip=True)
    head = net.decoder.primary_head
    properties = {name: p.shape for name, p in head.named_parameters() if not name.startswith('upsample.')}
    assert properties == {
        'properties.0.weight': (64, 16),
        'properties.0.bias': (64,),
        'properties.2.weight': (numbers, 64),
        'properties.2.bias': (numbers,),
    }
    assert head.properties[2].weight.any(1).tolist() == [
        not (bicubic_skip and row in (3, 4, 5)) for row in range(numbers)
    ]
    torch.nn.init.zeros_(head.properties[2].weight)
    first = [0.1, 0.2, 0.3, *([] if bicubic_skip else [0.4]), 0.5, 0.6, 0.7, 0.8, 0.9]
    head.properties[2].bias.data = torch.tensor(first)
    base = torch.full((1, 4, 1), 0.25) if bicubic_skip else None
    with torch.no_grad():
        gaussians = head(torch.rand(1, 1, 1, 16), base)
    x = torch.tensor(first).double()
    sigmas = (0.99999 * x[:2].sigmoid() + 1e-6) / 1.2
    torch.testing.assert_close(gaussians.sigmas[0, 0].double(), sigmas.flip(0))
    torch.testing.assert_close(gaussians.rhos[0, 0].double(), 0.999999 * x[2].tanh())
    opacity = x.new_tensor(1) if bicubic_skip else x[3].sigmoid()
    torch.testing.assert_close(gaussians.opacities[0, 0].double(), opacity)
    torch.testing.assert_close(gaussians.colors[0, 0].double(), x[-5:-2] * 0.25 if bicubic_skip else x[-5:-2].sigmoid())
    torch.testing.assert_close(gaussians.means[0, 0].double(), 0.25 + x[-2:] / 2)


def test_the_joint_head_starts_where_it_is_told() -> None:
    net = small_gsasr(joint_head=True, initial_sigma=0.3, relative_colors=True, feature_skip=True)
    apart = small_gsasr(initial_sigma=0.3, relative_colors=True)
    lq = torch.rand(1, 3, 4, 4)
    with torch.no_grad():
        first, expected = net.gaussians(lq, 2), apart.gaussians(lq, 2)
    for field in ('means', 'sigmas', 'rhos', 'opacities', 'colors'):
        torch.testing.assert_close(getattr(first, field), getattr(expected, field))
