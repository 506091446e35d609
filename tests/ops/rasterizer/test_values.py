"""What is drawn, compared with the float64 sum of scenes.py."""

import numpy as np
import pytest
import torch

from gsasr_ops import rasterize_gaussians, rasterize_gaussians_reference
from tests.ops.rasterizer.scenes import dense_sum, grid_inputs, sample_inputs

# float32: every term is right to 1e-6 of its size (exponents up to 10 rounded to 6e-8, the exponential itself 2e-7,
# steps along a row), and up to 40 terms of at most 1 overlap. float64: the same with 2e-16, plus the 1e-15 of numpy's
# own order of summation.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-13}
FUNCTIONS = [rasterize_gaussians, rasterize_gaussians_reference]

both = pytest.mark.parametrize('draw', FUNCTIONS, ids=['native', 'reference'])
dtypes = pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=['float32', 'float64'])


def close(images, expected, dtype):
    np.testing.assert_allclose(images.detach().double().numpy(), expected, rtol=0, atol=TOLERANCE[dtype])


@both
@dtypes
@pytest.mark.parametrize('C', [1, 2, 3, 4])
@pytest.mark.parametrize('scale', [1.0, 3.7, (2.0, 5.3)])
def test_equals_the_dense_sum_within_the_box(draw, dtype, C, scale):
    inputs = sample_inputs(dtype=dtype, C=C)
    rows, columns = scale if isinstance(scale, tuple) else (scale, scale)
    size = round(6 * rows), round(7 * columns)
    images = draw(*inputs, size, scale)
    assert images.shape == (2, C, *size) and images.dtype == dtype
    for b in range(2):
        # A pixel that lies on the edge of a box by less than rounding could fall on either side: none does here.
        close(images[b], dense_sum(*inputs, size, scale, image=b, support=4.5), dtype)


@both
@pytest.mark.parametrize('support', [0.7, 2.0, 9.0])
def test_support_is_the_half_width_of_the_box(draw, support):
    inputs = sample_inputs(dtype=torch.float64)
    close(
        draw(*inputs, (18, 21), 3.0, support=support)[1],
        dense_sum(*inputs, (18, 21), 3.0, image=1, support=support),
        torch.float64,
    )


@both
@pytest.mark.parametrize('window', [0.05, 0.3, 2.5])
def test_window_is_the_authors_square(draw, window):
    inputs = sample_inputs(dtype=torch.float64)
    images = draw(*inputs, (19, 36), (3.0, 5.0), window=window)
    close(images[0], dense_sum(*inputs, (19, 36), (3.0, 5.0), support=4.5, window=window), torch.float64)


@both
def test_window_is_open(draw):
    """|dx| < dmax and not <=: a pixel at exactly that distance is left out, as in the authors' kernel."""
    one = torch.ones(1, 1, dtype=torch.float64)
    means = torch.tensor([[[4.0, 4.0]]], dtype=torch.float64)
    # Pixel centres at 0.25, 0.75, ...: 4.25 is 0.25 away from the centre, and 2 * 0.25 / 8 = 0.0625.
    args = (means, torch.ones_like(means), 0 * one, one, one[..., None], (16, 16), 2.0)
    assert torch.count_nonzero(draw(*args, window=0.0625)) == 0
    assert torch.count_nonzero(draw(*args, window=0.0626)) == 4


@both
@dtypes
@pytest.mark.parametrize('size', [(1, 1), (1, 9), (9, 1), (2, 3)])
def test_sizes_down_to_one(draw, dtype, size):
    inputs = sample_inputs(dtype=dtype, h=1, w=1, N=12)
    close(draw(*inputs, size, 2.0)[0], dense_sum(*inputs, size, 2.0, support=4.5), dtype)


@both
def test_several_sizes_and_scales(draw):
    inputs = sample_inputs(dtype=torch.float64, B=4)
    sizes = [(6, 7), (31, 4), (1, 50), (20, 600)]
    scales = [1.0, (5.5, 0.6), (0.25, 7.1), (3.3, 80.0)]
    images = draw(*inputs, sizes, scales)
    assert isinstance(images, list)
    for b, (image, size, scale) in enumerate(zip(images, sizes, scales)):
        close(image, dense_sum(*inputs, size, scale, image=b, support=4.5), torch.float64)


@both
def test_ways_to_give_the_scale(draw):
    inputs = sample_inputs(dtype=torch.float64)
    expected = torch.stack([draw(*(t[b : b + 1] for t in inputs), (12, 14), s)[0] for b, s in enumerate((2.0, 3.0))])
    for scale in (
        [2.0, 3.0],
        [(2.0, 2.0), (3.0, 3.0)],
        torch.tensor([2.0, 3.0]),
        torch.tensor([[2.0, 2.0], [3.0, 3.0]]),
    ):
        assert torch.equal(draw(*inputs, (12, 14), scale), expected)
    # A tuple is (rows, columns), of all images.
    unequal = draw(*inputs, (12, 14), (2.0, 3.0))
    assert torch.equal(unequal, draw(*inputs, (12, 14), [(2.0, 3.0)] * 2)) and not torch.equal(unequal, expected)
    for scale in (2, torch.tensor(2.0), np.float32(2), (2, 2)):
        assert torch.equal(draw(*inputs, (12, 14), scale), draw(*inputs, (12, 14), 2.0))


@both
def test_list_of_equal_sizes_stays_a_list(draw):
    inputs = sample_inputs()
    images = draw(*inputs, [(5, 6), (5, 6)], 1.0)
    assert [image.shape for image in images] == [(3, 5, 6)] * 2
    assert torch.equal(torch.stack(images), draw(*inputs, (5, 6), 1.0))


@both
def test_no_gaussians_draw_black(draw):
    images = draw(*sample_inputs(N=0), (4, 5), 1.0)
    assert images.shape == (2, 3, 4, 5) and not images.any()


@both
def test_no_images(draw):
    assert draw(*sample_inputs(B=0), (4, 5), 1.0).shape == (0, 3, 4, 5)
    assert draw(*sample_inputs(B=0), [], []) == []


@both
@dtypes
def test_centres_far_outside(draw, dtype):
    """Some reach into the image with a large sigma, most do not; none may be read or written out of bounds."""
    means = torch.tensor([[[-40.0, 3], [3, 1e6], [-1e30, 2], [25, 25], [3, -4]]], dtype=dtype)
    sigmas = torch.tensor([[[12.0, 8], [1, 1], [1, 1], [6, 6], [0.8, 0.8]]], dtype=dtype)
    rhos, opacities = torch.zeros(1, 5, dtype=dtype), torch.ones(1, 5, dtype=dtype)
    inputs = means, sigmas, rhos, opacities, torch.ones(1, 5, 2, dtype=dtype)
    images = draw(*inputs, (20, 20), 4.0)
    close(images[0], dense_sum(*inputs, (20, 20), 4.0, support=4.5), dtype)
    assert images.any()


@both
def test_non_contiguous_inputs(draw):
    means, sigmas, rhos, opacities, colors = sample_inputs(C=3)
    expected = draw(means, sigmas, rhos, opacities, colors, (9, 8), 1.3)
    swapped = means.flip(-1).flip(-1).transpose(0, 1).contiguous().transpose(0, 1)
    wide = torch.cat((colors, colors), dim=2)[:, :, :3]
    apart = torch.stack((rhos, rhos), dim=-1)[..., 0]
    images = draw(swapped, sigmas.mT.contiguous().mT, apart, opacities.T.contiguous().T, wide, (9, 8), 1.3)
    assert torch.equal(images, expected)


@both
@pytest.mark.parametrize('rho', [0.9, 0.999, -0.999999])
def test_strong_correlation(draw, rho):
    """Thin tilted ellipses. At 0.999999 rounding u and v to float32 already moves t by 700 * 4.5 * 6e-8 = 2e-4 in the
    twin, which exp(-t^2 / 2) takes on with a slope of 0.6."""
    means, sigmas, rhos, opacities, colors = sample_inputs(N=15)
    rhos = torch.full_like(rhos, rho)
    images = draw(means, sigmas, rhos, opacities, colors, (30, 35), 5.0)
    expected = dense_sum(means, sigmas, rhos, opacities, colors, (30, 35), 5.0, support=4.5)
    np.testing.assert_allclose(images[0].numpy(), expected, rtol=0, atol=4e-4 if abs(rho) > 0.9999 else 2e-5)


@both
def test_tiny_sigmas(draw):
    """A Gaussian of 1e-6 LR pixels colours the pixel whose centre it hits, and no other."""
    means = torch.tensor([[[2.5, 1.5], [0.3, 0.3]]], dtype=torch.float32)
    inputs = means, torch.full((1, 2, 2), 1e-6), torch.zeros(1, 2), torch.ones(1, 2), torch.ones(1, 2, 1)
    image = draw(*inputs, (4, 5), 1.0)[0, 0]
    assert image[1, 2] == 1 and image.sum() == 1


def test_huge_sigma_beside_small_ones():
    """One Gaussian that covers everything must not hide or move the others."""
    inputs = sample_inputs(N=30, h=40, w=8, dtype=torch.float64)
    inputs[1][0, 7] = 1e4
    images = rasterize_gaussians(*inputs, (160, 32), 4.0)
    close(images[0], dense_sum(*inputs, (160, 32), 4.0, support=4.5), torch.float64)


@both
def test_what_is_no_gaussian_draws_nothing(draw):
    """Deviations that are not positive, |rho| >= 1, NaN in the geometry: as if it were not there."""
    means, sigmas, rhos, opacities, colors = sample_inputs(B=1, N=10)
    expected = draw(means[:, 5:], sigmas[:, 5:], rhos[:, 5:], opacities[:, 5:], colors[:, 5:], (9, 9), 1.5)
    sigmas[0, 0, 0], sigmas[0, 1, 1] = 0, -0.5
    rhos[0, 2], rhos[0, 3], means[0, 4, 1] = 1, float('nan'), float('nan')
    assert torch.equal(draw(means, sigmas, rhos, opacities, colors, (9, 9), 1.5), expected)


@both
@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_a_bad_colour_stays_within_its_box(draw, bad):
    means, sigmas, rhos, opacities, colors = sample_inputs(B=1, N=20, h=12, w=12)
    expected = draw(means, sigmas, rhos, opacities, colors, (48, 48), 4.0)
    colors[0, 3, 1] = bad
    images = draw(means, sigmas, rhos, opacities, colors, (48, 48), 4.0)
    y, x = torch.meshgrid((torch.arange(48) + 0.5) / 4, (torch.arange(48) + 0.5) / 4, indexing='ij')
    reach = 4.5 * sigmas[0, 3]
    inside = ((x - means[0, 3, 0]).abs() <= reach[0]) & ((y - means[0, 3, 1]).abs() <= reach[1])
    assert 0 < inside.sum() < 48 * 48
    assert torch.equal(~images[0, 1].isfinite(), inside)
    assert torch.equal(images[0, 1][~inside], expected[0, 1][~inside])
    assert torch.equal(images[0, [0, 2]], expected[0, [0, 2]])


def test_colours_of_zero_draw_zero():
    means, sigmas, rhos, opacities, colors = sample_inputs()
    assert not rasterize_gaussians(means, sigmas, rhos, opacities, 0 * colors, (20, 20), 3.0).any()


@both
def test_far_from_the_origin(draw):
    """At x = 1,000 LR pixels a rounded position alone would be off by 6e-5 pixels, 1e-3 of a sigma of 0.06."""
    scale = 7.3
    means = torch.tensor([[[1000.125, 0.5]]])
    inputs = means, torch.full((1, 1, 2), 0.06), torch.zeros(1, 1), torch.ones(1, 1), torch.ones(1, 1, 1)
    size = (7, 7310)
    close(draw(*inputs, size, scale)[0], dense_sum(*inputs, size, scale, support=4.5), torch.float32)


def test_more_columns_than_a_tile_and_many_gaussians_in_one_place():
    """5,000 Gaussians on one spot, in an image wider than a tile of the CPU kernel."""
    means, sigmas, rhos, opacities, colors = sample_inputs(B=1, N=5000, h=1, w=1, dtype=torch.float64)
    means[..., 0] += 256  # around the border between two tiles at x = 515 of 1,030 columns
    inputs = means, sigmas, rhos, opacities, colors
    images = rasterize_gaussians(*inputs, (3, 1030), 2.0)
    close(images[0] / 100, dense_sum(*inputs, (3, 1030), 2.0, support=4.5) / 100, torch.float64)


@pytest.mark.parametrize('H', [15, 16, 17, 24, 25, 33, 48, 49])
@pytest.mark.parametrize('scale', [1.0, 3.0, 9.0])
def test_every_row_of_every_band(H, scale):
    """Heights around multiples of the CPU kernel's 16 rows and of the 8 by which boxes may hang over: most boxes end in
    the band where they begin, in its overhang, or further down, as the scale has it."""
    inputs = sample_inputs(B=1, N=60, h=round(H / scale), w=4)
    close(
        rasterize_gaussians(*inputs, (H, 30), scale)[0], dense_sum(*inputs, (H, 30), scale, support=4.5), torch.float32
    )


def test_more_gaussians_than_are_sorted_at_once_in_any_order():
    """40,000 small boxes in the network's order, in a random one, and as the sum of eight pictures. Up to 16 * 4.5^2
    boxes overlap, and opacities keep the sum within 0..1: float32 sums in another order differ by some 1e-6."""
    inputs = grid_inputs(50, 50, sigma=0.4)
    image = rasterize_gaussians(*inputs, (50, 50), 1.0)
    order = torch.randperm(40000, generator=torch.Generator().manual_seed(0))
    shuffled = rasterize_gaussians(*(tensor[:, order] for tensor in inputs), (50, 50), 1.0)
    parts = (
        rasterize_gaussians(*(tensor[:, k : k + 5000] for tensor in inputs), (50, 50), 1.0)
        for k in range(0, 40000, 5000)
    )
    assert image.min() > 0.1
    torch.testing.assert_close(shuffled, image, rtol=0, atol=1e-5)
    torch.testing.assert_close(sum(parts), image, rtol=0, atol=1e-5)
