"""Packed weights: the same bits as without packing, and nothing else is taken for one."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gsasr_ops import PackedConvolution, PackedPerceptron, convolution, pack_convolution, pack_perceptron, perceptron
from tests.ops import instruction_sets

DTYPES = (torch.float32, torch.bfloat16)
# Places in the header (ops/common/packed.h), in bytes.
KIND, ISA, OPERANDS, INS, OUTS, HEADER = 8, 12, 16, 24, 32, 64


class Perceptron:
    """Two layers, of which the tests change the second."""

    def __init__(self, operands: torch.dtype, hidden: int = 20) -> None:
        torch.manual_seed(0)
        self.x, self.operands = torch.randn(7, 18), operands
        self.weights = [torch.randn(hidden, 18), torch.randn(33, hidden)]
        self.biases = [torch.randn(hidden), torch.randn(33)]
        self.layers: Any = pack_perceptron(self.weights, self.biases, operands=operands)
        self.bytes = self.layers.packed[1]
        self.name, self.packer = r'packed\[1\]', 'pack_linear'

    def plain(self) -> Tensor:
        return perceptron(self.x, self.weights, self.biases, operands=self.operands)

    def apply(self, layers: Any) -> Tensor:
        return perceptron(self.x, layers)

    def apply_bytes(self, packed: Tensor) -> Tensor:
        words = (self.layers.packed[0], packed)
        return self.apply(PackedPerceptron(self.layers.weights, self.layers.biases, self.operands, words))

    def change(self) -> None:
        self.weights[1].neg_()

    def other(self) -> Tensor:
        """The bytes of the same layer with one column more."""
        return Perceptron(self.operands, 21).bytes


class Convolution:
    """One layer."""

    def __init__(self, operands: torch.dtype, channels: int = 18) -> None:
        torch.manual_seed(0)
        self.x, self.operands = torch.randn(1, 5, 6, channels), operands
        self.weight, self.bias = torch.randn(33, channels, 3, 3), torch.randn(33)
        self.layers: Any = pack_convolution(self.weight, self.bias, operands=operands)
        self.bytes = self.layers.packed
        self.name, self.packer = 'packed', 'pack_convolution'

    def plain(self) -> Tensor:
        return convolution(self.x, self.weight, self.bias, operands=self.operands)

    def apply(self, layers: Any) -> Tensor:
        return convolution(self.x, layers)

    def apply_bytes(self, packed: Tensor) -> Tensor:
        return self.apply(PackedConvolution(self.weight, self.bias, self.operands, packed))

    def change(self) -> None:
        self.weight.neg_()

    def other(self) -> Tensor:
        return Convolution(self.operands, 19).bytes


@pytest.fixture(params=[Perceptron, Convolution], ids=['perceptron', 'convolution'])
def layer_of(request: pytest.FixtureRequest) -> Callable[[torch.dtype], Any]:
    return request.param


def with_byte(packed: Tensor, place: int, value: int) -> Tensor:
    changed = packed.clone()
    changed[place] = value
    return changed


@pytest.mark.parametrize('operands', DTYPES)
def test_same_bits_as_without_packing(layer_of, operands: torch.dtype) -> None:
    """From the packed copy alone, wherever it lies, also after it was copied or stored."""
    layer = layer_of(operands)
    expected = layer.plain()
    assert torch.equal(layer.apply(layer.layers), expected)
    again = layer_of(operands).bytes
    assert torch.equal(again, layer.bytes)  # no byte is left to chance
    layer.change()
    assert torch.equal(layer.apply(layer.layers), expected) and not torch.equal(layer.plain(), expected)
    for copied in (copy.deepcopy(layer.layers), pickle.loads(pickle.dumps(layer.layers))):
        assert torch.equal(layer.apply(copied), expected)
    for offset in range(1, 9):
        moved = torch.zeros(len(layer.bytes) + 9, dtype=torch.uint8)[offset : -9 + offset or None]
        moved.copy_(layer.bytes)
        assert torch.equal(layer.apply_bytes(moved), expected)
    apart = torch.stack([layer.bytes, layer.bytes], 1)[:, 0]
    assert torch.equal(layer.apply_bytes(apart), expected)


def test_operands_are_those_it_was_packed_for(layer_of) -> None:
    for operands, others in (DTYPES, DTYPES[::-1]):
        layer = layer_of(operands)
        function = perceptron if layer_of is Perceptron else convolution
        assert torch.equal(function(layer.x, layer.layers, operands=operands), layer.plain())
        with pytest.raises(ValueError, match=f'operands must be {operands}, for which the weights were packed, got'):
            function(layer.x, layer.layers, operands=others)
        # Past the function, which compares them first.
        with pytest.raises(RuntimeError, match=f'{layer.name} was packed for other operands than those in '):
            layer.apply_bytes(layer_of(others).bytes)


def test_bytes_of_anything_else_are_refused(layer_of) -> None:
    layer = layer_of(torch.float32)
    made = f'{layer.name} must be what {layer.packer} returned, got '
    other_kind = Convolution if layer_of is Perceptron else Perceptron
    for packed, message in (
        (layer.bytes.float(), made + 'a tensor of the shape'),
        (layer.bytes[None], made + 'a tensor of the shape'),
        (layer.bytes[:39], made + 'a tensor of the shape'),
        (torch.zeros_like(layer.bytes), made + 'something else'),
        (with_byte(layer.bytes, 0, 0), made + 'something else'),
        (with_byte(layer.bytes, 7, 0), made + 'something else'),
        (other_kind(torch.float32).bytes, made + 'something else'),
        (with_byte(layer.bytes, KIND, 3), made + 'something else'),
        (with_byte(layer.bytes, ISA, 77), f'{layer.name} was packed by the kernels of an unknown instruction set'),
        (with_byte(layer.bytes, OPERANDS, 1), 'was packed for other operands than those in float32: pack the weight'),
        (with_byte(layer.bytes, INS, 255), 'was packed of another weight, with 255 inputs and 33 results'),
        (with_byte(layer.bytes, OUTS, 32), 'was packed of another weight, with .. inputs and 32 results'),
        (layer.other(), 'was packed of another weight'),
        (layer.bytes[:-1], 'was packed of another weight'),
        (layer.bytes[:HEADER], 'was packed of another weight'),
        (torch.cat([layer.bytes, layer.bytes]), 'was packed of another weight'),
    ):
        with pytest.raises(RuntimeError, match=message):
            layer.apply_bytes(packed)
    with pytest.raises(RuntimeError, match=r'packed is on meta, but the first argument is on cpu'):
        layer.apply_bytes(layer.bytes.to('meta'))


def test_biases_are_given_once(layer_of) -> None:
    layer = layer_of(torch.float32)
    function, weights = (perceptron, layer.weights) if layer_of is Perceptron else (convolution, layer.weight)
    with pytest.raises(TypeError, match='biases are in the packed weights already'):
        function(layer.x, layer.layers, layer.layers.biases if layer_of is Perceptron else layer.bias)
    with pytest.raises(TypeError, match='biases must be given with weights'):
        function(layer.x, weights)


def test_packing_refuses_what_the_layer_would() -> None:
    weight, bias, kernel = torch.ones(3, 2), torch.ones(3), torch.ones(3, 2, 3, 3)
    for weights, biases, error, message in (
        ([], [], ValueError, 'one tensor for each layer, from one on, got 0 and 0'),
        ([weight], [bias, bias], ValueError, 'one tensor for each layer, from one on, got 1 and 2'),
        ([weight[0]], [bias], RuntimeError, r'weight must be a matrix, got \(2\)'),
        ([weight[:0]], [bias], RuntimeError, r'weight must have at least one row and one column, got \(0, 2\)'),
        ([weight.double()], [bias], RuntimeError, 'weight must be of dtype float32 or bfloat16'),
        ([weight], [bias[1:]], RuntimeError, r'bias must have the shape \(3\), got \(2\)'),
    ):
        with pytest.raises(error, match=message):
            pack_perceptron(weights, biases)
    for given, message in (
        ((kernel[0], bias), r'weight must have the shape \(N, C, 3, 3\) with N and C from 1, got \(2, 3, 3\)'),
        ((kernel[:, :0], bias), r'weight must have the shape .* got \(3, 0, 3, 3\)'),
        ((kernel[..., :2], bias), r'weight must have the shape \(3, 2, 3, 3\), got \(3, 2, 3, 2\)'),
        ((kernel, bias[None]), r'bias must have the shape \(3\), got \(1, 3\)'),
    ):
        with pytest.raises(RuntimeError, match=message):
            pack_convolution(*given)
    for pack, first in ((pack_perceptron, [weight]), (pack_convolution, kernel)):
        with pytest.raises(TypeError, match=r'operands must be torch.float32 or torch.bfloat16, got torch.float16'):
            pack(first, [bias] if pack is pack_perceptron else bias, operands=torch.float16)
    with pytest.raises(RuntimeError, match='weight must be of dtype float32'):
        torch.ops.gsasr.pack_convolution(kernel.double(), bias, False)
    with pytest.raises(RuntimeError, match='packed must hold one tensor for each layer or none, got 2 for 1 layers'):
        torch.ops.gsasr.perceptron(
            torch.ones(4, 2), [weight], [bias], 2 * [bias], None, None, None, 0.0, False, None, False, False
        )


def test_on_other_devices_nothing_is_packed(layer_of) -> None:
    """They compute from the weights themselves."""
    weight, bias = torch.ones(3, 2, device='meta'), torch.ones(3, device='meta')
    layers = pack_perceptron([weight], [bias])
    assert layers.packed == () and perceptron(torch.ones(4, 2, device='meta'), layers).shape == (4, 3)
    layer = pack_convolution(torch.ones(3, 2, 3, 3, device='meta'), bias)
    assert layer.packed is None and convolution(torch.ones(1, 4, 5, 2, device='meta'), layer).shape == (1, 4, 5, 3)


STORE = """
import pickle, sys
from tests.ops.test_packed import Convolution, Perceptron, DTYPES
layers = [kind(dtype).layers for kind in (Perceptron, Convolution) for dtype in DTYPES]
open({path!r}, 'wb').write(pickle.dumps(layers))
"""


@instruction_sets.each
def test_what_another_instruction_set_packed_is_refused(name: str, tmp_path) -> None:
    """Where it would be read wrongly: a network that was stored with what it had packed."""
    path = tmp_path / 'packed'
    instruction_sets.run_with(name, STORE.format(path=str(path)))
    layers = iter(pickle.loads(path.read_bytes()))
    here = instruction_sets.backend()['instruction_sets'][0]
    for kind in (Perceptron, Convolution):
        for dtype in DTYPES:
            layer, stored = kind(dtype), next(layers)
            if name == here:
                assert torch.equal(layer.apply(stored), layer.plain())
                continue
            with pytest.raises(
                RuntimeError, match=f'was packed by the kernels of {name}, here are those of {here}: pa'
            ):
                layer.apply(stored)
