"""The CUDA kernels, compiled with g++ and run on the CPU by the strict SIMT shim in `simt/`, under AddressSanitizer and
UndefinedBehaviorSanitizer: forward and all gradients against float64, edge cases, several orders of threads and blocks,
and the number of evaluated pixels. What the shim notices is shown in `test_cuda_faults.py`.
"""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.ops.rasterizer.simt.algorithm1 import SOURCE, Algorithm1
from tests.ops.rasterizer.simt.harness import (
    NAMES,
    NO_WINDOW,
    Problem,
    Result,
    boxes,
    build_driver,
    build_library,
    compare,
    environment,
    reference,
    run,
    scene,
)
from tests.ops.rasterizer.simt.scenes import busy, crowd, few_huge

pytestmark = pytest.mark.slow


@pytest.fixture(scope='session')
def driver(tmp_path_factory) -> Path:
    return build_driver(tmp_path_factory.getbasetemp())


def wide_sigmas() -> Problem:
    """Every level of cells in use, and boxes for groups and for whole warps side by side."""
    problem = scene([(100, 90)], [1.0], count=150)
    exponent = np.random.default_rng(3).uniform(-2, 2, size=problem.sigmas.shape)
    return replace(problem, sigmas=(10.0**exponent).astype(np.float32))


CASES = {
    'one image at x2': lambda: scene([(40, 52)], [2.0], density=1),
    'mixed sizes and scales': lambda: scene(
        [(33, 50), (16, 16), (48, 31), (7, 70)], [3.7, 1.0, (4.0, 2.5), (1.3, 7.9)], count=90
    ),
    'more images than one launch stores': lambda: scene([(3, 4 + k % 3) for k in range(60)], [2.0] * 60, count=5),
    'one channel': lambda: scene([(20, 20)], [4.0], channels=1),
    'two channels': lambda: scene([(20, 20)], [4.0], channels=2),
    'four channels': lambda: scene([(20, 20), (9, 30)], [4.0, 2.0], channels=4),
    'height one': lambda: scene([(1, 37)], [3.0], margin=0.2),
    'width one': lambda: scene([(37, 1)], [3.0], margin=0.2),
    'a single pixel': lambda: scene([(1, 1)], [1.0], count=20),
    'one Gaussian': lambda: scene([(17, 17)], [2.0], count=1, margin=-3.0),
    'no Gaussian': lambda: scene([(18, 20)], [2.0], count=0),
    'no image': lambda: scene([], [], count=5),
    'more than 256 Gaussians in a tile': lambda: scene([(16, 16)], [8.0], count=700),
    'more than 4096 Gaussians in a tile': lambda: scene([(18, 16)], [2.0], count=4200, sigma=(0.1, 0.4)),
    'sigmas of every size': wide_sigmas,
    'a few huge Gaussians': few_huge,
    'several Gaussians per cell': busy,
    'the groups of 32 lanes': lambda: scene([(64, 48)], [12.0], density=2),
    'far from the origin': lambda: scene([(2, 1500)], [0.75], count=250),
    'x30': lambda: scene([(70, 70)], [30.0], density=8),
    'window': lambda: replace(scene([(40, 56)], [2.0], density=1), window=0.11),
    'narrow support': lambda: replace(scene([(40, 56)], [2.0], density=1), support=1.5),
}


@pytest.mark.parametrize('name', CASES)
def test_equals_float64(driver, tmp_path, name):
    problem = CASES[name]()
    compare(run(driver, problem, tmp_path), reference(problem))


def test_many_gaussians_in_one_cell(driver, tmp_path):
    """Three cells beyond the size that is ranked by counting, in each of two images, and one of just that size: the
    bits are those of every run, and the number of steps grows with the number of Gaussians, not with its square.
    """
    problem = crowd([1025, 1100, 1500, 1024], others=60)
    result = run(driver, problem, tmp_path)
    compare(result, reference(problem))
    words_per_thread = 1  # 4,709 bits are 148 words, looked at by 256 threads
    large = (1025 + 1100 + 1500) + 3 * 256 * words_per_thread
    counted = 1024**2
    assert large + counted <= result.ordered / 2 <= large + counted + 60 * 60


def test_steps_grow_with_the_number(driver, tmp_path):
    """All in one cell: each sets one bit, and 256 threads look for bits, 8,192 of them at a time."""
    for count in (2000, 9000):
        problem = crowd([count], others=0)
        result = run(driver, problem, tmp_path, seeds=(1,))
        assert result.ordered == 2 * (count + 256 * -(-count // 8192))


def test_many_cells(driver, tmp_path):
    """More than one piece of them in each chunk of the scan."""
    problem = scene([(60, 60)], [2.0], count=900, sigma=(0.1, 0.3))
    compare(run(driver, problem, tmp_path, seeds=(1,)), reference(problem))


def test_the_end_of_the_widest_image(driver, tmp_path):
    """From 2^23 on a float32 has no half: gradients there, and those of the same Gaussians in a small image."""
    small = scene([(3, 64)], [1.0], count=3, channels=1)
    small.means[:] = [[(40.5, 1.5), (60.0, 0.5), (63.5, 2.0)]]
    small.sigmas[:] = [[(4.0, 1.0), (5.0, 2.0), (2.0, 0.5)]]
    moved = 2**23 - 64
    v_image = np.zeros((1, 3, 2**23), np.float32)
    v_image[:, :, moved:] = small.v_images[0]
    wide = replace(small, means=small.means + np.float32([moved, 0]), sizes=[(3, 2**23)], v_images=[v_image])
    result = run(driver, wide, tmp_path, seeds=(1,), backward_only=True)
    compare(Result([], result.gradients), Result([], reference(small).gradients))


def one(problem: Problem, index: int, **values) -> None:
    """Overwrite one Gaussian of the first image."""
    for name, value in values.items():
        getattr(problem, name)[0, index] = value


def test_extreme_but_valid(driver, tmp_path):
    """Thin tilted Gaussians and centres far outside that still touch the image."""
    problem = scene([(30, 34)], [2.0], count=60)
    # Each through the centre of a pixel, along a diagonal: the ridge is thinner than a pixel.
    one(problem, 0, means=(4.25, 6.75), sigmas=(0.8, 0.8), rhos=0.999999)
    one(problem, 1, means=(9.251, 8.75), sigmas=(0.8, 0.7), rhos=-0.999999)
    one(problem, 2, means=(-90.0, 5.0), sigmas=(30.0, 0.5))
    one(problem, 3, means=(8.0, 400.0), sigmas=(0.7, 120.0))
    one(problem, 4, means=(3.0, 3.0), sigmas=(1e30, 0.4), rhos=0.0)
    one(problem, 5, means=(1e30, 3.0))
    one(problem, 6, means=(np.inf, -np.inf))
    # At |rho| = 0.999999, kappa = 707: float32 rounds the arguments of exp to about 2e-4 there.
    exact = reference(replace(problem, means=np.nan_to_num(problem.means, posinf=1e30, neginf=-1e30)))
    result = run(driver, problem, tmp_path)
    ordinary = slice(7, None)
    for image, expected in zip(result.images, exact.images):
        np.testing.assert_allclose(image, expected, rtol=0, atol=2e-4)
    for name in NAMES:
        assert np.isfinite(result.gradients[name]).all()
        expected = exact.gradients[name][0]
        error = np.abs(result.gradients[name][0] - expected)
        assert error[ordinary].max() <= 1e-4 * np.abs(expected[ordinary]).max(), name
        # The two thin ones, each against itself.
        for index in (0, 1):
            assert error[index].max() <= 2e-3 * np.abs(expected[index]).max(), (name, index)


def test_tiny_sigmas(driver, tmp_path):
    """Deviations of 1e-6 about centres of pixels (at x2 those are exact in float32), where distances and deviations are
    of the size of a last place.
    """
    problem = scene([(16, 16)], [2.0], count=12)
    generator = np.random.default_rng(1)
    centers = generator.integers(1, 15, size=(1, 12, 2)) / 2 + 0.25
    last_places = generator.integers(-3, 4, size=(1, 12, 2)) * np.spacing(np.float32(2.0))
    problem = replace(
        problem,
        means=(centers + last_places).astype(np.float32),
        sigmas=generator.uniform(8e-7, 2e-6, size=(1, 12, 2)).astype(np.float32),
    )
    expected = reference(problem)
    assert max(np.abs(image).max() for image in expected.images) > 0.1
    compare(run(driver, problem, tmp_path), expected)


def test_all_colors_zero(driver, tmp_path):
    problem = scene([(20, 24)], [2.0], count=50)
    problem.colors[:] = 0
    result = run(driver, problem, tmp_path)
    assert not any(image.any() for image in result.images)
    compare(result, reference(problem))
    # A cut-off by colour would freeze such Gaussians.
    assert np.abs(result.gradients['colors']).max() > 0.1


def test_what_is_no_gaussian_draws_nothing(driver, tmp_path):
    """NaN and forbidden values in some Gaussians: the rest is drawn as if those were not there."""
    problem = scene([(36, 40), (9, 9)], [2.0, 3.0], count=60)
    undefined = {3: {'means': (np.nan, 4.0)}, 5: {'sigmas': (0.5, np.nan)}, 7: {'rhos': np.nan}}
    nothing = {11: {'sigmas': (-0.5, 0.5)}, 13: {'sigmas': (0.5, 0.0)}, 17: {'rhos': 1.0}, 19: {'rhos': -1.5}}
    for index, values in (undefined | nothing).items():
        one(problem, index, **values)
    result = run(driver, problem, tmp_path)

    kept = [n for n in range(60) if n not in undefined and n not in nothing]
    # The second image keeps all of its own: compare it with itself, drawn with zero opacity in place of removal.
    clean = scene([(36, 40), (9, 9)], [2.0, 3.0], count=60)
    clean.opacities[0, [*undefined, *nothing]] = 0
    expected = reference(clean)
    for image, exact in zip(result.images, expected.images):
        np.testing.assert_allclose(image, exact, rtol=0, atol=1e-5)
    for name in NAMES:
        exact, given = expected.gradients[name], result.gradients[name]
        tolerance = 1e-4 * np.abs(exact).max()
        np.testing.assert_allclose(given[0, kept], exact[0, kept], rtol=0, atol=tolerance)
        np.testing.assert_allclose(given[1], exact[1], rtol=0, atol=tolerance)
        assert np.isnan(given[0, list(undefined)]).all()
        assert not given[0, list(nothing)].any()


@pytest.mark.parametrize('name', ['colors', 'opacities'])
def test_nan_in_a_color_stays_in_its_box(driver, tmp_path, name):
    problem = scene([(36, 40)], [2.0], count=40)
    one(problem, 8, means=(9.0, 8.0), sigmas=(0.6, 0.3))
    box = boxes(problem, 0)[:, :, 8].numpy()
    assert 0 < box.sum() < box.size
    expected = reference(problem).images[0]
    one(problem, 8, **{name: np.nan})
    image = run(driver, problem, tmp_path).images[0]
    assert np.isnan(image[:, box]).all()
    np.testing.assert_allclose(image[:, ~box], expected[:, ~box], rtol=0, atol=1e-5)


def paper_grid(lr_size: int, scale: float, sigma=0.5 / 1.2) -> Problem:
    """16 Gaussians per LR pixel on the paper's grid, all with the deviation of a fresh network, slightly moved."""
    side = 4 * lr_size
    size = round(lr_size * scale)
    problem = scene([(size, size)], [scale], count=side * side)
    centers = (np.arange(side) + 0.5) / 4
    grid = np.stack(np.meshgrid(centers, centers), axis=-1).reshape(1, -1, 2)
    moved = grid + np.random.default_rng(5).uniform(-0.1, 0.1, size=grid.shape)
    return replace(
        problem,
        means=moved.astype(np.float32),
        sigmas=np.full_like(problem.sigmas, sigma),
        rhos=np.zeros_like(problem.rhos),
    )


@pytest.mark.parametrize(('lr_size', 'scale', 'bound'), [(16, 2.0, 2.5), (12, 4.0, 1.5), (6, 8.0, 1.5), (4, 12.0, 1.5)])
def test_few_pixels_are_evaluated_in_vain(driver, tmp_path, lr_size, scale, bound):
    problem = paper_grid(lr_size, scale)
    result = run(driver, problem, tmp_path, seeds=(1,))
    ratio = result.evaluated / int(boxes(problem, 0).sum())
    print(f'x{scale:g}: {ratio:.2f} pixels evaluated for each inside a box')
    assert 1 <= ratio <= bound


@pytest.mark.parametrize('rows', [(0, 1), (5, 23), (16, 33), (32, 33)])
def test_rows_are_those_of_the_whole(driver, tmp_path, rows):
    """The same bits; and as for gradients, those of the whole where nobody asks the other rows anything."""
    problem = replace(CASES['mixed sizes and scales'](), window=0.6)
    problem = replace(problem, sizes=[(33, 50), (33, 16), (48, 31), (33, 70)], v_images=[])
    whole = run(driver, problem, tmp_path)
    part = run(driver, replace(problem, rows=rows), tmp_path)
    for image, expected in zip(part.images, whole.images):
        np.testing.assert_array_equal(image, expected[:, slice(*rows)])
    for v_image in problem.v_images:
        v_image[:, : rows[0]] = v_image[:, rows[1] :] = 0
    asked = run(driver, problem, tmp_path)
    for name in NAMES:
        np.testing.assert_allclose(part.gradients[name], asked.gradients[name], rtol=1e-4, atol=1e-4)


def test_order_of_threads_does_not_matter(driver, tmp_path):
    """More orders, on a problem with many Gaussians per cell and several batches per tile."""
    run(driver, scene([(20, 40)], [2.0], count=600, sigma=(0.3, 0.8)), tmp_path, seeds=range(1, 9))


@pytest.mark.parametrize(
    ('batch', 'count', 'size', 'reason'),
    [
        (1, 1, (1 << 16, 1 << 15), r'^an output image of more than 2\^31 - 1 pixels'),
        (1, 1, ((1 << 23) + 1, 1), r'^an output image .* a side of more than 2\^23'),
        (1, (1 << 30) + 1, (8, 8), r'^more than 2\^30 Gaussians'),
        (1 << 10, 1 << 21, (8, 8), r'^more than 2\^30 Gaussians'),
        (300, 1, (46000, 46000), r'^the images of the batch have more than 2\^31 - 1 tiles'),
    ],
)
def test_too_large_problems_are_refused(driver, tmp_path, batch, count, size, reason):
    header = [np.array([batch, count, 3], np.int64), np.array([4.5], np.float64)]
    for _ in range(batch):
        header += [np.array([*size, 0, size[0]], np.int64), np.array([2.0, 2.0, NO_WINDOW], np.float64)]
    (tmp_path / 'problem').write_bytes(b''.join(part.tobytes() for part in header))
    command = [str(driver), str(tmp_path / 'problem'), str(tmp_path / 'result'), '1']
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60)
    assert done.returncode == 2
    # The binding says which operator it is.
    assert re.search(reason, done.stderr.removeprefix('driver: ')), done.stderr


def test_baseline_for_timings(tmp_path):
    """`test_cuda_device.py` times the kernels against a plain Algorithm 1: here that one is checked, too."""
    problem = replace(scene([(24, 30)], [3.0], count=60), window=0.4, support=100.0)
    library = build_library(SOURCE, tmp_path)
    algorithm1 = Algorithm1(library)
    inputs = [torch.from_numpy(getattr(problem, name)[0]) for name in NAMES]
    exact = reference(problem)
    image = algorithm1.forward(inputs, problem.sizes[0], problem.scales[0][0], problem.window)
    gradients = algorithm1.backward(
        inputs, torch.from_numpy(problem.v_images[0]), problem.sizes[0], problem.scales[0][0], problem.window
    )
    result = Result([image.numpy()], {name: v.numpy()[None] for name, v in zip(NAMES, gradients)})
    compare(result, exact)
