"""What a GPU would be asked to do, found without one: code runs on tensors that have shapes and no data.

Fake CUDA tensors take the paths of a GPU, and every operation passes by here, with what it reads, writes and
multiplies. Gradients need a device that is there: a training step is traced on the meta device, which takes the same
paths, for the code asks only whether a tensor is on a CPU.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from tests.benchmarks.trace.attention import attend

aten = torch.ops.aten
NO_KERNEL = {'empty', 'new_empty', 'empty_like', 'empty_strided', 'new_empty_strided', 'lift_fresh', '_unsafe_view'}
WRITES_ONLY = {'copy_', 'fill_', 'zero_', 'index_put_'}
WAITS = {'nonzero', 'masked_select', '_local_scalar_dense', 'unique_dim', '_unique2', 'equal'}
READS = {'tolist', 'item', '__bool__', '__int__', '__float__', '__index__', 'cpu', 'numpy'}
MAKING = {'_to_copy', 'cat', 'constant_pad_nd', 'copy_'}
LISTS = 40  # tensors of a `_foreach` operation that one kernel takes


@dataclass
class Op:
    """One operation on the device: launches, bytes read and written (of what is expanded, once), multiply-adds twice.

    `unit` is what multiplies: 'fp32', 'tf32', 'half', 'attention fp32', 'attention half', or '' where nothing does.
    """

    name: str
    launches: int
    bytes: int
    flops: int
    unit: str


@dataclass
class Trace:
    """What has been asked for.

    Attributes:
        ops: the operations in their order.
        waits: the calls for which the host waits, by name, and copies out of memory that the system may move, for
            which it waits too: asked for as such, or by an operation that mixes devices.
        copies: from the CPU for which it does not wait; no CUDA graph should hold one, which would read the same place
            in each replay.
        attention: the calls of PyTorch's attention and what each fused kernel has against them.
        remade: the operations that cast, join or pad weights.
    """

    ops: list[Op] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)
    attention: list[dict[str, Any]] = field(default_factory=list)
    remade: list[str] = field(default_factory=list)

    @property
    def launches(self) -> int:
        return sum(op.launches for op in self.ops)

    @property
    def bytes(self) -> int:
        return sum(op.bytes for op in self.ops)

    @property
    def flops(self) -> int:
        return sum(op.flops for op in self.ops)


@contextlib.contextmanager
def fake_cuda() -> Iterator[None]:
    """Within it `.to('cuda')` gives fake tensors of a GPU, and torch.autocast works for them."""
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        mock.patch('torch.cuda.amp.common.amp_definitely_not_available', lambda: False),
        mock.patch('torch.amp.autocast_mode.torch.cuda.is_available', lambda: True),
        mock.patch('torch.cuda.is_bf16_supported', lambda *_: True),
        mock.patch('torch.cuda.mem_get_info', lambda *_: (70 << 30, 80 << 30)),
        mock.patch('torch.cuda.memory_reserved', lambda *_: 0),
        mock.patch('torch.cuda.memory_allocated', lambda *_: 0),
    ):
        yield


@contextlib.contextmanager
def tracing(weights: Iterable[Tensor] = ()) -> Iterator[Trace]:
    """Traces what is called within it on devices other than the CPU; not in inference mode, which hides operations.

    Args:
        weights: whose casts are noted.
    """
    trace = Trace()
    with _Calls(trace), _Dispatched(trace, {_memory(weight) for weight in weights}):
        yield trace


class _Calls(TorchFunctionMode):
    """What has to be seen as it was called: attention, and what would read numbers that are not there."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.trace = trace

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, '__name__', str(func))
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if name == 'scaled_dot_product_attention' and on_device(args[0]):
            with self:
                return attend(self.trace.attention, *args, **kwargs)
        if first is not None and on_device(first) and name in READS:
            self.trace.waits.append(name)
            return _without_data(name, first)
        if name == 'pin_memory':
            pinned = first.detach()
            pinned.pinned = True  # type: ignore[attr-defined]
            return pinned
        if name in ('tensor', 'as_tensor', 'new_tensor'):
            device = kwargs.pop('device', first.device if name == 'new_tensor' else 'cpu')
            if torch.device(device).type != 'cpu':
                self.trace.waits.append(name)
                like = torch.tensor(*args[name == 'new_tensor' :], **kwargs)
                dtype = first.dtype if name == 'new_tensor' else like.dtype
                return torch.empty(like.shape, dtype=dtype, device=device)
            kwargs['device'] = device
        if name == 'to' and not on_device(first):
            device, dtype = _target(first, *args[1:], **kwargs)
            if device.type != 'cpu':
                waits = not (kwargs.get('non_blocking') and getattr(first, 'pinned', False))
                (self.trace.waits if waits else self.trace.copies).append('to')
                return torch.empty_like(first, device=device, dtype=dtype)
        return func(*args, **kwargs)


def _target(x: Tensor, *args: Any, device: Any = None, dtype: Any = None, **_: Any) -> tuple[torch.device, torch.dtype]:
    """Where `x.to` leads."""
    for argument in args:
        if isinstance(argument, Tensor):
            device, dtype = argument.device, argument.dtype
        elif isinstance(argument, torch.dtype):
            dtype = argument
        elif isinstance(argument, (str, torch.device)):
            device = argument
    return torch.device(device or x.device), dtype or x.dtype


def _without_data(name: str, tensor: Tensor) -> Any:
    if name == 'tolist':
        flat: Any = [0.0] * tensor.numel()
        return flat if tensor.dim() == 1 else flat[0]
    if name in ('cpu', 'numpy'):
        return torch.zeros(tensor.shape, dtype=tensor.dtype, device='cpu')
    return {'__bool__': False, '__int__': 0, '__index__': 0}.get(name, 0.0)


class _Dispatched(TorchDispatchMode):
    """Counts operations."""

    def __init__(self, trace: Trace, weights: set[int]) -> None:
        super().__init__()
        self.trace, self.weights = trace, weights

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.split('::')[1]
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        result = func(*args, **kwargs)
        made = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        asks = func.namespace == 'prim' or name in NO_KERNEL or _is_view(func)
        if asks or not any(map(on_device, (*given, *made))):
            return result
        if name in WAITS or (name == 'index' and any(x.dtype == torch.bool for x in given[1:])):
            self.trace.waits.append(name)
        if any(map(on_device, given)) and any(x.dim() and not on_device(x) for x in given):
            self.trace.waits.append(f'{name} with numbers of the CPU')
        if name in MAKING and any(_memory(x) in self.weights for x in given):
            self.trace.remade.append(name)
        self.trace.ops.append(_op(func, name, args, kwargs, given, made, result))
        return result


def _op(func: Any, name: str, args: Any, kwargs: Any, given: list[Tensor], made: list[Tensor], result: Any) -> Op:
    flops = _flops(func, name, args, kwargs, result)
    read, written = sum(map(_bytes, given)), sum(map(_bytes, made))
    launches = 1
    if name in WRITES_ONLY:
        read -= _bytes(given[0])
    elif name in ('index', 'index_select', 'gather', 'embedding'):
        read -= max(0, _bytes(given[0]) - written)
    elif name == 'roll':
        launches = sum(distance != 0 for distance in args[1])  # one axis at a time
        read, written = read * launches, written * launches
    elif name in ('convolution', '_convolution', 'convolution_overrideable') and args[2] is not None:
        launches = 2  # cuDNN convolves, PyTorch adds the bias
        read, written = read + written, 2 * written
    elif name == '_safe_softmax':  # a softmax, and a mask of rows that are all -infinity
        launches, read, written = 4, 2 * read, 2 * written
    elif name.startswith('_foreach') or name.startswith('_fused'):
        launches = math.ceil(len(args[0]) / LISTS)
        written = written or sum(map(_bytes, args[0]))
    return Op(name, launches, read + written, flops, _unit(name, given) if flops else '')


def _flops(func: Any, name: str, args: Any, kwargs: Any, result: Any) -> int:
    if name == '_addmm_activation':
        return 2 * args[1].shape[0] * args[1].shape[1] * args[2].shape[1]
    count = flop_registry.get(func._overloadpacket)
    return count(*args, **kwargs, out_val=result) if count is not None else 0


def _unit(name: str, given: list[Tensor]) -> str:
    if 'scaled_dot_product' in name:
        return 'attention half' if given[0].element_size() == 2 else 'attention fp32'
    if given[0].element_size() == 2:
        return 'half'
    backend = torch.backends.cudnn if 'convolution' in name else torch.backends.cuda.matmul
    return 'tf32' if backend.allow_tf32 else 'fp32'


def _memory(x: Tensor) -> int:
    """What tells memory from other memory, though no data is in it."""
    return x.untyped_storage()._cdata


def on_device(x: Any) -> bool:
    """Whether it is a tensor that is not on the CPU."""
    return isinstance(x, Tensor) and x.device.type != 'cpu'


def _is_view(func: Any) -> bool:
    infos = [r.alias_info for r in func._schema.returns]
    return any(info is not None and not info.is_write for info in infos)


def _bytes(tensor: Tensor) -> int:
    sizes = [size for size, stride in zip(tensor.shape, tensor.stride()) if stride] if tensor.numel() else [0]
    return math.prod(sizes) * tensor.element_size()
