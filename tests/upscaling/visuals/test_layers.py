"""What there is to see of Gaussians, against NumPy in float64 and the network's own drawing."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from gsasr_plugin.archs.completion import Completion
from gsasr_plugin.archs.gaussians import Gaussians
from gsasr_plugin.archs.rendering import render
from gsasr_plugin.upscaling.visuals import layers


def random_gaussians(count: int, lq_size: tuple[int, int] = (10, 14)) -> Gaussians:
    generator = torch.Generator().manual_seed(1)

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(1, count, *shape, generator=generator)

    h, w = lq_size
    means = rand(2) * torch.tensor([w + 4.0, h + 4.0]) - 2
    return Gaussians(means, 0.1 + 0.6 * rand(2), 1.8 * rand() - 0.9, 0.1 + 0.4 * rand(), rand(3), lq_size)


def test_a_cropped_image_is_a_crop_of_the_image() -> None:
    gaussians = random_gaussians(200)
    whole = layers.draw(gaussians, (40, 56))
    region = layers.Region(x=3, y=2, width=7, height=5)
    part = layers.crop_gaussians(gaussians, region, 4.5)
    assert part.means.shape[1] < 200
    # Both leave out what lies beyond 4.5 standard deviations, up to 4e-5 of a Gaussian's peak each.
    np.testing.assert_allclose(layers.draw(part, (20, 28)), whole[8:28, 12:40], atol=1e-4)


def test_ellipses_are_contours_of_one_standard_deviation() -> None:
    gaussians = random_gaussians(50)
    centres, axes, angles = layers.ellipses(gaussians, np.arange(50))
    sigma, rho = gaussians.sigmas[0].double().numpy(), gaussians.rhos[0].double().numpy()
    turn = np.radians(angles)
    for phase in np.linspace(0, 2 * np.pi, 7):
        along, across = axes[:, 0] / 2 * np.cos(phase), axes[:, 1] / 2 * np.sin(phase)
        x = along * np.cos(turn) - across * np.sin(turn)
        y = along * np.sin(turn) + across * np.cos(turn)
        u, v = x / sigma[:, 0], y / sigma[:, 1]
        q = (u * u - 2 * rho * u * v + v * v) / (1 - rho * rho)
        np.testing.assert_allclose(q, 1, rtol=1e-9)
    np.testing.assert_array_equal(centres, gaussians.means[0].double().numpy())
    assert (axes[:, 0] >= axes[:, 1]).all()


def test_density_counts_gaussians_per_pixel() -> None:
    regular = random_gaussians(10 * 14 * 4)
    y, x = np.mgrid[0:20, 0:28] / 2 + 0.25
    means = torch.from_numpy(np.stack([x.ravel(), y.ravel()], 1)).float()[None]
    even = layers.density_map(Gaussians(means, *list(vars(regular).values())[1:5], (10, 14)), (40, 56))
    # Spread by as much as their spacing, the ripple is 4 exp(-2 pi^2) = 1e-8; at the border a sum replaces an integral.
    np.testing.assert_allclose(even, 4, rtol=0.03)
    np.testing.assert_allclose(even[12:-12, 12:-12], 4, rtol=1e-3)


def test_density_shows_where_gaussians_cluster() -> None:
    gaussians = random_gaussians(500)
    crowd = layers.density_map(gaussians, (60, 84))
    centres = gaussians.means[0].double().numpy()
    centres = centres[((centres > 0) & (centres < (14, 10))).all(1)]
    y, x = (np.arange(n) + 0.5 for n in (60, 84))
    sigma = layers.DENSITY_BLUR
    squares = (x[None, :, None] / 6 - centres[:, 0]) ** 2 + (y[:, None, None] / 6 - centres[:, 1]) ** 2
    expected = (np.exp(-squares / 2 / sigma**2) / (2 * np.pi * sigma**2)).sum(2)
    inner = (slice(15, -15), slice(15, -15))  # 2.5 pixels, 5 sigma, from the border
    # The rasterizer leaves out what lies beyond 4.5 standard deviations.
    np.testing.assert_allclose(crowd[inner], expected[inner], atol=1e-3)


def test_the_chosen_are_inside_and_red() -> None:
    gaussians = random_gaussians(100)
    chosen = layers.choose(gaussians, 20, seed=3)
    means = gaussians.means[0].numpy()[chosen]
    assert len(set(chosen)) == 20 and (means > 0).all() and (means < (14, 10)).all()
    red = layers.with_red(gaussians, chosen)
    assert (red.colors[0, chosen] == torch.tensor([1.0, 0, 0])).all()
    others = np.setdiff1d(np.arange(100), chosen)
    assert torch.equal(red.colors[0, others], gaussians.colors[0, others])


def test_positions_are_dots_of_one_size() -> None:
    gaussians = random_gaussians(1)
    one = Gaussians(torch.tensor([[[7.0, 5.0]]]), *list(vars(gaussians).values())[1:5], (10, 14))
    dots = layers.positions(one, (100, 140), density=4)
    y, x = (np.arange(n) + 0.5 for n in (100, 140))
    sigma = 10 / 2 / 4  # a quarter of the grid's spacing, at 10 pixels per LR pixel
    expected = np.exp(-((x[None] - 70) ** 2 + (y[:, None] - 50) ** 2) / 2 / sigma**2)
    np.testing.assert_allclose(dots[..., 0], expected, atol=1e-4)


def test_the_most_detailed_square_is_found() -> None:
    image = np.zeros((40, 60, 3))
    image[20:32:2, 44:56] = 1  # LR pixels: rows 5..8, columns 11..14
    found = layers.most_detailed(image, (10, 15), 3)
    assert found.y == 5 and found.x == 11


def test_parts_are_drawn_with_the_cutoff_of_the_whole() -> None:
    """The network's raster ratio is of the whole image, in parts of every shape."""
    gaussians = random_gaussians(200)
    cutoff = layers.Cutoff(6.0, 0.15, (10, 14))
    # Without a crop it is the network's own drawing, to the bit.
    whole = render(gaussians, (40, 56), support=6.0, raster_ratio=0.15)
    np.testing.assert_array_equal(layers.draw(gaussians, (40, 56), cutoff), whole[0].permute(1, 2, 0).clamp(0, 1))
    assert np.abs(layers.draw(gaussians, (40, 56)) - layers.draw(gaussians, (40, 56), cutoff)).max() > 0.05
    # Half-widths of 0.75 and 1.05 LR pixels are 3 and 4.2 output pixels: of regions with sides in proportion to the
    # whole's the window is exact; of others it may be a half pixel off along one axis.
    region = layers.Region(x=3, y=2, width=7, height=5)
    part = layers.draw(layers.crop_gaussians(gaussians, region, 6.0), (20, 28), cutoff)
    np.testing.assert_allclose(part, layers.draw(gaussians, (40, 56), cutoff)[8:28, 12:40], atol=1e-5)
    for region in (layers.Region(3, 2, 9, 2), layers.Region(5, 1, 2, 8), layers.Region(0, 0, 14, 3)):
        x, y, w, h = region
        part = layers.draw(layers.crop_gaussians(gaussians, region, 6.0), (32 * h, 32 * w), cutoff)
        expected = layers.draw(gaussians, (320, 448), cutoff)[32 * y : 32 * (y + h), 32 * x : 32 * (x + w)]
        assert part.shape == expected.shape
        # Where a cut moves by a pixel, one line of a Gaussian's pixels changes: few of all.
        assert np.mean(np.abs(part - expected) > 1e-4) < 0.05


def test_diagrams_leave_out_what_completes_the_image() -> None:
    gaussians = random_gaussians(200)
    lq = torch.rand(1, 3, 10, 14, generator=torch.Generator().manual_seed(1))
    completed = dataclasses.replace(gaussians, completion=Completion(lq, True, 2, level=True))
    np.testing.assert_array_equal(layers.positions(completed, (40, 56), 4), layers.positions(gaussians, (40, 56), 4))
    np.testing.assert_array_equal(layers.density_map(completed, (40, 56)), layers.density_map(gaussians, (40, 56)))
    red = layers.with_red(completed, np.arange(3)).completion
    assert red is not None and red.bicubic_skip and red.consistency == 0
    region = layers.Region(x=4, y=3, width=7, height=5)
    part = layers.crop_gaussians(completed, region, 4.5)
    assert part.completion is not None and torch.equal(part.completion.lq, lq[..., 3:8, 4:11])
    # Of the enlargement alone, two LR pixels from the borders are the whole's.
    whole, part = (
        dataclasses.replace(g, completion=dataclasses.replace(g.completion, consistency=0)) for g in (completed, part)
    )
    inner = layers.draw(part, (20, 28))[8:-8, 8:-8]
    np.testing.assert_allclose(inner, layers.draw(whole, (40, 56))[12:32, 16:44][8:-8, 8:-8], atol=1e-4)
