"""Builds the CUDA kernels for the CPU with the shim of this folder, runs problems through them, and computes what they
should give in float64. Shared by `test_cuda_simt.py` and `test_cuda_faults.py`.
"""

import functools
import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

SIMT = Path(__file__).parent
RASTERIZER = Path(__file__).parents[4] / 'ops' / 'rasterizer'
NAMES = ('means', 'sigmas', 'rhos', 'opacities', 'colors')
SEEDS = (1, 2)  # of the order of threads and blocks
FLAGS = ['-std=c++17', '-O1', '-g1', '-march=native', '-ffp-contract=off', '-Wall', '-Wextra', '-Wno-unknown-pragmas']
FLAGS += ['-fsanitize=address,undefined', '-fno-sanitize-recover=all', '-DGSASR_GUARDS']

NO_WINDOW = -1.0  # what the driver takes for none


@dataclass(frozen=True)
class Problem:
    """What the driver draws: arrays as the op takes them, one (H, W) and one (rows, columns) scale per image."""

    means: np.ndarray  # (B, N, 2)
    sigmas: np.ndarray  # (B, N, 2)
    rhos: np.ndarray  # (B, N)
    opacities: np.ndarray  # (B, N)
    colors: np.ndarray  # (B, N, C)
    sizes: list[tuple[int, int]]
    scales: list[tuple[float, float]]
    support: float = 4.5
    window: float = NO_WINDOW
    v_images: list[np.ndarray] = field(default_factory=list)  # (C, H, W) each
    rows: tuple[int, int] | None = None  # of every image; all of them

    def __post_init__(self):
        if not self.v_images:
            generator = np.random.default_rng(7)
            channels = self.colors.shape[2]
            self.v_images.extend(generator.standard_normal((channels, *s)).astype(np.float32) for s in self.sizes)


@dataclass(frozen=True)
class Result:
    images: list[np.ndarray]
    gradients: dict[str, np.ndarray]
    evaluated: int = 0  # pixels
    ordered: int = 0  # steps of putting Gaussians in order


def compile_objects(rasterizer: Path, folder: Path, names: list[str], flags: Sequence[str] = ()) -> list[Path]:
    """Object files of the named sources (`rasterize.cu` from its room, the rest from the shim), two at a time."""
    folder.mkdir(parents=True, exist_ok=True)

    def compile_one(name: str) -> Path:
        source = rasterizer / 'cuda' / name if name == 'rasterize.cu' else SIMT / name
        target = folder / (name + '.o')
        command = ['g++', *FLAGS, *flags, '-I', str(SIMT), '-x', 'c++', '-c', str(source), '-o', str(target)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return target

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(compile_one, names))


def link(objects: list[Path], target: Path) -> Path:
    subprocess.run(['g++', *FLAGS, *map(str, objects), '-o', str(target)], check=True)
    return target


def build_library(source: Path, folder: Path) -> Path:
    """A shared library of a CUDA source and the shim, without sanitizers, which Python could not load."""
    if shutil.which('g++') is None:
        pytest.skip('g++ is not installed')
    target = folder / (source.stem + '.so')
    flags = ['-std=c++17', '-O1', '-march=native', '-Wall', '-Wextra', '-fPIC', '-shared', '-I', str(SIMT)]
    command = ['g++', *flags, '-x', 'c++', str(source), str(SIMT / 'simt.cpp'), '-o', str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def sanitizers_work(folder: Path) -> bool:
    """Whether a program with both sanitizers can be built and run here."""
    source = folder / 'probe.cpp'
    source.write_text('int main() { return 0; }\n')
    program = folder / 'probe'
    build = subprocess.run(['g++', *FLAGS, str(source), '-o', str(program)], capture_output=True)
    return build.returncode == 0 and subprocess.run([str(program)], capture_output=True).returncode == 0


@functools.cache
def shim(session: Path) -> dict[str, Path]:
    """The objects of the shim and of the driver, compiled once in the folder of this session."""
    if shutil.which('g++') is None:
        pytest.skip('g++ is not installed')
    folder = session / 'simt'
    folder.mkdir()
    if not sanitizers_work(folder):
        pytest.skip('g++ cannot build programs with AddressSanitizer and UndefinedBehaviorSanitizer here')
    names = ['simt.cpp', 'driver.cpp']
    return dict(zip(names, compile_objects(RASTERIZER, folder, names)))


@functools.cache
def build_driver(session: Path) -> Path:
    """The program that runs the real kernels, compiled once in the folder of this session."""
    objects = shim(session).values()
    folder = session / 'kernels'
    return link([*objects, *compile_objects(RASTERIZER, folder, ['rasterize.cu'])], folder / 'driver')


def start(
    driver: Path, problem: Problem, folder: Path, seeds: Sequence[int] = SEEDS, backward_only: bool = False
) -> subprocess.CompletedProcess:
    with open(folder / 'problem', 'wb') as file:
        batch, count, channels = problem.colors.shape
        file.write(np.array([batch, count, channels], np.int64).tobytes())
        file.write(np.array([problem.support], np.float64).tobytes())
        for size, scale in zip(problem.sizes, problem.scales):
            file.write(np.array([*size, *(problem.rows or (0, size[0]))], np.int64).tobytes())
            file.write(np.array([*scale, problem.window], np.float64).tobytes())
        for name in NAMES:
            file.write(getattr(problem, name).astype(np.float32).tobytes())
        for v_image in problem.v_images:
            file.write(v_image[:, slice(*(problem.rows or (None, None)))].astype(np.float32).tobytes())
    command = [str(driver), str(folder / 'problem'), str(folder / 'result')]
    command += ['backward'] * backward_only + [str(seed) for seed in seeds]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=300)


def environment() -> dict[str, str]:
    """For AddressSanitizer: kernels allocate nothing, and containers may forbid what its leak checker needs."""
    return {**os.environ, 'ASAN_OPTIONS': 'detect_leaks=0'}


def run(
    driver: Path, problem: Problem, folder: Path, seeds: Sequence[int] = SEEDS, backward_only: bool = False
) -> Result:
    """Draw with every seed; the results have to be the same bits."""
    done = start(driver, problem, folder, seeds, backward_only)
    assert done.returncode == 0, done.stderr
    content = (folder / 'result').read_bytes()
    each = len(content) // len(seeds)
    for k in range(1, len(seeds)):
        assert content[k * each : (k + 1) * each] == content[:each], f'seed {seeds[k]} gives other bits'

    position = 0

    def take(shape) -> np.ndarray:
        nonlocal position
        size = int(np.prod(shape)) * 4
        position += size
        return np.frombuffer(content[position - size : position], np.float32).reshape(shape)

    heights = [size[0] if problem.rows is None else problem.rows[1] - problem.rows[0] for size in problem.sizes]
    images = [take((problem.colors.shape[2], height, size[1])) for height, size in zip(heights, problem.sizes)]
    gradients = {name: take(getattr(problem, name).shape) for name in NAMES}
    return Result(images, gradients, *map(int, np.frombuffer(content[position : position + 16], np.int64)))


def boxes(problem: Problem, b: int) -> torch.Tensor:
    """Which pixels (rows, columns) of image b lie in the box of which Gaussian: (H, W, N)."""
    height, width = problem.sizes[b]
    means, sigmas = (torch.from_numpy(getattr(problem, name)[b]).double() for name in ('means', 'sigmas'))
    inside = []
    for axis, size, scale in ((1, height, problem.scales[b][0]), (0, width, problem.scales[b][1])):
        distance = ((torch.arange(size, dtype=torch.float64) + 0.5) / scale)[:, None] - means[:, axis]
        within = distance.abs() <= problem.support * sigmas[:, axis]
        if problem.window > 0:
            # In coordinates in which the image spans -1 to 1.
            within &= (distance.abs() * 2 / (size / scale)) < problem.window
        inside.append(within)
    return inside[0][:, None, :] & inside[1][None, :, :]


def reference(problem: Problem) -> Result:
    """The paper's Eq. 1-4 in float64, dense and in its textbook form, differentiated by autograd."""
    leaves = {name: torch.from_numpy(getattr(problem, name)).double().requires_grad_() for name in NAMES}
    images = []
    loss = torch.zeros((), dtype=torch.float64)
    for b, ((height, width), scale) in enumerate(zip(problem.sizes, problem.scales)):
        means, sigmas, rho, opacity, color = (leaves[name][b] for name in NAMES)
        y = (torch.arange(height, dtype=torch.float64) + 0.5) / scale[0]
        x = (torch.arange(width, dtype=torch.float64) + 0.5) / scale[1]
        u = (x[None, :, None] - means[:, 0]) / sigmas[:, 0]  # (1, W, N)
        v = (y[:, None, None] - means[:, 1]) / sigmas[:, 1]  # (H, 1, N)
        q = (u * u - 2 * rho * u * v + v * v) / (1 - rho * rho)
        weight = torch.where(boxes(problem, b), torch.exp(-q / 2), 0.0) * opacity  # (H, W, N)
        image = torch.einsum('hwn,nc->chw', weight, color)
        images.append(image.detach().numpy())
        loss = loss + (image * torch.from_numpy(problem.v_images[b]).double()).sum()
    # An empty batch leaves nothing to differentiate.
    grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True) if loss.requires_grad else [None] * 5
    gradients = {
        name: np.zeros(leaf.shape) if grad is None else grad.numpy()
        for (name, leaf), grad in zip(leaves.items(), grads)
    }
    return Result(images, gradients)


def scene(
    sizes, scales, count=None, channels=3, density=4, seed=0, sigma=(0.1, 0.834), rho=0.95, margin=1.0
) -> Problem:
    """Random Gaussians over LR planes, some of them up to `margin` LR pixels outside."""
    generator = np.random.default_rng(seed)
    batch = len(sizes)
    scales = [s if isinstance(s, tuple) else (float(s), float(s)) for s in scales]
    spans = np.array([(w / s[1], h / s[0]) for (h, w), s in zip(sizes, scales)])
    spans = spans.reshape(batch, 2)  # x, y in LR pixels
    if count is None:
        count = max(1, round(density * float(spans.prod(1).max())))
    return Problem(
        means=(generator.uniform(size=(batch, count, 2)) * (spans[:, None] + 2 * margin) - margin).astype(np.float32),
        sigmas=generator.uniform(*sigma, size=(batch, count, 2)).astype(np.float32),
        rhos=generator.uniform(-rho, rho, size=(batch, count)).astype(np.float32),
        opacities=generator.uniform(size=(batch, count)).astype(np.float32),
        colors=generator.uniform(-0.5, 1.5, size=(batch, count, channels)).astype(np.float32),
        sizes=list(sizes),
        scales=scales,
    )


def compare(result: Result, expected: Result, image_tolerance=5e-6, gradient_tolerance=1e-4):
    """Images: relative to the brightest pixel, since a dim one is a sum over the same large terms with both signs; each
    float32 term has a relative error of 1e-6 (2^x, the rounding of u and z). Gradients: relative to the largest
    of their kind, for the same reason; the derivatives of thin, tilted Gaussians multiply errors by kappa (3 at
    |rho| = 0.95) once or twice.
    """
    for image, exact in zip(result.images, expected.images):
        tolerance = image_tolerance * max(1.0, np.abs(exact).max())
        np.testing.assert_allclose(image, exact, rtol=0, atol=tolerance)
    for name in NAMES:
        exact = expected.gradients[name]
        tolerance = gradient_tolerance * np.abs(exact).max(initial=0.0)
        np.testing.assert_allclose(result.gradients[name], exact, rtol=0, atol=tolerance, err_msg=f'v_{name}')
