"""The operators on a CUDA device: values, gradients, determinism, opcheck, streams, graphs, limits, compute-sanitizer.
Skipped where there is no device. Times: `python -m tests.gpu`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gsasr_ops import backend, build, rasterize_gaussians, rasterize_gaussians_reference
from tests.ops.rasterizer.simt.algorithm1 import Algorithm1, compile_for

NAMES = ('means', 'sigmas', 'rhos', 'opacities', 'colors')
SIZES = [(40, 52), (33, 17), (1, 60)]
SCALES = [(2.0, 2.0), (3.7, 2.5), (4.0, 4.0)]


@pytest.fixture(scope='module', autouse=True)
def device() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip('torch sees no CUDA device')
    device = torch.device('cuda')
    # The first call compiles the kernels where the package was installed without them.
    rasterize_gaussians(*sample_inputs(device, count=1), size=(4, 4), scale=1.0)
    if backend()['cuda'] != 'compiled':
        pytest.skip(f'the CUDA kernels are not compiled: {backend()["problems"]}')
    return device


pytestmark = pytest.mark.cuda


def sample_inputs(
    device: torch.device | str, *, batch: int = 3, count: int = 300, span: float = 20.0, requires_grad: bool = False
) -> list[Tensor]:
    """means, sigmas, rhos, opacities, colors; some centres lie outside of the images."""
    generator = torch.Generator().manual_seed(0)

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(*shape, generator=generator) * (high - low) + low

    tensors = [
        uniform(batch, count, 2, low=-2.0, high=span + 2.0),
        uniform(batch, count, 2, low=0.1, high=0.83),
        uniform(batch, count, low=-0.95, high=0.95),
        uniform(batch, count),
        uniform(batch, count, 3),
    ]
    return [tensor.to(device).requires_grad_(requires_grad) for tensor in tensors]


def loss_of(images: list[Tensor]) -> Tensor:
    """A weighted sum, with weights that follow from the size alone."""
    return sum((image * torch.linspace(-1, 1, image.numel()).to(image).view_as(image)).sum() for image in images)


@pytest.mark.parametrize('window', [None, 0.3])
def test_values_and_gradients_equal_the_reference(device, window):
    inputs = sample_inputs(device, requires_grad=True)
    images = rasterize_gaussians(*inputs, size=SIZES, scale=SCALES, window=window)
    gradients = torch.autograd.grad(loss_of(images), inputs)

    exact = [tensor.detach().cpu().double().requires_grad_() for tensor in inputs]
    expected = rasterize_gaussians_reference(*exact, size=SIZES, scale=SCALES, window=window)
    expected_gradients = torch.autograd.grad(loss_of(expected), exact)
    for image, target in zip(images, expected):
        # Sums of some dozen float32 terms of order one, each with a relative error of about 1e-6; a pixel on the edge
        # of a box, which rounding may put outside, holds 4e-5 of a Gaussian.
        torch.testing.assert_close(image.cpu().double(), target, rtol=0, atol=5e-5)
    for name, gradient, target in zip(NAMES, gradients, expected_gradients):
        # Relative to the largest: small gradients are differences of large terms.
        tolerance = 5e-4 * target.abs().max().item()
        torch.testing.assert_close(gradient.cpu().double(), target, rtol=0, atol=tolerance, msg=lambda m, n=name: n + m)


def test_equals_the_cpu(device):
    """Larger than the dense reference allows: several batches of Gaussians in each tile."""
    inputs = sample_inputs('cpu', batch=2, count=60000, span=60.0)
    on_cpu = rasterize_gaussians(*inputs, size=(240, 240), scale=4.0)
    on_device = rasterize_gaussians(*(tensor.to(device) for tensor in inputs), size=(240, 240), scale=4.0)
    # Sums of up to some thousand float32 terms.
    torch.testing.assert_close(on_device.cpu(), on_cpu, rtol=2e-5, atol=1e-4)


def test_two_runs_give_the_same_bits(device):
    inputs = sample_inputs(device, count=5000, requires_grad=True)

    def draw() -> tuple[list[Tensor], tuple[Tensor, ...]]:
        images = rasterize_gaussians(*inputs, size=SIZES, scale=SCALES)
        return images, torch.autograd.grad(loss_of(images), inputs)

    images, gradients = draw()
    for _ in range(10):
        images_again, gradients_again = draw()
        assert all(torch.equal(a, b) for a, b in zip(images, images_again))
        assert all(torch.equal(a, b) for a, b in zip(gradients, gradients_again))


def test_many_gaussians_at_one_place(device):
    """Those of one cell are put in order by another way than few are; 300 others are elsewhere."""
    crowd = sample_inputs('cpu', batch=2, count=200_300, span=60.0)
    crowd[0][:, 300:] = torch.tensor([30.1, 29.9])
    crowd[1][:, 300:] = torch.tensor([0.4, 0.3])
    crowd[3][:, 300:] /= 100_000
    on_cpu = rasterize_gaussians(*crowd, size=(240, 200), scale=4.0)
    inputs = [tensor.to(device) for tensor in crowd]
    image = rasterize_gaussians(*inputs, size=(240, 200), scale=4.0)
    # Sums of 200,000 float32 terms whose sum is about one: the rounding of each addition is 6e-8.
    torch.testing.assert_close(image.cpu(), on_cpu, rtol=0, atol=2e-3)
    for _ in range(5):
        assert torch.equal(rasterize_gaussians(*inputs, size=(240, 200), scale=4.0), image)


def test_opcheck(device):
    inputs = sample_inputs(device, batch=2, count=20, requires_grad=True)
    arguments = (*inputs, [9, 12, 5, 8], [2.0, 2.0, 1.5, 3.0], 4.5, None)
    torch.library.opcheck(torch.ops.gsasr.rasterize_gaussians.default, arguments)


def test_compile(device):
    inputs = sample_inputs(device, batch=1, requires_grad=True)
    draw = torch.compile(lambda *tensors: rasterize_gaussians(*tensors, size=(24, 30), scale=2.0), fullgraph=True)
    torch.testing.assert_close(draw(*inputs), rasterize_gaussians(*inputs, size=(24, 30), scale=2.0))


def test_autocast_computes_in_float32(device):
    inputs = sample_inputs(device, batch=1)
    halves = [tensor.bfloat16() for tensor in inputs]
    with torch.autocast('cuda', torch.bfloat16):
        image = rasterize_gaussians(*halves, size=(24, 30), scale=2.0)
    assert image.dtype == torch.float32
    assert torch.equal(image, rasterize_gaussians(*(t.float() for t in halves), size=(24, 30), scale=2.0))


def test_float64_is_refused(device):
    inputs = [tensor.double() for tensor in sample_inputs(device, batch=1)]
    with pytest.raises(RuntimeError, match='float32 on CUDA'):
        rasterize_gaussians(*inputs, size=(8, 8), scale=1.0)


def test_no_gaussian_and_what_is_none(device):
    empty = sample_inputs(device, batch=1, count=0)
    assert not rasterize_gaussians(*empty, size=(20, 20), scale=2.0).any()
    inputs = sample_inputs(device, batch=1, count=40)
    inputs[0][0, 3] = float('nan')
    inputs[1][0, 5] = -1.0
    inputs[3][0, 7] = 0.0
    image = rasterize_gaussians(*inputs, size=(40, 40), scale=2.0)
    kept = [tensor[:, [n for n in range(40) if n not in (3, 5, 7)]] for tensor in inputs]
    torch.testing.assert_close(image, rasterize_gaussians(*kept, size=(40, 40), scale=2.0))


def test_runs_on_the_current_stream(device):
    """The stream's earlier work is slow; the kernels have to wait for it."""
    inputs = sample_inputs(device, batch=1)
    expected = rasterize_gaussians(*inputs, size=(40, 40), scale=2.0)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        late = [tensor.clone() for tensor in inputs]
        image = rasterize_gaussians(*late, size=(40, 40), scale=2.0)
    stream.synchronize()
    assert torch.equal(image, expected)


def test_does_not_wait_for_the_device(device):
    inputs = sample_inputs(device, requires_grad=True)
    torch.cuda.set_sync_debug_mode('error')
    try:
        images = rasterize_gaussians(*inputs, size=SIZES, scale=SCALES)
        torch.autograd.grad(images, inputs, [torch.ones_like(image) for image in images])
    finally:
        torch.cuda.set_sync_debug_mode('default')


def test_captured_in_a_graph(device):
    """Captured once and replayed with other inputs; the table of 70 images takes two launches."""
    inputs = sample_inputs(device, batch=70, count=50, requires_grad=True)
    sizes = [(8 + b % 5, 10 + b % 7) for b in range(70)]
    v_images = [torch.rand(3, *size, device=device) for size in sizes]

    def draw() -> tuple[list[Tensor], tuple[Tensor, ...]]:
        images = rasterize_gaussians(*inputs, size=sizes, scale=0.5)
        return images, torch.autograd.grad(images, inputs, v_images)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        draw()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured_images, captured_gradients = draw()
    with torch.no_grad():
        inputs[0].add_(0.37)
        inputs[1].mul_(1.1)
    graph.replay()
    images, gradients = draw()
    assert all(torch.equal(a, b) for a, b in zip(captured_images, images))
    assert all(torch.equal(a, b) for a, b in zip(captured_gradients, gradients))
    assert images[0].any()


def test_second_device():
    if torch.cuda.device_count() < 2:
        pytest.skip('there is one CUDA device only')
    inputs = sample_inputs('cuda:1', batch=1)
    image = rasterize_gaussians(*inputs, size=(40, 40), scale=2.0)
    assert image.device == torch.device('cuda:1')
    first = rasterize_gaussians(*(tensor.to('cuda:0') for tensor in inputs), size=(40, 40), scale=2.0)
    torch.testing.assert_close(image.cpu(), first.cpu())


def test_more_than_2_31_elements(device):
    """Three images that end beyond element 2^31: what is drawn in the last corner of the last one is right."""
    needed = 14 * 2**30
    if torch.cuda.get_device_properties(device).total_memory < 2 * needed or torch.cuda.mem_get_info()[0] < needed:
        pytest.skip('needs 14 GiB of free device memory')
    H, W = 16000, 16000
    means = torch.tensor([W - 3.2, H - 4.1], device=device).expand(3, 1, 2)
    inputs = [
        means,
        torch.full((3, 1, 2), 1.5, device=device),
        torch.zeros(3, 1, device=device),
        torch.ones(3, 1, device=device),
        torch.tensor([0.2, 0.5, 0.9], device=device).view(3, 1, 1).expand(3, 1, 3),
    ]
    assert 3 * 3 * H * W > 2**31
    images = rasterize_gaussians(*inputs, size=(H, W), scale=1.0)
    # The same Gaussian with the origin moved next to it. The difference is exact in float32, but for the edge of the
    # box, which rounding may move across a pixel that holds 4e-5 of the Gaussian.
    corner = [means - torch.tensor([W - 32.0, H - 32.0], device=device), *inputs[1:]]
    expected = rasterize_gaussians(*corner, size=(32, 32), scale=1.0)
    torch.testing.assert_close(images[:, :, -32:, -32:], expected, rtol=0, atol=1e-4)
    assert not images[:, :, :-32].any() and not images[:, :, :, :-32].any()


SANITIZED = """
import torch
from tests.ops.rasterizer.test_cuda_device import SCALES, SIZES, sample_inputs
from gsasr_ops import rasterize_gaussians

# Copies from the CPU alone: what is no kernel of ours is not looked at, and would count as never written.
v_images = [torch.ones(3, *size).cuda() for size in SIZES]
for count, spread in ((300, 1.0), (9000, 0.01)):  # those of the second in few cells, which are large ones
    inputs = sample_inputs('cuda', count=count, requires_grad=True)
    with torch.no_grad():
        inputs[0].copy_(inputs[0].cpu() * spread)
    images = rasterize_gaussians(*inputs, size=SIZES, scale=SCALES)
    torch.autograd.grad(images, inputs, v_images)
torch.cuda.synchronize()
"""

# Algorithm 1 into gradients that have one element less than it writes.
ONE_TOO_FAR = """
import sys
import torch
from pathlib import Path
from tests.ops.rasterizer.simt.algorithm1 import Algorithm1
from tests.ops.rasterizer.test_cuda_device import sample_inputs

algorithm1 = Algorithm1(Path(sys.argv[1]))
inputs = [tensor[0] for tensor in sample_inputs('cuda', batch=1)]
gradients = [torch.empty(tensor.numel(), device='cuda') for tensor in inputs]
gradients[4] = torch.empty(inputs[4].numel() - 1, device='cuda')
scene = algorithm1._scene(inputs, (40, 40), 2.0, 9.0)
algorithm1._call('algorithm1_backward', scene, [torch.ones(3, 40, 40, device='cuda'), *gradients])
torch.cuda.synchronize()
"""


def sanitized(tool: str, kernels: str, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs code under compute-sanitizer, which looks at kernels with this in their name and exits with 9 for a fault.

    Without torch's cache, in which a tensor is a part of megabytes that all belong to somebody.
    """
    home, _ = build.find_toolkit(None)
    places = [shutil.which('compute-sanitizer')]
    if home is not None:
        places.append(shutil.which('compute-sanitizer', path=str(home / 'bin')))
    program = next((place for place in places if place), None)
    if program is None:
        pytest.skip('compute-sanitizer is neither on the PATH nor in the CUDA toolkit')
    options = {
        '--error-exitcode': '9',
        '--kernel-name': f'kernel_substring={kernels}',
        '--target-processes': 'application-only',  # not what asks nvcc for its folder
        '--launch-timeout': '120',  # seconds until the first call of CUDA: torch takes its time to be imported
        '--port': str(49152 + 10 * (os.getpid() % 1000)),  # ten are its own, whoever else runs it beside
        # PyTorch asks for functions that a driver may lack; of ours, each call is checked.
        **({'--report-api-errors': 'no'} if tool == 'memcheck' else {}),
    }
    command = [program, '--tool', tool, *(word for option in options.items() for word in option)]
    done = subprocess.run(
        [*command, sys.executable, '-c', code, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, 'PYTORCH_NO_CUDA_MEMORY_CACHING': '1'},
        timeout=150,
    )
    if 'Device not supported' in done.stdout + done.stderr:
        pytest.skip('compute-sanitizer does not support this device here')
    return done


@pytest.mark.parametrize('tool', ['memcheck', 'racecheck', 'synccheck', 'initcheck'])
def test_compute_sanitizer(tool):
    # Of our kernels only: torch's own fill and copy kernels are not what is tested.
    done = sanitized(tool, 'gsasr', SANITIZED)
    assert done.returncode == 0, done.stdout + done.stderr


def test_compute_sanitizer_sees_one_element_too_far(device, tmp_path):
    done = sanitized('memcheck', 'backward_kernel', ONE_TOO_FAR, compiled_algorithm1(device, tmp_path))
    assert done.returncode == 9 and 'Invalid __global__' in done.stdout, done.stdout + done.stderr


def compiled_algorithm1(device: torch.device, folder: Path) -> Path:
    """Algorithm 1 for this device; skips the test where there is no compiler."""
    home, how = build.find_toolkit(None)
    if home is None:
        pytest.skip(f'nothing to compile Algorithm 1 with: {how}')
    return compile_for(home, torch.cuda.get_device_capability(device), folder)


def test_equals_algorithm_1(device, tmp_path):
    """The paper's grid at x4: its window of 0.1 holds more than 4.5 of a fresh network's deviations."""
    algorithm1 = Algorithm1(compiled_algorithm1(device, tmp_path))
    inputs = paper_inputs(device, 60)
    image = rasterize_gaussians(*inputs, size=(240, 240), scale=4.0)
    plain = algorithm1.forward([tensor[0] for tensor in inputs], (240, 240), 4.0, 0.3)
    torch.testing.assert_close(image[0], plain, rtol=0, atol=1e-3)


def paper_inputs(device: torch.device, lr_size: int) -> list[Tensor]:
    """One image: 16 Gaussians per LR pixel on the paper's grid, with the deviation of a fresh network."""
    side = 4 * lr_size
    centers = (torch.arange(side, device=device) + 0.5) / 4
    means = torch.stack(torch.meshgrid(centers, centers, indexing='xy'), dim=-1).reshape(1, -1, 2).contiguous()
    count = side * side
    generator = torch.Generator(device).manual_seed(0)
    return [
        means,
        torch.full((1, count, 2), 0.5 / 1.2, device=device),
        torch.zeros(1, count, device=device),
        torch.full((1, count), 0.5, device=device),
        torch.rand(1, count, 3, device=device, generator=generator),
    ]
