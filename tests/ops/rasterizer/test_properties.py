"""Laws that the sum of Gaussians obeys whatever the scene, searched for counterexamples by hypothesis (in float64, so
that only rounding of the last digits separates both sides)."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gsasr_ops import rasterize_gaussians
from tests.ops.rasterizer.scenes import sample_inputs

settings.register_profile('laws', max_examples=25, deadline=None, derandomize=True)
settings.load_profile('laws')

scenes = st.builds(
    lambda **options: sample_inputs(dtype=torch.float64, **options),
    B=st.integers(1, 3),
    N=st.integers(1, 60),
    C=st.integers(1, 4),
    h=st.integers(1, 9),
    w=st.integers(1, 9),
    seed=st.integers(0, 10_000),
)
sides = st.integers(1, 40)
scales = st.floats(0.3, 31.0)
# Both sides of a law place the edge of a box with different roundings: a pixel right on it may fall on either side, and
# changes the image by exp(-9^2 / 2) = 3e-18 with this support.
SUPPORT = 9.0


def draw(inputs, size, scale):
    return rasterize_gaussians(*inputs, size, scale, support=SUPPORT)


def close(a, b):
    # Up to 60 terms of at most 1; differences of positions are rounded to 1e-16 of up to 10 pixels, in units of sigmas
    # down to 0.1, magnified by 1 / sqrt(1 - rho^2) = 3.
    torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


@given(inputs=scenes, H=sides, W=sides, scale=scales, seed=st.integers(0, 1000))
def test_order_of_the_gaussians_is_no_matter(inputs, H, W, scale, seed):
    order = torch.randperm(inputs[0].shape[1], generator=torch.Generator().manual_seed(seed))
    close(draw([tensor[:, order] for tensor in inputs], (H, W), scale), draw(inputs, (H, W), scale))


@given(inputs=scenes, H=sides, W=sides, scale=scales)
def test_images_of_a_batch_are_independent(inputs, H, W, scale):
    together = draw(inputs, (H, W), scale)
    for b in range(len(together)):
        assert torch.equal(together[b], draw([tensor[b : b + 1] for tensor in inputs], (H, W), scale)[0])


@given(inputs=scenes, H=sides, W=sides, rows=scales, columns=scales, top=st.integers(0, 30), left=st.integers(0, 30))
def test_cropping(inputs, H, W, rows, columns, top, left):
    """Drawing a part is the same as cutting it out: move the centres by the corner of the part."""
    whole = draw(inputs, (H + top, W + left), (rows, columns))
    means = inputs[0] - torch.tensor([left / columns, top / rows], dtype=torch.float64)
    close(draw((means, *inputs[1:]), (H, W), (rows, columns)), whole[..., top:, left:])


@given(inputs=scenes, H=sides, W=sides, rows=scales, columns=scales)
def test_mirroring(inputs, H, W, rows, columns):
    means, sigmas, rhos, opacities, colors = inputs
    mirrored = torch.stack((W / columns - means[..., 0], means[..., 1]), dim=-1)
    images = draw((mirrored, sigmas, -rhos, opacities, colors), (H, W), (rows, columns))
    close(images, draw(inputs, (H, W), (rows, columns)).flip(-1))


@given(inputs=scenes, H=sides, W=sides, rows=scales, columns=scales)
def test_transposing(inputs, H, W, rows, columns):
    means, sigmas, rhos, opacities, colors = inputs
    images = draw((means.flip(-1), sigmas.flip(-1), rhos, opacities, colors), (W, H), (columns, rows))
    close(images, draw(inputs, (H, W), (rows, columns)).mT)


@given(inputs=scenes, H=sides, W=sides, scale=st.floats(0.5, 8.0), zoom=st.floats(0.25, 4.0))
def test_zooming(inputs, H, W, scale, zoom):
    """Lengths times z and output pixels per length divided by z: the same picture."""
    means, sigmas, rhos, opacities, colors = inputs
    images = draw((zoom * means, zoom * sigmas, rhos, opacities, colors), (H, W), scale / zoom)
    close(images, draw(inputs, (H, W), scale))


@given(inputs=scenes, H=sides, W=sides, scale=scales, a=st.floats(-3, 3), b=st.floats(-3, 3))
def test_linear_in_the_colour(inputs, H, W, scale, a, b):
    means, sigmas, rhos, opacities, colors = inputs
    other = colors.flip(1)
    mixed = draw((means, sigmas, rhos, opacities, a * colors + b * other), (H, W), scale)
    parts = a * draw(inputs, (H, W), scale) + b * draw((means, sigmas, rhos, opacities, other), (H, W), scale)
    close(mixed, parts)


@given(inputs=scenes, H=sides, W=sides, scale=scales, cut=st.integers(0, 60))
def test_sets_of_gaussians_add_up(inputs, H, W, scale, cut):
    parts = [draw([tensor[:, part] for tensor in inputs], (H, W), scale) for part in (slice(cut), slice(cut, None))]
    close(parts[0] + parts[1], draw(inputs, (H, W), scale))


@given(inputs=scenes, H=sides, W=sides, scale=scales)
def test_opacity_and_colour_are_one_factor(inputs, H, W, scale):
    means, sigmas, rhos, opacities, colors = inputs
    ones = torch.ones_like(opacities)
    close(draw((means, sigmas, rhos, ones, opacities[..., None] * colors), (H, W), scale), draw(inputs, (H, W), scale))


@given(inputs=scenes, H=sides, W=sides, scale=scales, seed=st.integers(0, 1000))
def test_gradient_is_the_slope(inputs, H, W, scale, seed):
    """Along a random direction in the space of all five inputs: <v, direction> equals the slope of the drawn images.
    With a support of 9 the step moves no edge that could be seen."""
    generator = torch.Generator().manual_seed(seed)
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    directions = [torch.randn(tensor.shape, generator=generator, dtype=torch.float64) for tensor in inputs]
    v_images = torch.randn(*draw(inputs, (H, W), scale).shape, generator=generator, dtype=torch.float64)
    gradients = torch.autograd.grad(draw(leaves, (H, W), scale), leaves, v_images)
    slope = sum((v * direction).sum() for v, direction in zip(gradients, directions))
    step = 1e-6
    ahead, behind = (
        (draw([t + s * d for t, d in zip(inputs, directions)], (H, W), scale) * v_images).sum() for s in (step, -step)
    )
    # Central difference: the third derivatives reach (1 / 0.1)^3 per term, times step^2; rounding: 1e-16 / step.
    size = sum((v * direction).abs().sum() for v, direction in zip(gradients, directions)) + v_images.abs().sum()
    assert abs((ahead - behind) / (2 * step) - slope) <= 1e-6 * size
