"""The operators inside PyTorch: opcheck, torch.compile, autocast, threads."""

import pytest
import torch

from gsasr_ops import backend, rasterize_gaussians, rasterize_gaussians_reference
from tests.ops.rasterizer.scenes import grid_inputs, sample_inputs

SIZES, SCALES = [5, 7, 9, 4], [1.5, 1.5, 2.0, 0.7]


def test_the_cpu_kernel_is_compiled_here():
    """Otherwise the other tests of this folder would compare the twin with itself."""
    assert backend()['cpu'] == 'compiled', backend()['problems']


@pytest.mark.slow
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_opcheck(dtype):
    inputs = sample_inputs(dtype=dtype, requires_grad=True)
    torch.library.opcheck(torch.ops.gsasr.rasterize_gaussians, (*inputs, SIZES, SCALES, 4.5, None))
    torch.library.opcheck(torch.ops.gsasr.rasterize_gaussians, (*inputs, SIZES, SCALES, 3.0, 0.5))
    inputs = sample_inputs(dtype=dtype)
    v_images = torch.randn(3 * (5 * 7 + 9 * 4), dtype=dtype)
    torch.library.opcheck(torch.ops.gsasr.rasterize_gaussians_backward, (v_images, *inputs, SIZES, SCALES, 4.5, None))


def test_fake_tensors_have_the_right_shapes():
    inputs = [tensor.to('meta') for tensor in sample_inputs(C=2)]
    assert rasterize_gaussians(*inputs, (6, 7), 1.0).shape == (2, 2, 6, 7)
    assert [image.shape for image in rasterize_gaussians(*inputs, [(6, 7), (1, 2)], 1.0)] == [(2, 6, 7), (2, 1, 2)]


@pytest.mark.parametrize('several', [False, True])
def test_compiles_without_graph_breaks(several):
    size, scale = ([(9, 8), (5, 12)], [1.5, (2.0, 0.7)]) if several else ((9, 8), 1.5)

    def loss(draw, *tensors):
        images = draw(*tensors, size, scale)
        return sum(image.square().sum() for image in images)

    inputs = sample_inputs(requires_grad=True)
    compiled = torch.compile(loss, fullgraph=True, backend='aot_eager')
    found = torch.autograd.grad(compiled(rasterize_gaussians, *inputs), inputs)
    expected = torch.autograd.grad(loss(rasterize_gaussians, *inputs), inputs)
    for v, v_expected in zip(found, expected):
        torch.testing.assert_close(v, v_expected)


def test_compiles_once_for_all_sizes():
    """Sizes and numbers of Gaussians that change from call to call stay symbols."""
    graphs = 0

    def count(graph, _):
        nonlocal graphs
        graphs += 1
        return graph.forward

    @torch.compile(fullgraph=True, dynamic=True, backend=count)
    def draw(target, *tensors):
        return rasterize_gaussians(*tensors, (target.shape[0], target.shape[1]), 2.0)

    for N, H, W in ((7, 10, 11), (9, 13, 12), (30, 5, 6)):
        inputs = sample_inputs(N=N)
        assert torch.equal(draw(torch.empty(H, W), *inputs), rasterize_gaussians(*inputs, (H, W), 2.0))
    assert graphs == 1


@pytest.mark.parametrize('draw', [rasterize_gaussians, rasterize_gaussians_reference])
def test_autocast_computes_in_float32(draw):
    inputs = sample_inputs()
    halves = [tensor.bfloat16() if k != 0 else tensor for k, tensor in enumerate(inputs)]  # positions stay float32
    with torch.autocast('cpu', torch.bfloat16):
        images = draw(*halves, (6, 7), 1.0)
        assert torch.equal(draw(*inputs, (6, 7), 1.0), draw(*inputs, (6, 7), 1.0))
    assert images.dtype == torch.float32
    assert torch.equal(images, draw(*(tensor.float() for tensor in halves), (6, 7), 1.0))


def test_gradients_through_autocast():
    means, *others = sample_inputs()
    halves = [tensor.bfloat16().requires_grad_() for tensor in others]
    with torch.autocast('cpu', torch.bfloat16):
        rasterize_gaussians(means, *halves, (6, 7), 1.0).sum().backward()
    assert all(tensor.grad.dtype == torch.bfloat16 and tensor.grad.any() for tensor in halves)


def test_same_bits_for_any_number_of_threads():
    """72 x 1,200 pixels: several bands, two tiles across, two sorted parts, more runs of Gaussians than threads."""
    inputs = [tensor.requires_grad_() for tensor in grid_inputs(12, 200, sigma=None)]
    v_images = torch.randn(1, 3, 72, 1200, generator=torch.Generator().manual_seed(1))
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 8):
            torch.set_num_threads(count)
            images = rasterize_gaussians(*inputs, (72, 1200), 6.0)
            results.append((images, *torch.autograd.grad(images, inputs, v_images)))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0]))


def test_same_bits_alone_and_in_a_batch():
    inputs = sample_inputs(B=3, N=200, h=20, w=20)
    images = rasterize_gaussians(*inputs, [(61, 50), (40, 40), (7, 90)], [3.0, 2.0, (0.4, 4.5)])
    alone = rasterize_gaussians(*(tensor[1:2] for tensor in inputs), (40, 40), 2.0)
    assert torch.equal(images[1], alone[0])
