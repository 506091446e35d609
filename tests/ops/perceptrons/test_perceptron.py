"""The perceptron: values against float64, arguments, how it sits in PyTorch.

Letters: n rows, K elements of each, B addends.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gsasr_ops import MULTIPLIED, extension, layers, pack_perceptron, perceptron, torch_private
from gsasr_ops.perceptrons import reference
from tests.ops import instruction_sets

# Of float32 arithmetic: of each sum of products, relative to the sum of their absolute values.
ROUNDING = 1e-6
DTYPES = (torch.float32, torch.bfloat16)
# n, and the numbers before and after each layer: the model's, and lengths on both sides of vectors (16), of groups of
# them (32), of tiles (6 and 12) and of blocks of rows (48).
SHAPES = [
    (50, (180, 540)),
    (49, (180, 180, 180)),
    (48, (180, 180, 720, 3)),
    (25, (192, 192, 768, 1)),
    (1, (1, 1)),
    (5, (15, 16, 15)),
    (6, (16, 17)),
    (7, (17, 15, 17)),
    (11, (33, 31, 32, 33)),
    (12, (47, 48)),
    (13, (2, 3, 2)),
    (47, (7, 64, 7)),
    (48, (32, 49, 32)),
    (49, (31, 65, 63)),
    (96, (16, 48, 1, 16)),
    (97, (3, 33, 17, 16, 2)),
    (146, (1, 47, 31, 47, 1)),
]


def inputs_of(
    n: int,
    widths: tuple[int, ...],
    *,
    B: int = 0,
    norm: bool = False,
    adds_x: bool = False,
    residual: bool = False,
    x_dtype: torch.dtype = torch.float32,
    weight_dtype: torch.dtype = torch.float32,
    operands: torch.dtype = torch.float32,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> dict[str, Any]:
    """Arguments of the perceptron, numbers of a few units; x and the weights are parts of wider rows."""
    K, M = widths[0], widths[-1]
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def part(matrix: Tensor) -> Tensor:
        around = matrix.new_full(matrix.shape, torch.nan)
        return torch.cat([around, matrix, around], 1)[:, matrix.shape[1] : 2 * matrix.shape[1]]

    return {
        'x': part(normal(n, K).to(x_dtype)),
        'weights': [part((normal(outs, ins) / ins**0.5).to(weight_dtype)) for ins, outs in itertools.pairwise(widths)],
        'biases': [normal(outs) for outs in widths[1:]],
        'added': normal(B, K) if B else None,
        'norm': (normal(K), normal(K), 1e-5) if norm else None,
        'adds_x': adds_x,
        'residual': normal(n, M) if residual else None,
        'operands': operands,
        'dtype': dtype,
    }


def everything_of(operands: torch.dtype, *, n: int = 100, widths: tuple[int, ...] = (36, 70, 36)) -> dict[str, Any]:
    return inputs_of(n, widths, B=4, norm=True, adds_x=True, residual=True, operands=operands)


def exact(
    x: Tensor,
    weights: list[Tensor],
    biases: list[Tensor],
    added: Tensor | None = None,
    norm: tuple[Tensor, Tensor, float] | None = None,
    adds_x: bool = False,
    residual: Tensor | None = None,
    operands: torch.dtype = torch.float32,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """By the formula, in float64, and how far float32 may be off.

    What is rounded to bfloat16 on the verge, which float32 may round to the other side, is followed through the layers.
    """
    y = x.double()
    off = torch.zeros_like(y)
    if added is not None:
        rows = added.double().repeat_interleave(len(x) // len(added), 0)
        off = ROUNDING * (y.abs() + rows.abs())
        y = y + rows
    result = y
    if norm is not None:
        weight, bias, eps = norm[0].double(), norm[1].double(), norm[2]
        mean = y.mean(1, keepdim=True)
        factor = ((y - mean).square().mean(1, keepdim=True) + eps).rsqrt()
        result = (y - mean) * factor * weight + bias
        spread = y.abs() + y.abs().mean(1, keepdim=True)
        off = ROUNDING * (spread * factor * weight.abs() + bias.abs())
    for i, (weight, bias) in enumerate(zip(weights, biases)):
        if i:
            result, off = _image(result, off, torch.relu)
        result, off = _image(result, off, lambda t: _rounded(t, operands))
        weight, bias = _rounded(weight.double(), operands), bias.double()
        sizes = result.abs() @ weight.abs().t() + bias.abs()
        result, off = result @ weight.t() + bias, off @ weight.abs().t() + ROUNDING * sizes
    for addend in (y if adds_x else None, residual):
        if addend is not None:
            result, off = result + addend.double(), off + ROUNDING * addend.double().abs()
    return _image(result, off, lambda t: _rounded(t, dtype))


def _rounded(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.bfloat16().double() if dtype == torch.bfloat16 else x


def _image(x: Tensor, off: Tensor, rising: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Of a function that never falls: its values, and how far off they may be."""
    values = rising(x)
    return values, torch.maximum(rising(x + off) - values, values - rising(x - off))


def check(found: Tensor, inputs: dict[str, Any], expected: tuple[Tensor, Tensor] | None = None) -> None:
    values, off = expected if expected is not None else exact(**inputs)
    assert found.dtype == inputs['dtype'] and found.shape == values.shape and found.is_contiguous()
    wrong = ~((found.double() - values).abs() <= off)  # NaN is
    assert not wrong.any(), (found[wrong][:5], values[wrong][:5], off[wrong][:5])


def check_values() -> None:
    """A third of all options with each shape, any three of them in all ways; also run in processes of their own."""
    options = list(itertools.product((0, 1, 2), *3 * [(False, True)], *4 * [DTYPES]))
    for i, (n, widths) in enumerate(SHAPES):
        several = next((B for B in range(2, n) if n % B == 0), n)
        for addends, norm, adds_x, residual, x_dtype, weight_dtype, operands, dtype in options[i % 3 :: 3]:
            if adds_x and (widths[0] != widths[-1] or x_dtype != torch.float32):
                continue
            inputs = inputs_of(
                n,
                widths,
                B=(0, 1, several)[addends],
                norm=norm,
                adds_x=adds_x,
                residual=residual,
                x_dtype=x_dtype,
                weight_dtype=weight_dtype,
                operands=operands,
                dtype=dtype,
            )
            found = perceptron(**inputs)
            check(found, inputs)
            assert torch.equal(perceptron(**packed(inputs)), found)


def packed(inputs: dict[str, Any]) -> dict[str, Any]:
    """The same arguments with packed weights in the place of the others."""
    packed_layers = pack_perceptron(inputs['weights'], inputs['biases'], operands=inputs['operands'])
    return {name: value for name, value in inputs.items() if name not in ('biases', 'operands')} | {
        'weights': packed_layers
    }


def check_layers() -> None:
    """Layers together give the same bits as one by one, with hidden numbers stored in the operands' type."""
    for (n, widths), operands in itertools.product(SHAPES, DTYPES):
        inputs = inputs_of(n, widths, operands=operands)
        hidden = inputs['x']
        last = len(widths) - 2
        for i, (weight, bias) in enumerate(zip(inputs['weights'], inputs['biases'])):
            dtype = operands if i < last else torch.float32
            layer = perceptron(hidden, [weight], [bias], operands=operands, dtype=dtype)
            hidden = layer.relu()
        assert torch.equal(perceptron(**inputs), layer)


def check_rounding() -> None:
    """To the nearest bfloat16, halves to even, as PyTorch: of operands and of results."""
    x = everything_of(torch.float32)['x'].bfloat16()
    halves = x.float() + (x.view(torch.int16) & 0x7F80).view(torch.bfloat16).float() * 2**-8
    identity, zeros = torch.eye(36), torch.zeros(36)
    assert not torch.equal(halves.bfloat16(), x)
    for operands, dtype in ((torch.bfloat16, torch.float32), (torch.float32, torch.bfloat16)):
        found = perceptron(halves, [identity], [zeros], operands=operands, dtype=dtype)
        assert torch.equal(found.float(), halves.bfloat16().float())
        negated = perceptron(-halves, [identity, -identity], [zeros, zeros], operands=operands, dtype=dtype)
        assert torch.equal(negated.float(), halves.bfloat16().float().clamp(max=0))


@instruction_sets.each
def test_values_with_each_instruction_set(name: str) -> None:
    instruction_sets.run_with(
        name,
        'from tests.ops.perceptrons.test_perceptron import *\n'
        f'check_multiplied({name!r})\n'
        'check_values()\n'
        'check_layers()\n'
        'check_rounding()',
    )


def multiplied_with(name: str, has_matrix_unit: bool) -> set[torch.dtype]:
    """PyTorch has the matrix unit multiply bfloat16."""
    dtypes = {'avx512': {torch.float32}, 'avx512bf16': {torch.float32, torch.bfloat16}}.get(name, set())
    return dtypes - {torch.bfloat16} if has_matrix_unit else dtypes


def check_multiplied(name: str) -> None:
    assert isinstance(MULTIPLIED, frozenset) and multiplied_with(name, torch_private.has_matrix_unit()) == MULTIPLIED


@pytest.mark.parametrize('has_matrix_unit', [False, True])
@pytest.mark.parametrize('name', [*instruction_sets.NAMES, None])
def test_multiplied(monkeypatch: pytest.MonkeyPatch, name: str | None, has_matrix_unit: bool) -> None:
    """On other machines, and without a library."""
    sets = [name, 'portable'] if name else []
    monkeypatch.setattr(extension, 'backend', lambda: {'instruction_sets': sets})
    monkeypatch.setattr(torch_private, 'has_matrix_unit', lambda: has_matrix_unit)
    assert layers._multiplied() == multiplied_with(name or '', has_matrix_unit)


@pytest.mark.slow
def test_values_of_the_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which other devices have instead of the kernels."""
    monkeypatch.setattr(torch.ops.gsasr, 'perceptron', reference.perceptron)
    check_values()
    check_rounding()


@pytest.mark.parametrize('operands', DTYPES)
def test_same_bits_for_any_number_of_threads(operands: torch.dtype) -> None:
    inputs = everything_of(operands)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 8):
            torch.set_num_threads(count)
            results.append(perceptron(**inputs))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize('operands', DTYPES)
def test_same_bits_for_any_strides(operands: torch.dtype) -> None:
    inputs = everything_of(operands)
    expected = perceptron(**inputs)

    def turned(t: Tensor) -> Tensor:
        """Its first axis is the last in memory, and of a vector there is every second number."""
        return torch.stack([t, t], -1)[..., 0] if t.dim() == 1 else t.t().contiguous().t()

    weight, bias, eps = inputs['norm']
    strided = {
        'x': turned(inputs['x']),
        'weights': [turned(t) for t in inputs['weights']],
        'biases': [turned(t) for t in inputs['biases']],
        'added': turned(inputs['added']),
        'norm': (turned(weight), turned(bias), eps),
        'residual': turned(inputs['residual']),
    }
    assert all(t.stride(-1) != 1 for t in (strided['x'], *strided['weights'], *strided['biases'], strided['residual']))
    assert torch.equal(perceptron(**{**inputs, **strided}), expected)
    dense = {'x': inputs['x'].contiguous(), 'weights': [t.contiguous() for t in inputs['weights']]}
    assert torch.equal(perceptron(**{**inputs, **dense}), expected)
    same = {'x': inputs['x'][:1].expand(100, -1), 'residual': inputs['residual'][:1].expand(100, -1)}
    assert torch.equal(perceptron(**{**inputs, **same})[:25], expected[:1].expand(25, -1))


@pytest.mark.parametrize('operands', DTYPES)
def test_same_bits_for_a_row_whatever_is_around_it(operands: torch.dtype) -> None:
    inputs = everything_of(operands) | {'added': None}
    expected = perceptron(**inputs)
    for rows in (slice(30, 60), slice(99, 100), slice(1, 50)):
        part = {'x': inputs['x'][rows], 'residual': inputs['residual'][rows]}
        assert torch.equal(perceptron(**{**inputs, **part}), expected[rows])


@pytest.mark.parametrize('operands', DTYPES)
@pytest.mark.parametrize('dtype', DTYPES)
def test_nan_shows_where_it_belongs(operands: torch.dtype, dtype: torch.dtype) -> None:
    """Of an input or an addend in its rows, of a hidden number in all rows, of a result in its column or place."""

    def spoilt(name: str, number: int | None, *place: int) -> Tensor:
        inputs = everything_of(operands, widths=(36, 71, 35, 36)) | {'dtype': dtype}
        tensor = inputs[name] if number is None else inputs[name][number]
        tensor[place] = torch.nan
        return perceptron(**inputs).isnan()

    def only(*place: int | slice) -> Tensor:
        mask = torch.zeros(100, 36, dtype=torch.bool)
        mask[place] = True
        return mask

    everything = slice(None)
    assert torch.equal(spoilt('x', None, 30, 35), only(30))
    assert torch.equal(spoilt('added', None, 1, 0), only(slice(25, 50)))
    assert torch.equal(spoilt('residual', None, 99, 35), only(99, 35))
    assert torch.equal(spoilt('weights', 2, 7, 34), only(everything, 7))
    assert torch.equal(spoilt('biases', 2, 35), only(everything, 35))
    for name, number, *place in (
        ('weights', 0, 70, 35),
        ('weights', 1, 34, 70),
        ('biases', 0, 70),
        ('biases', 1, 0),
        ('norm', 0, 35),
        ('norm', 1, 0),
    ):
        assert spoilt(name, number, *place).all()


@pytest.mark.parametrize('width', [2, 3])
def test_infinities_and_huge_numbers(width: int) -> None:
    """A ReLU makes zero of minus infinity; nothing else is cut off."""
    x = torch.tensor([[torch.inf], [-torch.inf], [3e38], [1.0]])
    double, ones = torch.full((width, 1), 2.0), torch.ones(1, width)
    zeros = [torch.zeros(width), torch.zeros(1)]
    for operands in DTYPES:
        found = perceptron(x, [double, ones], zeros, operands=operands)
        assert found.flatten().tolist() == [torch.inf, 0.0, torch.inf, 2.0 * width]


def test_rows_of_equal_numbers_are_normalised_to_the_bias() -> None:
    inputs = everything_of(torch.float32)
    weight, bias, _ = inputs['norm']
    x = torch.full((9, 36), 0.5)
    found = perceptron(x, [torch.eye(36)], [torch.zeros(36)], norm=(weight, bias, 1e-5))
    assert torch.equal(found, bias.expand(9, -1))


@pytest.mark.parametrize('B', [0, 1, 4])
@pytest.mark.parametrize('operands', DTYPES)
def test_empty(operands: torch.dtype, B: int) -> None:
    inputs = inputs_of(0, (6, 8, 6), B=B, norm=True, adds_x=True, residual=True, operands=operands)
    found = perceptron(**inputs | {'dtype': torch.bfloat16})
    assert found.shape == (0, 6) and found.dtype == torch.bfloat16


def test_other_parameters_in_any_dtype() -> None:
    """They are computed with in float32."""
    inputs = everything_of(torch.float32)
    weight, bias, eps = inputs['norm']
    coarse = {
        'biases': [t.bfloat16() for t in inputs['biases']],
        'added': inputs['added'].bfloat16(),
        'norm': (weight.half(), bias.double(), eps),
        'residual': inputs['residual'].bfloat16(),
    }
    fine = {
        'biases': [t.float() for t in coarse['biases']],
        'added': coarse['added'].float(),
        'norm': (coarse['norm'][0].float(), bias, eps),
        'residual': coarse['residual'].float(),
    }
    assert torch.equal(perceptron(**{**inputs, **coarse}), perceptron(**{**inputs, **fine}))


def raw(inputs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the operator itself."""
    names = ('x', 'weights', 'biases', 'added', 'adds_x', 'residual')
    norm_weight, norm_bias, eps = inputs['norm'] or (None, None, 0.0)
    return {name: inputs[name] for name in names} | {
        'packed': [],
        'norm_weight': norm_weight,
        'norm_bias': norm_bias,
        'eps': eps,
        'in_bfloat16': inputs['operands'] == torch.bfloat16,
        'output_in_bfloat16': inputs['dtype'] == torch.bfloat16,
    }


@pytest.mark.slow
@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('operands', DTYPES)
def test_opcheck(operands: torch.dtype, dtype: torch.dtype) -> None:
    inputs = everything_of(operands, n=8, widths=(6, 8, 6)) | {'dtype': dtype}
    torch.library.opcheck(torch.ops.gsasr.perceptron, (), raw(inputs))
    plain = inputs_of(9, (6, 2), x_dtype=dtype, weight_dtype=dtype, operands=operands, dtype=dtype)
    torch.library.opcheck(torch.ops.gsasr.perceptron, (), raw(plain))
    words = list(packed(plain)['weights'].packed)
    torch.library.opcheck(torch.ops.gsasr.perceptron, (), raw(plain) | {'packed': words})
    torch.library.opcheck(torch.ops.gsasr.pack_linear, (plain['weights'][0], plain['biases'][0], operands == DTYPES[1]))


@pytest.mark.slow
@pytest.mark.parametrize('dtype', DTYPES)
def test_fake_and_compiled(dtype: torch.dtype) -> None:
    inputs = everything_of(torch.bfloat16) | {'dtype': dtype}
    compiled = torch.compile(perceptron, fullgraph=True, backend='aot_eager')
    assert torch.equal(compiled(**inputs), perceptron(**inputs))
    assert torch.equal(compiled(**packed(inputs)), perceptron(**inputs))
    plain = inputs_of(9, (6, 8, 2), dtype=dtype)
    assert torch.equal(compiled(**plain), perceptron(**plain))
    plain['x'] = plain['x'].to('meta')
    with pytest.raises(RuntimeError, match=r'^weights is on cpu, but the first argument is on meta'):
        perceptron(**plain)
    for name in ('weights', 'biases'):
        plain[name] = [t.to('meta') for t in plain[name]]
    fake = perceptron(**plain)
    assert fake.device.type == 'meta' and fake.shape == (9, 2) and fake.dtype == dtype


def _first(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda given: type(given)([change(given[0]), *given[1:]])


def _second(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda given: type(given)([given[0], change(given[1]), *given[2:]])


def tensors_of(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else [t for t in value if isinstance(t, Tensor)]


@pytest.mark.parametrize('name', ['x', 'weights', 'biases', 'added', 'norm', 'residual'])
def test_no_second_derivative(name: str) -> None:
    inputs = everything_of(torch.float32)
    expected = perceptron(**inputs)
    change = Tensor.requires_grad_ if isinstance(inputs[name], Tensor) else _first(Tensor.requires_grad_)
    inputs[name] = change(inputs[name])
    leaf = next(t for t in tensors_of(inputs[name]) if t.requires_grad)
    (gradient,) = torch.autograd.grad(perceptron(**inputs).square().sum(), leaf, create_graph=True)
    if name != 'residual':
        with pytest.raises(NotImplementedError, match='the operator perceptron_backward has no derivative'):
            gradient.sum().backward()
    with torch.no_grad():
        assert torch.equal(perceptron(**inputs), expected)


def _with_eps(eps: float) -> Callable[[Any], Any]:
    return lambda norm: (*norm[:2], eps)


@pytest.mark.parametrize(
    ('name', 'change', 'message'),
    [
        ('x', lambda t: t[0], r'x must be a matrix, got \(6\)'),
        ('x', lambda t: t.double(), 'x must be of dtype float32 or bfloat16'),
        ('x', lambda t: t[:, :0], r'x must have at least one column, got \(9, 0\)'),
        ('x', lambda t: t[:, :5], r'weights\[0\] must have the shape \(8, 5\), got \(8, 6\)'),
        ('x', lambda t: t.bfloat16(), 'x is added to the result: it must be of dtype float32'),
        ('weights', lambda t: [], 'hold one tensor for each layer, from one on, got 0 and 2'),
        ('weights', lambda t: [*t, torch.ones(7, 6)], 'hold one tensor for each layer, from one on, got 3 and 2'),
        ('weights', _first(lambda t: t[0]), r'weights\[0\] must be a matrix, got \(6\)'),
        ('weights', _first(lambda t: t[:0]), r'weights\[0\] must have at least one row, got \(0, 6\)'),
        ('weights', _first(lambda t: t[:, :5]), r'weights\[0\] must have the shape \(8, 6\), got \(8, 5\)'),
        ('weights', _first(lambda t: t[:7]), r'biases\[0\] must have the shape \(7\), got \(8\)'),
        ('weights', _second(lambda t: t.half()), r'weights\[1\] must be of dtype float32 or bfloat16'),
        ('weights', _second(lambda t: t[:, :7]), r'weights\[1\] must have the shape \(6, 8\), got \(6, 7\)'),
        ('biases', lambda t: t[:1], 'hold one tensor for each layer, from one on, got 2 and 1'),
        ('biases', _first(lambda t: t[:7]), r'biases\[0\] must have the shape \(8\), got \(7\)'),
        ('biases', _second(lambda t: t[None]), r'biases\[1\] must have the shape \(6\), got \(1, 6\)'),
        ('added', lambda t: t[0], r'added must have the shape \(B, 6\) with B a divisor of 9, got \(6\)'),
        ('added', lambda t: t[:2], r'added must have the shape \(B, 6\) with B a divisor of 9, got \(2, 6\)'),
        ('added', lambda t: t[:0], r'added must have the shape \(B, 6\) with B a divisor of 9, got \(0, 6\)'),
        ('added', lambda t: t[:, :5], r'added must have the shape \(3, 6\), got \(3, 5\)'),
        ('norm', _first(lambda t: t[:5]), r'norm_weight must have the shape \(6\), got \(5\)'),
        ('norm', _second(lambda t: t[None]), r'norm_bias must have the shape \(6\), got \(1, 6\)'),
        ('norm', _with_eps(-1e-5), 'eps must be finite and not negative, got -1e-05'),
        ('norm', _with_eps(float('nan')), 'eps must be finite and not negative, got nan'),
        ('norm', _with_eps(float('inf')), 'eps must be finite and not negative, got inf'),
        ('residual', lambda t: t[:8], r'residual must have the shape \(9, 6\), got \(8, 6\)'),
        ('residual', lambda t: t[:, :5], r'residual must have the shape \(9, 6\), got \(9, 5\)'),
    ],
)
def test_refuses(name: str, change: Callable[[Any], Any], message: str) -> None:
    inputs = inputs_of(9, (6, 8, 6), B=3, norm=True, adds_x=True, residual=True)
    with pytest.raises(RuntimeError, match=message):
        perceptron(**inputs | {name: change(inputs[name])})


def test_refuses_to_add_x_to_another_number_of_results() -> None:
    with pytest.raises(RuntimeError, match='of dtype float32, with 8 columns, got 6'):
        perceptron(**inputs_of(9, (6, 8), adds_x=True))


@pytest.mark.parametrize('name', ['operands', 'dtype'])
@pytest.mark.parametrize('kind', [torch.float16, torch.float64, torch.int64, 'float32'])
def test_refuses_other_dtypes(name: str, kind: Any) -> None:
    with pytest.raises(TypeError, match=f'{name} must be torch.float32 or torch.bfloat16, got {kind}'):
        perceptron(**inputs_of(9, (6, 8)) | {name: kind})


@pytest.mark.parametrize(
    ('name', 'change', 'message'),
    [
        ('biases', _second(lambda t: t.double()), r'biases\[1\] must be of dtype float32'),
        ('added', lambda t: t.bfloat16(), 'added must be of dtype float32'),
        ('norm_weight', lambda t: t.double(), 'norm_weight must be of dtype float32'),
        ('norm_weight', lambda t: None, 'norm_weight and norm_bias must both be given or neither'),
        ('norm_bias', lambda t: t.half(), 'norm_bias must be of dtype float32'),
        ('norm_bias', lambda t: None, 'norm_weight and norm_bias must both be given or neither'),
        ('residual', lambda t: t.bfloat16(), 'residual must be of dtype float32'),
    ],
)
def test_the_operator_refuses_for_itself(name: str, change: Callable[[Any], Any], message: str) -> None:
    """It is reached without the function too, and would read what is not there."""
    inputs = raw(inputs_of(9, (6, 8, 6), B=3, norm=True, adds_x=True, residual=True))
    with pytest.raises(RuntimeError, match=message):
        torch.ops.gsasr.perceptron(**inputs | {name: change(inputs[name])})
