"""The fused window attention: values against float64, its arguments, and how it sits in PyTorch."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from gsasr_ops import backend, window_attention
from gsasr_ops.attention import on_gpu, reference
from tests.ops import instruction_sets

# Logits of a few units: sums of D products and S weighted values in float32, each within some 1e-7 of its size. A
# result in bfloat16 is rounded once more, by at most 2^-8 of it: half a unit in the last of 8 places. So are weights
# where pairs are multiplied, which moves a mean by at most 2^-8 of the values' mean distance to it, below 3.
ROUNDED_WEIGHTS = 3 * 2**-8 if backend()['instruction_sets'][:1] == ['avx512bf16'] else 0
TOLERANCE = {
    torch.float32: {'atol': 1e-5, 'rtol': 1e-5},
    torch.bfloat16: {'atol': ROUNDED_WEIGHTS + 1e-5, 'rtol': 2**-8 + 1e-5},
}
# (M, heads, T, S, D): the decoder's and HAT's windows, and lengths on both sides of vectors and groups of them.
SHAPES = [
    (2, 3, 144, 144, 30),
    (1, 2, 256, 576, 30),
    (1, 1, 1, 1, 1),
    (3, 2, 5, 3, 7),
    (2, 1, 6, 16, 16),
    (1, 2, 7, 17, 8),
    (1, 2, 13, 31, 33),
    (2, 2, 12, 48, 4),
    (1, 1, 23, 49, 64),
    (1, 1, 9, 97, 100),
]


def heads_of(M: int, heads: int, length: int, D: int, parts: int, dtype: torch.dtype) -> list[Tensor]:
    """(M, heads, length, D) each, as they lie in one projection (M, length, parts * heads * D)."""
    projected = torch.randn(M, length, parts * heads * D).to(dtype)
    return [part.unflatten(-1, (heads, D)).transpose(1, 2) for part in projected.chunk(parts, -1)]


def inputs_of(shape: tuple[int, ...], dtype: torch.dtype, with_bias: bool, seed: int = 0) -> list[Tensor | None]:
    M, heads, T, S, D = shape
    torch.manual_seed(seed)
    (q,), (k, v) = heads_of(M, heads, T, D, 1, dtype), heads_of(M, heads, S, D, 2, dtype)
    return [q, k, v, torch.randn(heads, T, S) if with_bias else None]


def numbered_of(
    shape: tuple[int, ...], dtype: torch.dtype, with_bias: bool, *, own_context: bool = True, seed: int = 0
) -> dict[str, Tensor | None]:
    """Arguments whose tokens lie in any order, as parts of one projection (tokens, parts * heads * D) each.

    Some tokens of a context of their own are in several windows, and some in none.
    """
    M, heads, T, S, D = shape
    torch.manual_seed(seed)
    rows = max(2 * M * S // 3, 1) if own_context else M * T
    q, k, v = (
        part.unflatten(-1, (heads, D))
        for count, parts in ((M * T, 1), (rows, 2))
        for part in torch.randn(count, parts * heads * D).to(dtype).chunk(parts, -1)
    )
    return {
        'q': q,
        'k': k,
        'v': v,
        'bias': torch.randn(heads, T, S if own_context else T) if with_bias else None,
        'windows': torch.randperm(M * T).view(M, T),
        'context_windows': torch.randint(rows, (M, S)) if own_context else None,
    }


def by_windows(
    attend: Callable[..., Tensor],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None = None,
    rotations: Tensor | None = None,
    *,
    windows: Tensor,
    context_windows: Tensor | None,
) -> Tensor:
    """The same by an attention of windows, whose results are put where the queries were."""
    context_windows = windows if context_windows is None else context_windows
    numbers = (windows, context_windows, context_windows)
    q, k, v = (x[rows].transpose(1, 2) for x, rows in zip((q, k, v), numbers))
    mixed = attend(q, k, v, bias, rotations)
    result = torch.full((windows.numel(), mixed.shape[2]), torch.nan, dtype=mixed.dtype)
    return result.index_put((windows.flatten(),), mixed.flatten(0, 1))


def rotations_of(shape: tuple[int, ...]) -> Tensor:
    """One position more than is needed."""
    _, heads, T, S, D = shape
    angles = 3 * torch.randn(heads, max(T, S) + 1, D // 2)
    return torch.polar(torch.ones_like(angles), angles)


def turned(x: Tensor, rotations: Tensor) -> Tensor:
    """Of float64, by the matrices of the rotations."""
    cos, sin = rotations.real.double()[:, : x.shape[2]], rotations.imag.double()[:, : x.shape[2]]
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


def exact(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, rotations: Tensor | None = None) -> Tensor:
    """By the formula, in float64; rotated queries and keys are rounded to their type."""
    dtype = q.dtype
    q, k, v = (tensor.detach().double() for tensor in (q, k, v))
    if rotations is not None:
        q, k = (turned(x, rotations).to(dtype).double() for x in (q, k))
    logits = torch.einsum('mhtd,mhsd->mhts', q, k) / q.shape[-1] ** 0.5
    if bias is not None:
        logits = logits + bias.detach().double()
    weights = (logits - logits.amax(-1, keepdim=True)).exp()
    mixed = torch.einsum('mhts,mhsd->mthd', weights / weights.sum(-1, keepdim=True), v)
    return mixed.flatten(2)


def check_values() -> None:
    """For one instruction set; also run in processes of their own."""
    for shape, dtype, with_bias in itertools.product(SHAPES, TOLERANCE, (False, True)):
        inputs = inputs_of(shape, dtype, with_bias)
        for rotations in (None, rotations_of(shape)) if shape[4] % 2 == 0 else (None,):
            found = window_attention(*inputs, rotations)
            assert found.dtype == dtype and found.is_contiguous()
            tolerance = {**TOLERANCE[dtype]}
            if rotations is not None and dtype == torch.bfloat16:
                # A rotated number on the verge may be rounded to the other side: a logit moves by 2^-8 of a few units.
                tolerance['atol'] += 2**-6
            torch.testing.assert_close(found.double(), exact(*inputs, rotations), **tolerance)


def check_windows() -> None:
    """Tokens by number give the bits of tokens that were put into their windows before."""
    for shape, dtype, with_bias, own_context in itertools.product(SHAPES, TOLERANCE, *2 * [(False, True)]):
        M, heads, T, S, D = shape
        shape = (M, heads, T, S if own_context else T, D)
        inputs = numbered_of(shape, dtype, with_bias, own_context=own_context)
        for rotations in (None, rotations_of(shape)) if D % 2 == 0 else (None,):
            found = window_attention(**inputs, rotations=rotations)
            assert found.is_contiguous()
            assert torch.equal(found, by_windows(window_attention, **inputs, rotations=rotations))


@instruction_sets.each
def test_values_with_each_instruction_set(name):
    instruction_sets.run_with(
        name,
        'from tests.ops.attention.test_attention import check_values, check_windows\ncheck_values()\ncheck_windows()',
    )


@pytest.mark.parametrize('dtype', TOLERANCE)
def test_any_strides(dtype):
    q, k, v, bias = inputs_of((2, 3, 20, 25, 12), dtype, True)
    expected = window_attention(q, k, v, bias)
    turned = [tensor.transpose(2, 3).contiguous().transpose(2, 3) for tensor in (q, k, v)]
    assert turned[0].stride(3) != 1
    turned_bias = bias.transpose(0, 2).contiguous().transpose(0, 2)
    assert torch.equal(window_attention(*turned, turned_bias), expected)
    assert torch.equal(window_attention(*(tensor.contiguous() for tensor in (q, k, v)), bias), expected)
    shared = window_attention(q, k[:1].expand(2, -1, -1, -1), v[:1].expand(2, -1, -1, -1), bias)
    assert torch.equal(shared[0], expected[0])


@pytest.mark.parametrize('dtype', TOLERANCE)
def test_any_strides_with_windows(dtype):
    inputs = numbered_of((2, 3, 20, 25, 12), dtype, True)
    expected = window_attention(**inputs)
    for axes in ((0, 2), (0, 1), (1, 2)):
        turned = {name: inputs[name].transpose(*axes).contiguous().transpose(*axes) for name in ('q', 'k', 'v')}
        assert torch.equal(window_attention(**inputs | turned), expected)
    turned = {name: inputs[name].t().contiguous().t() for name in ('windows', 'context_windows')}
    assert not any(numbers.is_contiguous() for numbers in turned.values())
    assert torch.equal(window_attention(**inputs | turned), expected)
    shared = inputs['context_windows'][:1].expand(2, -1)
    same = window_attention(**inputs | {'context_windows': shared})
    assert torch.equal(same, window_attention(**inputs | {'context_windows': shared.contiguous()}))
    assert torch.equal(same[inputs['windows'][0]], expected[inputs['windows'][0]])


def test_huge_logits():
    """Weights of one key only, and logits far below zero: nothing overflows, nothing divides by zero."""
    q, k, v, bias = inputs_of((2, 2, 30, 37, 30), torch.float32, True)
    for factor, offset in ((1e4, 0.0), (1.0, -1e4), (1.0, 1e4)):
        given = (q * factor, k, v, bias + offset)
        # Logits of 1e5 have errors of 1e-2: where two keys lead by less, their weights are off by as much.
        tolerance = {'atol': 0.05, 'rtol': 0} if factor > 1 or offset else TOLERANCE[torch.float32]
        found = window_attention(*given)
        torch.testing.assert_close(found.double(), exact(*given), **tolerance)


def on_gpu_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    return on_gpu.window_attention(q, k, v, bias, None, None, None, q.shape[-1] ** -0.5)


def test_minus_infinity_leaves_keys_out():
    q, k, v, bias = inputs_of((2, 2, 30, 37, 30), torch.float32, True)
    bias[:, :, 20:] = -torch.inf
    expected = window_attention(q, k[:, :, :20], v[:, :, :20], bias[:, :, :20])
    torch.testing.assert_close(window_attention(q, k, v, bias), expected, **TOLERANCE[torch.float32])


@pytest.mark.parametrize('dtype', TOLERANCE)
def test_nan_shows_where_it_belongs(dtype):
    """Of a query in its row, of a value in its channel, of a key or its bias in every row that weighs it."""
    given = inputs_of((1, 2, 10, 20, 16), dtype, True)

    def spoilt(which: int, place: tuple[int, ...]) -> Tensor:
        inputs = [tensor.clone() for tensor in given]
        inputs[which][place] = torch.nan
        return window_attention(*inputs).isnan().unflatten(2, (2, 16))[0]  # (T, heads, D)

    def only(*place: int | slice) -> Tensor:
        mask = torch.zeros(10, 2, 16, dtype=torch.bool)
        mask[place] = True
        return mask

    everything = slice(None)
    assert torch.equal(spoilt(0, (0, 1, 3, 5)), only(3, 1))
    assert torch.equal(spoilt(1, (0, 1, 19, 5)), only(everything, 1))
    assert torch.equal(spoilt(2, (0, 0, 19, 5)), only(everything, 0, 5))
    assert torch.equal(spoilt(3, (0, 4, 2)), only(4, 0))


@pytest.mark.parametrize('dtype', TOLERANCE)
def test_same_bits_for_any_number_of_threads(dtype):
    shape = (5, 3, 50, 40, 30)
    inputs, numbered = inputs_of(shape, dtype, True), numbered_of(shape, dtype, True)
    rotations = rotations_of(shape)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 8):
            torch.set_num_threads(count)
            results.append((window_attention(*inputs, rotations), window_attention(**numbered, rotations=rotations)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(*pair) for result in results for pair in zip(result, results[0]))


def test_rounds_to_nearest_even_bfloat16():
    """As PyTorch does: two keys that weigh the same give the mean of two values, which float32 holds exactly."""
    q, k, v, _ = inputs_of((1, 1, 3, 2, 40), torch.bfloat16, False)
    k[:] = 0
    expected = v.float().mean(2, keepdim=True).expand(-1, -1, 3, -1).bfloat16()
    assert torch.equal(window_attention(q, k, v), expected.transpose(1, 2).flatten(2))


@pytest.mark.parametrize('shape', [(0, 2, 5, 6, 4), (2, 0, 5, 6, 4), (2, 2, 0, 6, 4)])
def test_empty(shape):
    M, heads, T, _, D = shape
    assert window_attention(*inputs_of(shape, torch.float32, True)).shape == (M, T, heads * D)
    assert window_attention(**numbered_of(shape, torch.float32, True)).shape == (M * T, heads * D)


def derivatives(output: Tensor, inputs: dict[str, Tensor | None]) -> dict[str, Tensor]:
    """Of a sum of the output with fixed weights, of each input that is differentiated."""
    torch.manual_seed(1)
    v_output = torch.randn(output.shape, dtype=torch.float64).to(output.dtype)
    given = {name: tensor for name, tensor in inputs.items() if tensor is not None and tensor.requires_grad}
    return dict(zip(given, torch.autograd.grad(output, list(given.values()), v_output)))


def differentiated(inputs: dict[str, Tensor | None], double: bool = False) -> dict[str, Tensor | None]:
    """The same values with gradients, except numbers."""

    def leaf(tensor: Tensor) -> Tensor:
        if double:
            tensor = tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
        return tensor.detach().clone().requires_grad_()

    return {
        name: leaf(tensor) if tensor is not None and tensor.dtype != torch.int64 else tensor
        for name, tensor in inputs.items()
    }


# Sums of up to 144 products, at most 9: in float32 each is off by some 1e-7 of its size, in bfloat16 by 2^-9, and so
# are the rotated tokens and the weights before, which together move sums by up to 0.03 beyond the result's rounding.
GRADIENT_TOLERANCE = {torch.float32: {'atol': 2e-5, 'rtol': 1e-4}, torch.bfloat16: {'atol': 0.05, 'rtol': 2**-5}}


@pytest.mark.parametrize('dtype', GRADIENT_TOLERANCE)
@pytest.mark.parametrize('with_bias', [False, True])
@pytest.mark.parametrize('shape', SHAPES)
def test_gradients(shape, with_bias, dtype):
    """Beside those that PyTorch derives from its own attention in float64."""
    M, heads, T, S, D = shape
    plain = dict(zip(('q', 'k', 'v', 'bias'), inputs_of(shape, dtype, with_bias)))
    cases = [plain, numbered_of(shape, dtype, with_bias), numbered_of(shape, dtype, with_bias, own_context=False)]
    if D % 2 == 0:
        cases += [case | {'rotations': rotations_of((M, heads, T, max(S, T), D))} for case in cases]
    for case in cases:
        given, double = differentiated(case), differentiated(case, double=True)
        found = derivatives(window_attention(**given), given)
        attend = window_attention if 'windows' not in case else partial(by_windows, window_attention)
        for name, expected in derivatives(attend(**double), double).items():
            assert found[name].dtype == given[name].dtype
            torch.testing.assert_close(found[name].to(expected.dtype), expected, **GRADIENT_TOLERANCE[dtype])


@pytest.mark.parametrize('dtype', GRADIENT_TOLERANCE)
def test_gradients_of_any_strides(dtype):
    shape = (2, 3, 9, 11, 8)
    plain = dict(zip('qkv', inputs_of(shape, dtype, False))) | {'rotations': rotations_of(shape)}
    given = differentiated(plain)
    expected = derivatives(window_attention(**given), given)
    for strided in (
        lambda t: t.transpose(2, 3).contiguous().transpose(2, 3),  # channels apart
        lambda t: torch.cat([t[..., :1], t], -1)[..., 1:],  # odd strides and offsets
        lambda t: torch.cat([t.new_zeros(1), t.flatten()])[1:].view(t.shape),  # an odd offset
    ):
        for name in 'qk':
            given = {key: tensor.detach() for key, tensor in plain.items()}
            given[name] = strided(given[name])
            given = {key: tensor.requires_grad_() for key, tensor in given.items()}
            found = derivatives(window_attention(**given), given)
            for key, gradient in expected.items():
                torch.testing.assert_close(found[key], gradient, atol=1e-6, rtol=1e-5)


def test_gradients_to_the_last_digits():
    """The formula, in float64."""
    shape = (2, 3, 9, 11, 8)
    turns = {'rotations': rotations_of(shape)}
    for case in (
        dict(zip(('q', 'k', 'v', 'bias'), inputs_of(shape, torch.float64, True))) | turns,
        numbered_of(shape, torch.float64, True) | turns,
    ):
        double = differentiated(case, double=True)
        double['rotations'] = torch.view_as_real(double['rotations'].detach()).requires_grad_()
        numbers = {'windows': None, 'context_windows': None, 'scale': 0.3}
        arguments = numbers | double
        output = reference.window_attention(**arguments)
        expected = derivatives(output, double)
        torch.manual_seed(1)
        v_output = torch.randn(output.shape, dtype=torch.float64)
        found = reference.window_attention_backward(v_output, **arguments)
        for name, gradient in zip(('q', 'k', 'v', 'bias', 'rotations'), found):
            torch.testing.assert_close(gradient, expected[name], atol=1e-12, rtol=1e-10)


def test_only_inputs_are_kept_for_the_gradients():
    """Not the weights, of which there are S for each query and head."""
    given = differentiated(dict(zip('qkv', inputs_of((2, 3, 144, 144, 30), torch.float32, False))))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.data_ptr()), lambda none: none):
        window_attention(**given)
    assert sorted(kept) == sorted(tensor.data_ptr() for tensor in given.values())


def test_second_derivatives():
    """Which PyTorch's fused attention has none of: beside plain products in float64."""

    def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return ((q @ k.transpose(2, 3) / 2).softmax(-1) @ v).transpose(1, 2).flatten(2)

    given = differentiated(dict(zip('qkv', inputs_of((1, 2, 5, 7, 4), torch.float32, False))))
    double = differentiated(given, double=True)
    seconds = []
    for attend, inputs in ((window_attention, given), (plain, double)):
        output = attend(**inputs).square().sum()
        (first,) = torch.autograd.grad(output, inputs['q'], create_graph=True)
        seconds.append(torch.autograd.grad(first.square().sum(), list(inputs.values())))
    for a, b in zip(*seconds):
        torch.testing.assert_close(a.double(), b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('dtype', [torch.float16, torch.float64])
def test_other_dtypes_by_pytorch(dtype):
    shape = (2, 3, 9, 11, 8)
    inputs = [*inputs_of(shape, dtype, True), rotations_of(shape)]
    found = window_attention(*inputs)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), exact(*inputs), atol=2e-3, rtol=2e-3)
    numbered = numbered_of(shape, dtype, True)
    found = window_attention(**numbered, rotations=inputs[4])
    expected = by_windows(exact, **numbered, rotations=inputs[4])
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize('attention', [window_attention, on_gpu_attention], ids=['here', 'as on GPUs'])
@pytest.mark.parametrize('kinds', [1, 2, 6])
def test_windows_of_kinds_in_turn(attention, kinds):
    """Of window m the bias of kind m mod W, with 11 keys, which are padded for GPUs; and gradients."""
    q, k, v, _ = (x if x is None else x.double() for x in inputs_of((6, 3, 9, 11, 8), torch.float32, False))
    bias = torch.randn(kinds, 3, 9, 11, dtype=torch.float64, requires_grad=True)
    found = attention(q, k, v, bias)
    expected = torch.cat([window_attention(q[m, None], k[m, None], v[m, None], bias[m % kinds]) for m in range(6)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)
    gradients = [torch.autograd.grad(y.square().sum(), bias)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize('with_bias', [False, True])
@pytest.mark.parametrize('dtype', TOLERANCE)
def test_opcheck(dtype, with_bias):
    shape = (2, 3, 9, 11, 8)
    inputs = inputs_of(shape, dtype, with_bias)
    rotations = torch.view_as_real(rotations_of(shape)) if with_bias else None
    torch.library.opcheck(torch.ops.gsasr.window_attention, (*inputs, rotations, None, None, 0.3))
    numbered = numbered_of(shape, dtype, with_bias) | {'rotations': rotations, 'scale': 0.3}
    torch.library.opcheck(torch.ops.gsasr.window_attention, (), numbered)
    trained = differentiated(numbered | {'scale': None}) | {'scale': 0.3}
    torch.library.opcheck(torch.ops.gsasr.window_attention, (), trained)


@pytest.mark.parametrize('name', ['q', 'bias', 'rotations'])
def test_the_operator_refuses_tensors_of_two_devices(name):
    shape = (2, 3, 9, 11, 8)
    inputs = dict(zip(('q', 'k', 'v', 'bias'), inputs_of(shape, torch.float32, True)), scale=1.0)
    inputs |= {'rotations': torch.view_as_real(rotations_of(shape)), 'windows': None, 'context_windows': None}
    inputs[name] = inputs[name].to('meta')
    with pytest.raises(
        RuntimeError,
        match=f'^{"k" if name == "q" else name} is on .*, but the first argument is on .*: all must be on one',
    ):
        torch.ops.gsasr.window_attention(**inputs)


@pytest.mark.slow
def test_fake_and_compiled():
    shape = (2, 3, 9, 11, 8)
    inputs = [*inputs_of(shape, torch.float32, True), rotations_of(shape)]
    assert window_attention(*(tensor.to('meta') for tensor in inputs)).shape == (2, 9, 24)
    compiled = torch.compile(window_attention, fullgraph=True, backend='aot_eager')
    assert torch.equal(compiled(*inputs), window_attention(*inputs))
    numbered = numbered_of(shape, torch.float32, True) | {'rotations': inputs[4]}
    assert window_attention(**{name: tensor.to('meta') for name, tensor in numbered.items()}).shape == (18, 24)
    assert torch.equal(compiled(**numbered), window_attention(**numbered))
    trained = differentiated(dict(zip(('q', 'k', 'v', 'bias', 'rotations'), inputs)))
    found, expected = (derivatives(attend(**trained), trained) for attend in (compiled, window_attention))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    'change, error, message',
    [
        ({'q': lambda t: t[0]}, ValueError, r'q must have the shape \(M, heads, T, D\), got \(3, 9, 8\)'),
        ({'q': lambda t: t.long()}, TypeError, 'q must be of a floating-point dtype, got torch.int64'),
        ({'k': lambda t: t[:1]}, ValueError, r'k must have the shape \(2, 3, 11, 8\), got \(1, 3, 11, 8\)'),
        ({'k': lambda t: t[:, :, :0]}, ValueError, r'k must have .* S from 1, got \(2, 3, 0, 8\)'),
        ({'v': lambda t: t[:, :, :7]}, ValueError, r'v must have the shape \(2, 3, 11, 8\), got \(2, 3, 7, 8\)'),
        ({'v': lambda t: t.bfloat16()}, TypeError, 'v must have the dtype of q, torch.float32, got torch.bfloat16'),
        ({'v': lambda t: t.to('meta')}, ValueError, 'v is on meta, but q is on cpu'),
        ({'bias': lambda t: t[0]}, ValueError, r'bias must have the shape \(3, 9, 11\), got \(9, 11\)'),
        (
            {'bias': lambda t: t[None].repeat(3, 1, 1, 1)},
            ValueError,
            'of 3 kinds of windows, which do not divide the 2',
        ),
        ({'bias': lambda t: t[None, :2]}, ValueError, r'bias must have the shape \(1, 3, 9, 11\), got \(1, 2, 9, 11\)'),
        ({'bias': lambda t: t.int()}, TypeError, 'bias must be of a floating-point dtype, got torch.int32'),
        (
            {'rotations': lambda t: t[:, :10]},
            ValueError,
            r'\(3, P, D / 2\) with P from 11 and D even, got \(3, 10, 4\)',
        ),
        ({'rotations': lambda t: t[0]}, ValueError, r'rotations must have the shape .*, got \(12, 4\) for D = 8'),
        ({'rotations': lambda t: t[:2]}, ValueError, r'rotations must have the shape \(3, 12, 4\), got \(2, 12, 4\)'),
        ({'rotations': lambda t: t.real}, TypeError, 'rotations must be of a complex dtype, got torch.float32'),
    ],
)
def test_refuses(change, error, message):
    shape = (2, 3, 9, 11, 8)
    inputs = dict(zip(('q', 'k', 'v', 'bias'), inputs_of(shape, torch.float32, True)), rotations=rotations_of(shape))
    inputs.update({name: make(inputs[name]) for name, make in change.items()})
    with pytest.raises(error, match=message):
        window_attention(**inputs)


@pytest.mark.parametrize(
    'change, message',
    [
        ({'q': lambda t: t[0]}, r'q must have the shape \(M, heads, T, D\), got \(3, 9, 8\)'),
        ({'q': lambda t: t.double()}, 'q must be of dtype float32 or bfloat16'),
        ({'k': lambda t: t[0]}, r'k must have the shape \(M, heads, T, D\), got \(3, 11, 8\)'),
        ({'k': lambda t: t[:, :2]}, r'k must have the shape \(2, 3, 11, 8\), got \(2, 2, 11, 8\)'),
        ({name: lambda t: t[:, :, :0] for name in 'kv'}, 'there must be at least one key, got none'),
        ({'v': lambda t: t[:, :, :7]}, r'v must have the shape \(2, 3, 11, 8\), got \(2, 3, 7, 8\)'),
        ({'v': lambda t: t.bfloat16()}, 'k and v must have the dtype and the device of q'),
        ({'bias': lambda t: t[:, :8]}, r'bias must have the shape \(3, 9, 11\), got \(3, 8, 11\)'),
        ({'bias': lambda t: t.double()}, 'bias must be of dtype float32'),
        ({'rotations': lambda t: t[:, :10]}, r'\(heads, P, D / 2, 2\) with P from 11 and D even, got \(3, 10, 4, 2\)'),
        ({'rotations': lambda t: t[0]}, r'rotations must have the shape .*, got \(12, 4, 2\) for D = 8'),
        ({'rotations': lambda t: t[..., :1]}, r'rotations must have the shape \(3, 12, 4, 2\), got \(3, 12, 4, 1\)'),
        ({'rotations': lambda t: t.double()}, 'rotations must be of dtype float32'),
        ({'scale': lambda t: float('nan')}, 'scale must be finite'),
    ],
)
def test_the_operator_refuses_for_itself(change, message):
    """It is reached without the function too, and would read what is not there."""
    shape = (2, 3, 9, 11, 8)
    inputs = dict(zip(('q', 'k', 'v', 'bias'), inputs_of(shape, torch.float32, True)), scale=1.0)
    inputs['rotations'] = torch.view_as_real(rotations_of(shape))
    inputs['windows'] = inputs['context_windows'] = None
    inputs.update({name: make(inputs[name]) for name, make in change.items()})
    with pytest.raises(RuntimeError, match=message):
        torch.ops.gsasr.window_attention(**inputs)


def with_number(at: tuple[int, int], number: int) -> Callable[[Tensor], Tensor]:
    return lambda numbers: numbers.index_put(tuple(map(torch.tensor, at)), torch.tensor(number))


# What tokens by number have to be like, whoever is asked: windows are (2, 9) of 18 queries, (2, 11) of 14 keys.
NUMBERS_REFUSED = [
    ({'windows': with_number((1, 3), 18)}, 'windows must hold numbers from 0 to 17, got 18'),
    ({'windows': with_number((0, 0), -1)}, 'windows must hold numbers from 0 to 17, got -1'),
    ({'windows': with_number((1, 8), 1 << 62)}, f'windows must hold numbers from 0 to 17, got {1 << 62}'),
    (
        {'windows': lambda t: torch.arange(18).clamp(max=16).view(2, 9)},
        'windows must hold each number once, got 16 again',
    ),
    ({'windows': lambda t: torch.zeros_like(t)}, 'windows must hold each number once, got 0 again'),
    ({'context_windows': with_number((1, 10), 14)}, 'context_windows must hold numbers from 0 to 13, got 14'),
    ({'context_windows': with_number((0, 0), -1)}, 'context_windows must hold numbers from 0 to 13, got -1'),
    ({'context_windows': lambda t: t - (1 << 62)}, 'context_windows must hold numbers from 0 to 13, got -'),
    (
        {name: lambda t: t[:0] for name in 'kv'},
        'context_windows must hold numbers from 0 to -1, got',
    ),
]


@pytest.mark.parametrize(('change', 'message'), NUMBERS_REFUSED)
@pytest.mark.parametrize('dtype', TOLERANCE)
def test_refuses_numbers(dtype, change, message):
    inputs = numbered_of((2, 3, 9, 11, 8), dtype, True)
    inputs.update({name: make(inputs[name]) for name, make in change.items()})
    with pytest.raises(RuntimeError, match=message):
        window_attention(**inputs)


def test_refuses_numbers_of_queries_that_there_is_no_key_for():
    inputs = numbered_of((2, 3, 9, 9, 8), torch.float32, True, own_context=False)
    inputs.update({name: inputs[name][:17] for name in 'kv'})
    with pytest.raises(RuntimeError, match='context_windows must hold numbers from 0 to 16, got 17'):
        window_attention(**inputs)


@pytest.mark.parametrize(
    ('change', 'error', 'message'),
    [
        ({'windows': lambda t: None}, ValueError, 'context_windows needs windows'),
        ({'q': lambda t: t[None]}, ValueError, r'q must have the shape \(R, heads, D\), got \(1, 18, 3, 8\)'),
        ({'q': lambda t: t[:, :, :0]}, ValueError, r'q must have the shape \(R, heads, D\), got \(18, 3, 0\)'),
        ({'q': lambda t: t.long()}, TypeError, 'q must be of a floating-point dtype, got torch.int64'),
        ({'q': lambda t: t[:17]}, ValueError, r'windows must number all 17 queries, .* the shapes \(2, 9\) and'),
        ({'windows': lambda t: t[:, :8]}, ValueError, r'windows must number all 18 queries, .* the shapes \(2, 8\)'),
        ({'windows': lambda t: t[0]}, ValueError, r'windows must have the shape \(M, tokens\), got \(9\,\)'),
        ({'windows': lambda t: t.int()}, TypeError, 'windows must be of dtype torch.int64, got torch.int32'),
        ({'windows': lambda t: t.to('meta')}, ValueError, 'windows is on meta, but q is on cpu'),
        (
            {'context_windows': lambda t: t[:1]},
            ValueError,
            r'context_windows must have the shape \(M, tokens\), got \(1, 11\)',
        ),
        (
            {'context_windows': lambda t: t[..., None]},
            ValueError,
            r'context_windows must have the shape \(M, tokens\), got \(2, 11, 1\)',
        ),
        (
            {'context_windows': lambda t: t[:, :0]},
            ValueError,
            r'context_windows at least one key for each window, got the shapes \(2, 9\) and \(2, 0\)',
        ),
        ({'context_windows': lambda t: t.float()}, TypeError, 'context_windows must be of dtype torch.int64, got'),
        ({'context_windows': lambda t: t.to('meta')}, ValueError, 'context_windows is on meta, but q is on cpu'),
        ({'k': lambda t: t[None]}, ValueError, r'k must have the shape .* got \(1, 14, 3, 8\)'),
        ({'k': lambda t: t[:, :2]}, ValueError, r'k must have the shape \(14, 3, 8\), got \(14, 2, 8\)'),
        ({'k': lambda t: t.bfloat16()}, TypeError, 'k must have the dtype of q, torch.float32, got torch.bfloat16'),
        ({'v': lambda t: t[:13]}, ValueError, r'v must have the shape \(14, 3, 8\), got \(13, 3, 8\)'),
        ({'v': lambda t: t.to('meta')}, ValueError, 'v is on meta, but q is on cpu'),
        ({'bias': lambda t: t[:, :8]}, ValueError, r'bias must have the shape \(3, 9, 11\), got \(3, 8, 11\)'),
        (
            {'rotations': lambda t: t[:, :10]},
            ValueError,
            r'\(3, P, D / 2\) with P from 11 and D even, got \(3, 10, 4\)',
        ),
    ],
)
def test_refuses_with_windows(change, error, message):
    shape = (2, 3, 9, 11, 8)
    inputs = numbered_of(shape, torch.float32, True) | {'rotations': rotations_of(shape)}
    inputs.update({name: make(inputs[name]) for name, make in change.items()})
    with pytest.raises(error, match=message):
        window_attention(**inputs)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        *NUMBERS_REFUSED,
        ({'windows': lambda t: None}, 'windows and context_windows must both be given or neither'),
        ({'context_windows': lambda t: None}, 'windows and context_windows must both be given or neither'),
        ({'q': lambda t: t[None]}, r'q must have the shape \(R, heads, D\), got \(1, 18, 3, 8\)'),
        ({'q': lambda t: torch.cat([t, t])}, 'windows must hold all numbers from 0 to 35, got 18'),
        ({'windows': lambda t: torch.arange(16).view(2, 8)}, 'windows must hold all numbers from 0 to 17, got 16'),
        ({'windows': lambda t: t[0]}, r'windows must be a matrix, got \(9\)'),
        ({'windows': lambda t: t.int()}, 'windows must be of dtype int64'),
        ({'context_windows': lambda t: t[..., None]}, r'context_windows must be a matrix, got \(2, 11, 1\)'),
        ({'context_windows': lambda t: t[:1]}, r'context_windows must have the shape \(2, 11\), got \(1, 11\)'),
        ({'context_windows': lambda t: t[:, :0]}, 'there must be at least one key, got none'),
        ({'context_windows': lambda t: t.double()}, 'context_windows must be of dtype int64'),
        ({'k': lambda t: t[None]}, r'k must have the shape \(R, heads, D\), got \(1, 14, 3, 8\)'),
        ({'k': lambda t: t[:, :2]}, r'k must have the shape \(14, 3, 8\), got \(14, 2, 8\)'),
        ({'v': lambda t: t[:13]}, r'v must have the shape \(14, 3, 8\), got \(13, 3, 8\)'),
        ({'v': lambda t: t[..., :7]}, r'v must have the shape \(14, 3, 8\), got \(14, 3, 7\)'),
        ({'k': lambda t: t.bfloat16()}, 'k and v must have the dtype and the device of q'),
        ({'bias': lambda t: t[:, :8]}, r'bias must have the shape \(3, 9, 11\), got \(3, 8, 11\)'),
        ({'rotations': lambda t: t[:, :10]}, r'\(heads, P, D / 2, 2\) with P from 11 and D even, got \(3, 10, 4, 2\)'),
    ],
)
def test_the_operator_refuses_windows_for_itself(change, message):
    shape = (2, 3, 9, 11, 8)
    inputs = numbered_of(shape, torch.float32, True) | {'scale': 1.0}
    inputs['rotations'] = torch.view_as_real(rotations_of(shape))
    inputs.update({name: make(inputs[name]) for name, make in change.items()})
    with pytest.raises(RuntimeError, match=message):
        torch.ops.gsasr.window_attention(**inputs)
