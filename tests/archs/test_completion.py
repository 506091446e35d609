"""What the LR image gives to a drawing: the enlargement beneath it, and the consistency after it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gsasr_plugin.archs import GSASR, base_colors, consistency
from gsasr_plugin.archs.completion import Completion
from gsasr_plugin.archs.consistency import resized
from gsasr_plugin.archs.gaussians import Gaussians
from tests.archs.test_gsasr import WITHOUT_ATTENTION, small_gsasr, sum_of_gaussians

# Float64, sums of some hundred terms of about 1, and Gaussians cut where they have fallen to 1e-14.
TOLERANCE = 1e-10
# Float32: a thousand terms, as in the network's other tests.
TOLERANCE_FLOAT32 = 1e-5
# Of weights that sum to 1 within a rounding, along both axes, both ways, three times over.
FLAT = 1e-6

SIZES = [(7, 9), (5, 6), (12, 31), (61, 7)]


def make_net(**options: Any) -> GSASR:
    """With weights that make properties differ widely, as no training would leave them."""
    net = small_gsasr(**{'support': 8.0, 'bicubic_skip': True, **WITHOUT_ATTENTION, **options})
    for name, p in net.named_parameters():
        if name.endswith('weight'):
            nn.init.normal_(p, std=2 * p[0].numel() ** -0.5)
    return net.eval()


def cubic(x: float) -> float:
    """Keys' kernel, a = -1/2."""
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def resampling(length: int, target: int) -> np.ndarray:
    """(target, length), pixel by pixel: the kernel at each distance, stretched where the axis shrinks, mirrored."""
    zoom = target / length
    narrow = min(zoom, 1.0)
    matrix = np.zeros((target, length))
    reach = int(2 / narrow) + 2
    for i in range(target):
        centre = (i + 0.5) / zoom - 0.5
        for j in range(int(centre) - reach, int(centre) + reach + 1):
            mirrored = j
            while not 0 <= mirrored < length:
                mirrored = -1 - mirrored if mirrored < 0 else 2 * length - 1 - mirrored
            matrix[i, mirrored] += cubic((centre - j) * narrow)
    return matrix / matrix.sum(1, keepdims=True)


def reference_resized(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    return resampling(image.shape[-2], size[0]) @ image @ resampling(image.shape[-1], size[1]).T


def local_mean(image: np.ndarray) -> np.ndarray:
    for axis in (2, 3):
        image = np.pad(image, [(1, 1) if i == axis else (0, 0) for i in range(4)], mode='edge')
        first, middle, last = (np.take(image, range(i, i + image.shape[axis] - 2), axis) for i in range(3))
        image = (first + 2 * middle + last) / 4
    return image


def reference_levelled(image: np.ndarray, lr: np.ndarray) -> np.ndarray:
    image = image.clip(0, 1)
    mean = local_mean(reference_resized(image, lr.shape[2:]))
    lack = local_mean(lr) - mean
    up = np.where(lack > 0, lack / np.maximum(1 - mean, 1e-3), 0).clip(0, 1)
    down = np.where(lack < 0, -lack / np.maximum(mean, 1e-3), 0).clip(0, 1)
    up, down = (reference_resized(local_mean(part), image.shape[2:]).clip(0, 1) for part in (up, down))
    return (image + up * (1 - image) - down * image).clip(0, 1)


def reference(
    gaussians: Gaussians, lq: Tensor, size: tuple[int, int], skip: bool, steps: int, level: bool = True
) -> np.ndarray:
    lr = lq.detach().double().numpy()
    image = sum_of_gaussians(gaussians, size) + (reference_resized(lr, size) if skip else 0)
    for step in range(steps):
        image = image.clip(0, 1) if step else image
        image = image + reference_resized(lr - reference_resized(image, lr.shape[2:]), size)
    return reference_levelled(image, lr) if steps and level else image


@pytest.mark.parametrize(
    ('lengths', 'target'),
    [((9, 7), (9, 7)), ((9, 7), (25, 84)), ((200, 65), (51, 300)), ((1, 2), (12, 7)), ((31, 90), (2, 1))],
)
def test_resizing_is_matlabs(lengths: tuple[int, int], target: tuple[int, int]) -> None:
    """Of one block and of several; up, down, and one axis each."""
    image = torch.rand(2, 3, *lengths, dtype=torch.float64)
    np.testing.assert_allclose(resized(image, target), reference_resized(image.numpy(), target), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    'options',
    [
        {'consistency': 3},
        {'consistency': 1, 'joint_head': True, 'gaussian_density': 1, 'initial_sigma': 0.4},
        {'num_injection_blocks': 1, 'feature_skip': False},
        {'consistency': 2, 'bicubic_skip': False, 'relative_colors': True},
    ],
    ids=['skip+3', 'joint', 'attention', 'consistency'],
)
def test_the_image_is_the_completed_sum(options: dict[str, Any]) -> None:
    net = make_net(**options).double()
    lq = torch.rand(2, 3, 5, 6, dtype=torch.float64)
    skip, steps = net.bicubic_skip, net.consistency
    with torch.no_grad():
        for size in SIZES:
            gaussians = net.gaussians(lq, (size[0] / 5, size[1] / 6))
            expected = reference(gaussians, lq, size, skip, steps)
            image = net(lq, size=size)
            assert image.dtype == torch.float64
            np.testing.assert_allclose(image, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())
        mixed = net(lq, size=[(7, 9), (12, 31)])
        for i, (image, size) in enumerate(zip(mixed, [(7, 9), (12, 31)])):
            gaussians = net.gaussians(lq, [(7 / 5, 9 / 6), (12 / 5, 31 / 6)])
            expected = reference(gaussians, lq, size, skip, steps)[i]
            np.testing.assert_allclose(image, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())
        net.train()
        gaussians = net.gaussians(lq, (12 / 5, 31 / 6))
        expected = reference(gaussians, lq, (12, 31), skip, min(steps, 1), level=False)
        np.testing.assert_allclose(net(lq, size=(12, 31)), expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())
        net.eval()
        single = net.float()(lq.float(), size=(12, 31))
        expected = reference(net.gaussians(lq.float(), (12 / 5, 31 / 6)), lq.float(), (12, 31), skip, steps)
        np.testing.assert_allclose(single, expected, rtol=0, atol=TOLERANCE_FLOAT32 * np.abs(expected).max())


def test_colours_are_in_units_of_the_contrast() -> None:
    """Maximum less minimum of the neighbours that there are, of the channel where it is largest."""
    lq = torch.rand(2, 3, 4, 5)
    contrast = base_colors.local_contrast(lq, 2)
    assert contrast.shape == (2, 8 * 10, 1)
    for b, i, j in itertools.product(range(2), range(8), range(10)):
        near = lq[b, :, max(i // 2 - 1, 0) : i // 2 + 2, max(j // 2 - 1, 0) : j // 2 + 2].flatten(1)
        expected = (near.amax(1) - near.amin(1)).max()
        assert contrast.view(2, 8, 10)[b, i, j] == expected
    net = make_net()
    with torch.no_grad():
        lq = torch.rand(1, 3, 6, 9)
        lq[..., 4:] = 0.25
        gaussians = net.gaussians(lq, 2)
        flat = gaussians.colors.view(12, 18, 3)[:, 2 * 5 :]
        numbers = net.decoder.primary_head.color(torch.randn(50, 16))
    assert (flat == 0).all() and (gaussians.colors.view(12, 18, 3)[:, : 2 * 5] != 0).all()
    assert (numbers < 0).any() and (gaussians.colors < 0).any() and (gaussians.opacities == 1).all()


@pytest.mark.parametrize('joint_head', [False, True])
@pytest.mark.parametrize('initial_sigma', [None, 0.4])
def test_the_first_image_is_the_bicubic_enlargement(joint_head: bool, initial_sigma: float | None) -> None:
    options = {**WITHOUT_ATTENTION, 'joint_head': joint_head, 'initial_sigma': initial_sigma}
    net = small_gsasr(bicubic_skip=True, **options)
    lq = torch.rand(1, 3, 5, 6)
    with torch.no_grad():
        image, gaussians = net(lq, size=(13, 20)), net.gaussians(lq, 2)
    np.testing.assert_allclose(image, reference_resized(lq.double().numpy(), (13, 20)), rtol=0, atol=1e-6)
    started = torch.allclose(gaussians.sigmas, torch.tensor(0.4), atol=1e-5) and not gaussians.rhos.any()
    assert started == (initial_sigma is not None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('skip', 'steps', 'level'), [(True, 2, False), (False, 1, False), (False, 1, True), (True, 0, False)]
)
def test_gradients_of_the_completion(skip: bool, steps: int, level: bool) -> None:
    torch.manual_seed(0)
    # Far from where clipping bends the function.
    lq = torch.rand(2, 3, 3, 4, dtype=torch.float64) * 0.2 + 0.4
    drawn = torch.rand(2, 3, 7, 9, dtype=torch.float64) * 0.1
    drawn[0, 0, 0, 0], drawn[1, 2, 3, 4] = 3, -3  # and beyond it
    inputs = (drawn.requires_grad_(), lq.requires_grad_())
    assert torch.autograd.gradcheck(lambda drawn, lq: Completion(lq, skip, steps, level)(drawn), inputs)


@pytest.mark.parametrize('scale', [1.3, 2, 3.7, 6, 12, (1.5, 8)])
def test_the_result_reduces_to_the_lr_image(scale: Any) -> None:
    """Each step comes nearer, where nothing is clipped."""
    net = make_net().double()
    for p in net.decoder.primary_head.color[-1].parameters():
        p.data *= 0.02
    lq = torch.rand(1, 3, 9, 11, dtype=torch.float64) * 0.2 + 0.4
    errors = []
    for net.consistency in range(4):
        with torch.no_grad():
            image = net(lq, scale=scale)
        assert image.min() > 0 and image.max() < 1
        errors.append((resized(image, (9, 11)) - lq).abs().max().item())
    assert all(after < before for before, after in itertools.pairwise(errors)) and errors[3] < 0.3 * errors[0], errors


def test_at_the_same_size_the_result_is_the_lr_image() -> None:
    net = make_net(consistency=1)
    lq = torch.rand(2, 3, 9, 11)
    with torch.no_grad():
        torch.testing.assert_close(net(lq, scale=1), lq, rtol=0, atol=FLAT)


@pytest.mark.parametrize('half', [False, True], ids=['float32', 'autocast'])
@pytest.mark.parametrize('size', [(1, 1), (5, 3), (19, 26)])
def test_flat_stays_flat(size: tuple[int, int], half: bool) -> None:
    """At every scale, borders included, whatever the weights."""
    colours = torch.tensor([(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.0, 0.0, 1.0), (0.3, 0.6, 0.9)])
    lq = colours[:, :, None, None].expand(-1, -1, *size).contiguous()
    for steps, joint_head in ((0, False), (1, True), (3, True)):
        net = make_net(consistency=steps, joint_head=joint_head, support=4.5)
        with torch.no_grad(), torch.autocast('cpu', torch.bfloat16, enabled=half):
            for scale in (1, 1.3, 2, 2.71, 3, 4, 6.5, 8, 12, (1.2, 5)):
                image = net(lq, scale=scale)
                assert image.dtype == torch.float32
                assert (image - colours[:, :, None, None]).abs().max() <= FLAT, (steps, scale)


def test_blocks_as_on_gpus_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    image, target = torch.rand(2, 3, 200, 65, dtype=torch.float64), (51, 600)
    expected = resized(image, target)
    try:
        consistency._blocks.cache_clear()
        monkeypatch.setattr(consistency, 'BLOCK', consistency.BLOCK_GPU)
        torch.testing.assert_close(resized(image, target), expected, rtol=0, atol=1e-14)
    finally:
        consistency._blocks.cache_clear()


def test_matrices_of_an_evaluation_serve_training() -> None:
    lq = torch.rand(1, 3, 4, 5)
    drawn = torch.zeros(1, 3, 23, 17)
    with torch.inference_mode():
        Completion(lq, True, 1, level=True)(drawn)
    drawn = drawn.clone().requires_grad_()
    Completion(lq, True, 1, level=True)(drawn).sum().backward()
    assert drawn.grad is not None
