"""The 3 x 3 convolution of maps: values against float64, arguments, how it sits in PyTorch."""

from __future__ import annotations

import functools
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gsasr_ops import convolution, pack_convolution
from tests.ops import instruction_sets

HALF = (torch.float32, torch.bfloat16)
# (B, H, W, C, N): the decoder's widths; sides that are odd, shorter than a square of results, or of several blocks of
# 24 squares; channels and results on both sides of vectors and of groups of them.
SHAPES = [
    (1, 6, 10, 192, 192),
    (1, 5, 7, 180, 40),
    (2, 13, 9, 17, 33),
    (3, 1, 1, 1, 1),
    (1, 1, 30, 15, 31),
    (1, 2, 3, 16, 48),
    (2, 11, 3, 7, 2),
]


def inputs_of(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0) -> list[Tensor]:
    """Pixels and results of a few units; x is a part of a larger map with more channels."""
    B, H, W, C, N = shape
    torch.manual_seed(seed)
    x = torch.randn(B, H + 2, W + 1, C + 3).to(dtype)[:, 1:-1, 1:, 2:-1]
    return [x, torch.randn(N, C, 3, 3) / (9 * C) ** 0.5, torch.randn(N), torch.randn(B, H, W, N)]


def exact(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None = None) -> Tensor:
    """By the definition, in float64."""
    y = F.conv2d(x.double().permute(0, 3, 1, 2), weight.double(), bias.double(), padding=1).permute(0, 2, 3, 1)
    return y if residual is None else y + residual.double()


def check(found: Tensor, given: list[Tensor], operands: torch.dtype, dtype: torch.dtype, side: int = 2) -> None:
    """Against float64.

    In float32, sums of 9 C products, of which the transformations make others that are at most some times as large. In
    bfloat16 each of the 16 C products has two factors that are 2^-9 off at most, and the errors of a result of about 1
    have a deviation of some 0.004, 0.011 by squares of 4: six of them, of some ten thousand results.
    """
    tolerance = 2e-5 if operands == torch.float32 else 2.5e-2 if side == 2 else 7e-2
    rounding = 0 if dtype == torch.float32 else 2**-8
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), exact(*given), atol=tolerance, rtol=tolerance + rounding)


def check_values() -> None:
    """For one instruction set; also run in processes of their own."""
    for shape, x_dtype, operands, dtype in itertools.product(SHAPES, HALF, HALF, HALF):
        x, weight, bias, residual = inputs_of(shape, x_dtype)
        for added in (None, residual):
            found = convolution(x, weight, bias, residual=added, operands=operands, dtype=dtype)
            assert found.shape == residual.shape
            check(found, [x, weight, bias, *([added] if added is not None else [])], operands, dtype)
            packed = pack_convolution(weight, bias, operands=operands)
            assert torch.equal(convolution(x, packed, residual=added, dtype=dtype), found)
            if operands == torch.bfloat16:
                by_4 = convolution(x, weight, bias, residual=added, operands=operands, dtype=dtype, side=4)
                check(by_4, [x, weight, bias, *([added] if added is not None else [])], operands, dtype, side=4)
                assert not torch.equal(by_4, found)


@instruction_sets.each
def test_values_with_each_instruction_set(name: str) -> None:
    instruction_sets.run_with(name, 'from tests.ops.convolutions.test_convolution import check_values\ncheck_values()')


@pytest.mark.parametrize('operands', HALF)
def test_one_pixel_moves_its_neighbours_only(operands: torch.dtype) -> None:
    """Of which each sees one weight; exact numbers in bfloat16 too, transformed (halves of sums of small integers)."""
    weight = torch.arange(9.0).view(1, 1, 3, 3)
    for y, x in itertools.product(range(5), range(4)):
        picture = torch.zeros(1, 5, 4, 1)
        picture[0, y, x] = 1
        found = convolution(picture, weight, torch.zeros(1), operands=operands)
        assert torch.equal(found.double(), exact(picture, weight, torch.zeros(1)))


@pytest.mark.parametrize(('operands', 'side'), [(torch.float32, 2), (torch.bfloat16, 2), (torch.bfloat16, 4)])
def test_same_bits_for_any_number_of_threads_and_any_strides(operands: torch.dtype, side: int) -> None:
    x, weight, bias, _ = inputs_of((2, 9, 11, 36, 70))
    threads = torch.get_num_threads()
    call = functools.partial(convolution, operands=operands, side=side)
    expected = call(x, weight, bias)
    try:
        for count in (1, 2, 3, 8):
            torch.set_num_threads(count)
            assert torch.equal(call(x, weight, bias), expected)
    finally:
        torch.set_num_threads(threads)
    planar = x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    nhwc = weight.to(memory_format=torch.channels_last)
    assert torch.equal(call(planar, nhwc, bias), expected)
    assert torch.equal(call(x[1:], weight, bias), expected[1:])


def test_nan_shows_where_it_belongs() -> None:
    """Of a pixel in all squares that see it, in no other and no other image; of a weight everywhere."""
    x, weight, bias, _ = inputs_of((2, 8, 8, 5, 3))
    spoilt = x.clone()
    spoilt[0, 2, 2, 4] = torch.nan
    found = convolution(spoilt, weight, bias).isnan().all(3)
    assert found[0, 1:4, 1:4].all()
    assert not found[1].any() and not found[0, 4:].any() and not found[0, :, 4:].any()
    weight[2, 4, 0, 0] = torch.nan
    assert convolution(x, weight, bias)[..., 2].isnan().all()


def test_empty() -> None:
    _, weight, bias, _ = inputs_of((1, 3, 3, 4, 5))
    for shape in ((0, 3, 3, 4), (1, 0, 3, 4), (1, 3, 0, 4)):
        assert convolution(torch.zeros(shape), weight, bias).shape == (*shape[:3], 5)


@pytest.mark.slow
def test_opcheck_and_compiled() -> None:
    x, weight, bias, residual = inputs_of((1, 3, 4, 5, 6))
    packed = pack_convolution(weight, bias, operands=torch.bfloat16)
    torch.library.opcheck(torch.ops.gsasr.pack_convolution, (weight, bias, True))
    for bytes_of in (None, packed.packed):
        torch.library.opcheck(torch.ops.gsasr.convolution, (x, weight, bias, bytes_of, residual, 2, True, True))
    compiled = torch.compile(convolution, fullgraph=True, backend='aot_eager')
    assert torch.equal(compiled(x, weight, bias, residual=residual), convolution(x, weight, bias, residual=residual))
    assert torch.equal(compiled(x, packed, residual=residual), convolution(x, packed, residual=residual))
    v_output = torch.randn(1, 3, 4, 6)
    torch.library.opcheck(torch.ops.gsasr.convolution_weight_backward, (v_output, x, 4, True))
    result = convolution(x, weight.requires_grad_(), bias)
    (gradient,) = torch.autograd.grad(result.square().sum(), weight, create_graph=True)
    with pytest.raises(NotImplementedError, match='the operator convolution_weight_backward has no derivative'):
        gradient.sum().backward()


@pytest.mark.parametrize(
    ('number', 'change', 'message'),
    [
        (0, lambda t: t[0], r'x must have the shape \(B, H, W, C\) with C from 1, got \(3, 4, 5\)'),
        (0, lambda t: t[..., :0], r'x must have the shape .* got \(1, 3, 4, 0\)'),
        (0, lambda t: t.double(), 'x must be of dtype float32 or bfloat16'),
        (0, lambda t: t[..., :4], r'weight must have the shape \(6, 4, 3, 3\), got \(6, 5, 3, 3\)'),
        (1, lambda t: t[0], r'weight must have the shape \(N, 5, 3, 3\) with N from 1, got \(5, 3, 3\)'),
        (1, lambda t: t[:0], r'weight must have the shape .* got \(0, 5, 3, 3\)'),
        (1, lambda t: t[..., :2], r'weight must have the shape \(6, 5, 3, 3\), got \(6, 5, 3, 2\)'),
        (2, lambda t: t[:5], r'bias must have the shape \(6\), got \(5\)'),
        (3, lambda t: t[:, :2], r'residual must have the shape \(1, 3, 4, 6\), got \(1, 2, 4, 6\)'),
    ],
)
def test_refuses(number: int, change, message: str) -> None:
    inputs = inputs_of((1, 3, 4, 5, 6))
    inputs[number] = change(inputs[number])
    with pytest.raises(RuntimeError, match=message):
        convolution(*inputs[:3], residual=inputs[3])


@pytest.mark.parametrize('number', range(4))
def test_refuses_tensors_of_two_devices(number: int) -> None:
    inputs = inputs_of((1, 3, 4, 5, 6))
    inputs[number] = inputs[number].to('meta')
    named, first = (('weight', 'meta'), ('weight', 'cpu'), ('bias', 'cpu'), ('residual', 'cpu'))[number]
    with pytest.raises(
        RuntimeError, match=rf'^{named} is on \w+, but the first argument is on {first}: all must be on'
    ):
        convolution(*inputs[:3], residual=inputs[3])


def test_refuses_other_dtypes() -> None:
    x, weight, bias, _ = inputs_of((1, 3, 4, 5, 6))
    with pytest.raises(TypeError, match=r'operands must be torch.float32 or torch.bfloat16, got torch.float16'):
        convolution(x, weight, bias, operands=torch.float16)
    with pytest.raises(TypeError, match='dtype must be'):
        convolution(x, weight, bias, dtype=torch.float64)
    with pytest.raises(RuntimeError, match='weight must be of dtype float32'):
        torch.ops.gsasr.convolution(x, weight.double(), bias, None, None, 2, False, False)


def test_refuses_sides() -> None:
    x, weight, bias, _ = inputs_of((1, 3, 4, 5, 6))
    for side, operands in ((3, torch.bfloat16), (4, torch.float32)):
        with pytest.raises(RuntimeError, match=f'side must be 2, or 4 with operands in bfloat16, got {side}'):
            convolution(x, weight, bias, operands=operands, side=side)
    with pytest.raises(RuntimeError, match='side must be 2'):
        torch.ops.gsasr.convolution_weight_backward(torch.zeros(1, 3, 4, 6), x, 4, False)
    packed = pack_convolution(weight, bias, operands=torch.bfloat16)
    with pytest.raises(RuntimeError, match='weights are packed for side 2, got side 4'):
        convolution(x, packed, side=4)
