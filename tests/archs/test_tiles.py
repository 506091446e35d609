"""Tiled inference: its geometry, when it equals the whole image, when it is used, and what it refuses."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from gsasr_plugin.archs import GSASR, tile_memory
from gsasr_plugin.archs.gaussians import Gaussians
from gsasr_plugin.archs.tile_options import TileOptions
from gsasr_plugin.archs.tiles import FADING_PART, _rise, cut_axis, gaussians_by_tiles
from tests.archs.test_gsasr import WITHOUT_ATTENTION, small_gsasr

# In the range 0..1. The networks below are steep, so they are compared in float64, where all that is left are sums of
# another order, or of steep Gaussians; what float32 may add is the bound.
TOLERANCE, TOLERANCE_FLOAT32 = 1e-9, 1e-4


def make_net(**options: Any) -> GSASR:
    """A network whose attention stays in its window: windows of 4, shifted nowhere.

    A Gaussian sees at most 14 LR pixels to each side: 4 in the encoder, 2 in the projection of the features, 3 in its
    window, 2 in the enlarging convolutions and, where they stand, 3 in the closing convolutions.
    """
    net = small_gsasr(**({'num_injection_layers': 1, 'num_interaction_blocks': 0} | options)).eval()
    for name, p in net.named_parameters():
        # Initial weights are so small that a Gaussian depends little on what is around it.
        if p.ndim > 1 and name.endswith('weight'):
            torch.nn.init.normal_(p, std=p[0].numel() ** -0.5)
    return net


def images(batch: int = 1, size: tuple[int, int] = (50, 51)) -> torch.Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('multiple', [1, 4, 12])
@pytest.mark.parametrize('windows', [(2, 2, 0), (9, 4, 1), (9, 4, 3), (10, 2, 1), (23, 5, 2), (3, 8, 2), (3, 8, 3)])
@pytest.mark.parametrize('k', [1, 3])
def test_tiles_of_an_axis(multiple: int, windows: tuple[int, int, int], k: int) -> None:
    length, tile, overlap = (n * multiple for n in windows)
    parts = cut_axis(length, tile, overlap, multiple, k)
    sums = np.zeros(k * length)
    edges = [(part.start, part.start + part.length) for part in parts]
    assert edges[0][0] == 0 and edges[-1][1] == length
    for part in parts:
        assert part.length == min(tile, length) and part.start % multiple == 0
        kept = np.arange(k * part.start, k * (part.start + part.length))[part.kept]
        assert len(kept) == len(part.weights) and part.weights.min() > 0
        sums[kept] += part.weights.numpy()
        # Of an overlap, nothing is seen that is nearer to an edge than half of what does not fade.
        hidden = k * (1 - FADING_PART) / 2 * overlap - 1e-6
        assert part.start == 0 or kept[0] + 1 > k * part.start + hidden
        assert part.start + part.length == length or kept[-1] < k * (part.start + part.length) - hidden
    for (start, stop), (after, _) in itertools.pairwise(edges):
        assert start < after <= stop - overlap
    np.testing.assert_allclose(sums, 1, rtol=0, atol=1e-14)


@pytest.mark.parametrize('scale', [1, 2.7, (3.3, 2)])
@pytest.mark.parametrize(
    'options',
    [
        {},
        {'num_interaction_blocks': 2, 'num_interaction_layers': 1},
        {'relative_colors': True, 'initial_sigma': 0.3, 'raster_ratio': 0.1},
        {'position_encoding': 'rope', 'closing_conv': True},
        {**WITHOUT_ATTENTION, 'bicubic_skip': True, 'joint_head': True},
    ],
    ids=['paper', 'interaction', 'relative', 'enhanced', 'unattended'],
)
def test_equals_the_whole_image_where_the_context_fits(options: dict[str, Any], scale: Any) -> None:
    net = make_net(**options).double()
    lq = images().double()
    done: list[tuple[int, int]] = []
    with torch.no_grad():
        whole = net(lq, scale=scale, tile=None)
        tiled = net(lq, scale=scale, tile=48, tile_overlap=44, progress=lambda *count: done.append(count))
        abutting = net(lq, scale=scale, tile=28, tile_overlap=0)
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    torch.testing.assert_close(tiled, whole, rtol=0, atol=TOLERANCE)
    assert (abutting - whole).abs().max() > 1e-2  # the overlap did it


@pytest.mark.parametrize('scale', [1, 2.7, (3.3, 2)])
def test_equals_the_whole_image_in_float32(scale: Any) -> None:
    net = make_net(gaussian_density=1)
    lq = images(2)
    with torch.no_grad():
        tiled, whole = (net(lq, scale=scale, tile=tile, tile_overlap=44) for tile in (48, None))
    torch.testing.assert_close(tiled, whole, rtol=0, atol=TOLERANCE_FLOAT32)


def test_tiles_fade_by_the_smooth_step() -> None:
    """3 t^2 - 2 t^3: as much before the middle as after it, and flat at both ends."""
    distances = np.array([-5, -2, -1, 0, 1, 2, 5])
    assert _rise(distances, 4.0).tolist() == [0, 0, 0.15625, 0.5, 0.84375, 1, 1]
    assert _rise(distances, 0.0).tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert _rise(np.array([-1.99, 1.99]), 4.0) == pytest.approx([0, 1], abs=2e-5)


def test_shifted_windows_see_farther_and_tiles_fade() -> None:
    """Beyond the overlap there is no equality, but a difference far below that of tiles side by side."""
    net = make_net(num_injection_layers=2, num_interaction_blocks=1, num_interaction_layers=2)
    lq = images(1, (80, 128))  # not narrower than the tiles, which would be longer
    with torch.no_grad():
        whole = net(lq, scale=2, tile=None)
        abutting, faded = (
            net(lq, scale=2, tile=64 + o // 2, tile_overlap=o)[..., 64:192] - whole[..., 64:192] for o in (0, 32)
        )
    assert faded.abs().max() < abutting.abs().max() / 10


def test_gaussians_are_those_of_the_tiles_once() -> None:
    net = make_net(gaussian_density=1)
    with torch.no_grad():
        gaussians = net.gaussians(images(1, (30, 64)), 2, tile=32, tile_overlap=0)
    assert gaussians.lq_size == (30, 64)
    assert gaussians.opacities.shape == (1, 32 * 64)
    # The offsets reach a few LR pixels from the reference points.
    left, right = gaussians.means[0].view(2, 32, 32, 2)
    assert abs(left.mean(dim=(0, 1)) - torch.tensor([16, 16])).max() < 5
    assert abs(right.mean(dim=(0, 1)) - torch.tensor([48, 16])).max() < 5


def test_gaussians_of_tiles_lie_in_the_whole_image() -> None:
    def network(part: torch.Tensor, base: torch.Tensor | None) -> Gaussians:
        colors = part.flatten(2).mT  # of each pixel, at its centre
        h, w = part.shape[2:]
        y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing='ij')
        means = torch.stack([x, y], -1).view(1, h * w, 2)
        ones = torch.ones(1, h * w)
        return Gaussians(means, torch.ones_like(means), 0 * ones, ones, colors, (h, w))

    image = images(1, (8, 12))
    whole = network(image, None)
    tiles = gaussians_by_tiles(network, image, None, cut_axis(8, 4, 0, 4, 1), cut_axis(12, 4, 0, 4, 1), 1)
    assert tiles.lq_size == (8, 12)
    order = (tiles.means[0, :, 1].floor() * 12 + tiles.means[0, :, 0].floor()).argsort()
    for name in ('means', 'sigmas', 'rhos', 'opacities', 'colors'):
        assert torch.equal(getattr(tiles, name)[:, order], getattr(whole, name))


def test_images_beyond_the_budget_are_tiled_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    net = make_net()
    lq = images(1, (16, 400))
    pixel = tile_memory.network_bytes('EDSR', 16, 4)
    counts: list[int] = []

    def run(**options: Any) -> int:
        with torch.no_grad():
            image = net(lq, scale=1, progress=lambda _, total: counts.append(total), **options)
        assert image.shape == (1, 3, 16, 400)
        return counts[-1]

    assert run() == 1
    assert run(memory_budget=pixel * 16 * 400 / 2**30) == 1
    half = (pixel * 16 * 200 + 4 * tile_memory.JOINED_BYTES * 16 * 400) / 2**30
    assert run(memory_budget=half, tile_overlap=0) == 2
    assert run(memory_budget=half) == math.ceil((400 - 48) / (200 - 48))
    assert run(memory_budget=1e-9) == math.ceil((400 - 48) / (96 - 48))  # no smaller than twice the overlap
    monkeypatch.setattr(tile_memory, 'free_bytes', lambda device: 0)
    assert run() > 1
    assert run(tile=None) == 1
    monkeypatch.setattr(tile_memory, 'free_bytes', lambda device: 2 * pixel * 16 * 400)  # half of what is free
    assert run() == 1
    monkeypatch.setattr(tile_memory, 'free_bytes', lambda device: 2 * pixel * 16 * 400 - 2)
    assert run() > 1
    with torch.enable_grad():
        net(lq, scale=1).sum().backward()  # with gradients: whole


def test_default_overlap_leaves_half_a_small_tile() -> None:
    options = {'multiple': 4, 'pixel_bytes': 1, 'joined_bytes': 1, 'device': torch.device('cpu')}
    assert TileOptions(tile=30).tile_size(100, 60, **options) == (28, 12)
    assert TileOptions(tile=3).tile_size(100, 60, **options) == (4, 0)
    assert TileOptions(tile=131).tile_size(256, 128, **options) == (128, 48)
    assert TileOptions(tile=131).tile_size(128, 60, **options) is None
    assert TileOptions(tile=64, tile_overlap=9).tile_size(256, 64, **options) == (64, 12)


def test_tiles_of_a_narrow_image_are_longer() -> None:
    """Of as many pixels at most as a square tile has, with the overlap that the tile asked for has."""
    options = {'multiple': 4, 'pixel_bytes': 1, 'joined_bytes': 1, 'device': torch.device('cpu')}
    assert TileOptions(tile=16).tile_size(4, 300, **options) == (64, 8)
    assert TileOptions(tile=16).tile_size(300, 12, **options) == (20, 8)
    assert TileOptions(tile=16, tile_overlap=3).tile_size(4, 300, **options) == (64, 4)
    assert TileOptions(tile=36).tile_size(4, 300, **options) is None
    rows, columns = TileOptions(tile=16).parts((4, 300), density_per_axis=1, **options)
    assert len(rows) == 1 and len(columns) == 6 and {part.length for part in columns} == {64}
    with pytest.raises(ValueError, match='tile_overlap must be less than tile'):
        TileOptions(tile=16, tile_overlap=16).tile_size(4, 300, **options)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'tile': 0}, 'tile: given 0; accepted: a whole number, at least 1 or auto or null'),
        ({'tile': 'automatic'}, "tile: given 'automatic'; did you mean 'auto'"),
        ({'tile': 32.5}, 'tile: given 32.5; accepted: a whole number'),
        ({'tile_overlap': -1}, 'tile_overlap: given -1; accepted: a whole number, at least 0 or null'),
        ({'memory_budget': 0}, 'memory_budget: given 0; accepted: a number, greater than 0 or null'),
        ({'tile': 11, 'tile_overlap': 7}, 'got tile_overlap 7, which makes 8, and tile 11, which makes 8'),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with torch.no_grad(), pytest.raises(ValueError, match=message):
        make_net()(images(), scale=2, **options)


def test_tiles_are_refused_where_there_can_be_none() -> None:
    net = make_net()
    with pytest.raises(ValueError, match=r'tile is 32, but there are no tiles with gradients'):
        net(images(), scale=1, tile=32)
    with torch.no_grad(), pytest.raises(ValueError, match=r'no tiles in training: call eval\(\) first'):
        net.train()(images(), scale=1, tile=32)
    with torch.no_grad(), pytest.raises(ValueError, match='no tiles without use_reference_points'):
        make_net(use_reference_points=False)(images(), scale=1, tile=32)
    with torch.no_grad():  # and not used by default
        make_net(use_reference_points=False)(images(), scale=1, memory_budget=1e-9)
    with pytest.raises(TypeError, match='tiles_overlap'):
        net(images(), scale=1, tiles_overlap=8)
