"""A network for inference, and one in training: the same layers, on CPUs by fused kernels.

The modules of this room compute the paper's formulas, step by step. On CPUs several of those steps are one pass over
memory in a kernel of gsasr_ops, which wants weights in an order of its own. On GPUs the steps stay, and for inference
their weights are cast, joined and padded once instead of in every call. `for_inference` makes a network in which
modules are exchanged for others that keep such weights, and `for_training` exchanges them, for fused ones, in a network
that is trained in bfloat16 on a CPU.

The snapshot for inference is made explicitly, for packed weights cannot follow those of a network in training. All that
evaluates makes one: per model where pictures are upscaled, per validation in training. A network in training packs them
in each call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gsasr_ops
from gsasr_plugin.archs.attention_block import AttentionLayer, ConditionInjectionLayer, GaussianInteractionLayer
from gsasr_plugin.archs.cuda_graphs import Recorder
from gsasr_plugin.archs.linear import Linear, Preparing
from gsasr_plugin.archs.map_conv import MapConv
from gsasr_plugin.archs.mlp import MLP
from gsasr_plugin.archs.primary_head import GaussianPrimaryHead
from gsasr_plugin.archs.window_attention import WindowAttention, window_pixels
from gsasr_plugin.precision import product_dtype
from gsasr_plugin.torch_private import is_hooked, linear_pointwise, members

Network = TypeVar('Network', bound=nn.Module)

# Where gsasr_ops has nothing faster, the decoder takes 5 to 15 % less time by it.
_POINTWISE = linear_pointwise()

# Of fewer channels the transformations of the convolution's kernel cost more than they save.
LEAST_CHANNELS = 16


def for_inference(net: Network, *, cuda_graph: bool = False) -> Network:
    """A snapshot of a network in evaluation mode, faster without gradients; the network is left as it is.

    It is of the same class, with the same names in its state dict, shares the memory of the weights, and keeps packed
    copies of them beside, made by the first call in each dtype. What the kernels cannot do (gradients, on CPUs weights
    that are not in float32 and other dtypes, modules with hooks) it computes as the network itself, but its parameters
    have no gradients.

    Its weights must not change while it is in use: of a network that has been trained further, make another one.

    Args:
        net: GSASR, or a part of it.
        cuda_graph: of a GSASR: replay encoder and decoder on CUDA devices for images of a size that has come before
            (archs/cuda_graphs.py).

    Raises:
        RuntimeError: later, where weights are loaded into the snapshot.
    """
    with torch.inference_mode(False):
        snapshot: Any = _twin(net, {}).eval()
    if hasattr(snapshot, 'recorder'):
        snapshot.recorder = Recorder() if cuda_graph else None
    snapshot.register_load_state_dict_pre_hook(_refuse_weights)
    return snapshot


def for_training(net: nn.Module) -> None:
    """Has a network on the CPU be trained in bfloat16 by fused kernels, where gsasr_ops multiplies that fast.

    The network stays what it is, with its weights and the names in its state dict. Without autocast to bfloat16 it
    computes as before.

    Args:
        net: GSASR, or a part of it.
    """
    if torch.bfloat16 not in gsasr_ops.MULTIPLIED:
        return
    module: Any
    for module in net.modules():
        cls = _fused_class(module)
        if issubclass(cls, _Fused) and not is_hooked(module):
            module.__class__ = cls
            module.packs = None


def _refuse_weights(*_: object) -> None:
    raise RuntimeError('a snapshot of for_inference shares its weights: load them into the network itself')


def _twin(module: Network, done: dict[nn.Module, Any]) -> Network:
    """A copy of a module and all in it, on the same memory, and of fused classes where there are any."""
    if module in done:
        return done[module]
    cls = type(module) if is_hooked(module) else _fused_class(module)
    twin: Any = cls.__new__(cls)
    done[module] = twin
    # What torch leaves out of a state would call the module itself: a compiled forward. Weights that torch computes of
    # others (parametrizations) have no state to pickle, yet may be shared.
    for name, value in nn.Module.__getstate__(module).items():
        twin.__dict__[name] = value.copy() if isinstance(value, dict | set) else value
    parameters, buffers, children = members(twin)  # copies by now
    for name, tensor in parameters.items():
        parameters[name] = None if tensor is None else nn.Parameter(tensor.detach(), requires_grad=False)
    for name, tensor in buffers.items():
        buffers[name] = None if tensor is None else tensor.detach().clone()
    for name, child in children.items():
        children[name] = None if child is None else _twin(child, done)
    if issubclass(cls, _Fused):
        twin.packs = {}
    return twin


def _fused_class(module: nn.Module) -> type[nn.Module]:
    if type(module) is nn.Conv2d and module.padding_mode == 'zeros':
        return _FusedConv if _has_kernel(module) else _KeptConv
    cls: Any = type(module)
    if isinstance(module, Preparing) and not issubclass(cls, _Fused) and cls not in _FUSED:
        return _keeping(cls)
    return _FUSED.get(cls, cls)


@functools.cache
def _keeping(cls: type[nn.Module]) -> type[nn.Module]:
    """A class of an encoder's, which is not imported before it is used: it keeps what it makes of its weights."""
    return type(f'_Kept{cls.__name__}', (_Fused, cls), {})


def _has_kernel(module: nn.Conv2d) -> bool:
    return (
        module.kernel_size == (3, 3)
        and module.stride == (1, 1)
        and module.padding == (1, 1)
        and module.dilation == (1, 1)
        and module.groups == 1
        and module.bias is not None
        and module.in_channels >= LEAST_CHANNELS
    )


class _Fused(nn.Module):
    """What takes the place of a plain module, with the same parameters: a subclass that overrides a forward.

    Attributes:
        packs: weights as the kernels want them, by dtype and layers; None in a network that is trained.
    """

    packs: dict[Any, Any] | None

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        if self.packs is not None:
            self.packs.clear()  # the weights move to another device or dtype
        return super()._apply(fn, recurse)

    def operands(self, x: Tensor) -> torch.dtype | None:
        """The dtype in which x is multiplied by a kernel; None if PyTorch is to do it.

        The kernels add in float32: a network that is itself in bfloat16 stays with PyTorch, to the last bit.
        """
        if x.device.type != 'cpu' or next(self.parameters()).dtype != torch.float32:
            return None
        if torch.is_grad_enabled() and self.packs is not None:
            return None
        cast = torch.is_autocast_enabled('cpu')
        dtype = torch.get_autocast_dtype('cpu') if cast else x.dtype
        if self.packs is None:
            known: Collection[torch.dtype] = {torch.bfloat16} & gsasr_ops.MULTIPLIED
        else:
            known = (torch.float32, torch.bfloat16) if _POINTWISE is not None else gsasr_ops.MULTIPLIED
        return dtype if dtype in known and x.dtype in (torch.float32, torch.bfloat16) else None

    def kept(self, x: Tensor, make: Callable[..., tuple[Any, ...]], *layers: nn.Linear) -> Any:
        """What is made of the weights of layers, for products with x on a GPU: in their dtype, and made once.

        What has no floating-point dtype stays as it is.
        """
        if x.device.type == 'cpu' or torch.is_grad_enabled() or self.packs is None:
            return make(*layers)
        dtype = product_dtype(x)
        key = (make.__name__, dtype, *layers)
        if key not in self.packs:
            made = make(*layers)
            self.packs[key] = tuple(t.to(dtype) if t is not None and t.is_floating_point() else t for t in made)
        return self.packs[key]

    def perceptron(
        self,
        x: Tensor,
        *layers: Sequence[nn.Linear],
        norm: nn.LayerNorm | None = None,
        added: Tensor | None = None,
        adds_x: bool = False,
        residual: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """y + residual + W_l relu(... relu(W_1 norm(y) + b_1) ...) + b_l with y = x + added.

        Args:
            x: (B, ..., k).
            layers: linear layers; of several with the same input, the outputs lie side by side.
            norm: the normalisation; none if not given.
            added: (B, k).
            adds_x: whether y is added to the result; x is in float32 then.
            residual: (B, ..., m).
            dtype: of the result. If not given, float32 where something is added, else that of the operands.

        Returns:
            (B, ..., m).
        """
        operands = self.operands(x)
        assert operands is not None
        if dtype is None:
            dtype = torch.float32 if adds_x or residual is not None else operands
        by_kernel = operands in gsasr_ops.MULTIPLIED
        weights = self._packed_layers(layers, operands, by_kernel)
        if by_kernel:
            result = gsasr_ops.perceptron(
                x.reshape(-1, x.shape[-1]),
                *weights,
                operands=operands,
                added=added,
                norm=(norm.weight, norm.bias, norm.eps) if norm is not None else None,
                adds_x=adds_x,
                residual=residual.reshape(-1, residual.shape[-1]) if residual is not None else None,
                dtype=dtype,
            )
            return result.view(*x.shape[:-1], -1)
        y = x if added is None else x + added.view(len(added), *[1] * (x.dim() - 2), -1)
        result = y if norm is None else norm(y)
        for i, (weight, bias) in enumerate(weights, 1):
            assert _POINTWISE is not None
            result = _POINTWISE(result.to(operands), weight, bias, 'relu' if i < len(layers) else 'none', [], '')
        for addend in (y if adds_x else None, residual):
            result = result if addend is None else addend + result
        return result.to(dtype)

    def _packed_layers(
        self, layers: tuple[Sequence[nn.Linear], ...], operands: torch.dtype, by_kernel: bool
    ) -> Sequence[Any]:
        """What a call of the kernel takes between x and its options; else weights and biases, cast, of each layer."""
        key = (by_kernel, operands, *layers)
        if self.packs is not None and key in self.packs:
            return self.packs[key]
        weights = [_side_by_side([layer.weight for layer in group]) for group in layers]
        biases = [_side_by_side([layer.bias for layer in group]) for group in layers]
        if self.packs is None:
            return weights, biases
        self.packs[key] = (
            (gsasr_ops.pack_perceptron(weights, biases, operands=operands),)
            if by_kernel
            else [(weight.to(operands), bias.to(operands)) for weight, bias in zip(weights, biases)]
        )
        return self.packs[key]


def _side_by_side(parameters: list[Tensor]) -> Tensor:
    return parameters[0] if len(parameters) == 1 else torch.cat(parameters)


class _KeptLinear(_Fused, Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, *self.kept(x, self.own))


class _KeptPReLU(_Fused, nn.PReLU):
    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(x, *self.kept(x, self._own))

    def _own(self) -> tuple[Tensor]:
        return (self.weight,)


class _KeptConv(_Fused, nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == 'cpu':
            return nn.Conv2d.forward(self, x)  # not that of maps
        weight, bias = self.kept(x, self._laid_out)
        padding: Any = self.padding  # pixels, or a word
        return F.conv2d(x, weight, bias, self.stride, padding, self.dilation, self.groups)

    def _laid_out(self) -> tuple[Tensor, Tensor | None]:
        """With the channels side by side, as tensor cores read them; what is convolved then follows suit."""
        return self.weight.contiguous(memory_format=torch.channels_last), self.bias


class _FusedConvolution(_KeptConv):
    def convolved(self, x: Tensor) -> Tensor | None:
        """A map (B, h, w, in_channels) to (B, h, w, out_channels), where the kernel does that faster than PyTorch."""
        operands = self.operands(x)
        if operands not in gsasr_ops.MULTIPLIED:
            return None
        assert operands is not None and self.bias is not None
        if self.packs is None:
            # What squares of 4 are off by, 1 %, is little beside the noise of a batch's gradient.
            return gsasr_ops.convolution(x, self.weight, self.bias, operands=operands, dtype=operands, side=4)
        if operands not in self.packs:
            self.packs[operands] = gsasr_ops.pack_convolution(self.weight, self.bias, operands=operands)
        return gsasr_ops.convolution(x, self.packs[operands], dtype=operands)


class _FusedConv(_FusedConvolution):
    def forward(self, x: Tensor) -> Tensor:
        y = self.convolved(x.permute(0, 2, 3, 1))
        # From then on the channels of planes lie side by side in memory.
        return super().forward(x) if y is None else y.permute(0, 3, 1, 2)


class _FusedMapConv(_FusedConvolution, MapConv):
    def forward(self, x: Tensor) -> Tensor:
        y = self.convolved(x)
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1) if y is None else y


class _FusedMLP(_Fused, MLP):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.operands(x) is None else self.perceptron(x, (self.fc1,), (self.fc2,))

    def branch(self, x: Tensor, norm: nn.LayerNorm, added: Tensor | None = None) -> Tensor:
        """y + mlp(norm(y)) with y = x + added."""
        return self.perceptron(x, (self.fc1,), (self.fc2,), norm=norm, added=added, adds_x=True)


class _FusedWindowAttention(_Fused, WindowAttention):
    def forward(self, queries: Tensor, context: Tensor | None = None, *, shift: int = 0) -> Tensor:
        if self.operands(queries) is None:
            return super().forward(queries, context, shift=shift)
        return self.branch(queries, context, shift=shift)

    def branch(
        self,
        queries: Tensor,
        context: Tensor | None = None,
        *,
        shift: int,
        norm: nn.LayerNorm | None = None,
        residual: Tensor | None = None,
    ) -> Tensor:
        """residual + attention(norm(queries), context); the kernels read and write the maps as they lie."""
        windows = own_windows = window_pixels(queries, self.window_size, shift)
        if context is None:
            q, k, v = self.perceptron(queries, (self.query, self.key, self.value), norm=norm).chunk(3, -1)
        else:
            q = self.perceptron(queries, (self.query,), norm=norm)
            k, v = self.perceptron(context, (self.key, self.value)).chunk(2, -1)
            own_windows = window_pixels(queries, self.window_size)
        q, k, v = (self.heads(projected).flatten(0, 2) for projected in (q, k, v))
        mixed = gsasr_ops.window_attention(q, k, v, *self.positions(), own_windows, windows)
        return self.perceptron(mixed.view_as(queries), (self.out,), residual=residual)


class _FusedLayer(_Fused, AttentionLayer):
    scale_mlp: _FusedMLP
    attention: _FusedWindowAttention
    mlp: _FusedMLP

    def forward(self, x: Tensor, scale_embed: Tensor | None, *context: Tensor) -> Tensor:
        if self.operands(x) is None or x.dtype != torch.float32:
            return super().forward(x, scale_embed, *context)
        scale = self.scale_attention(scale_embed).flatten(1) if self.scale_attention is not None else None
        x = self.scale_mlp.branch(x, self.scale_norm, scale)
        x = self.attended(x, *context)
        return self.mlp.branch(x, self.mlp_norm)

    def attended(self, x: Tensor, *context: Tensor) -> Tensor:
        """x + attend(norm(x), *context)."""
        raise NotImplementedError


class _FusedInjectionLayer(_FusedLayer, ConditionInjectionLayer):
    def attended(self, x: Tensor, *context: Tensor) -> Tensor:
        features, query_pos = context
        return self.attention.branch(self.attention_norm(x) + query_pos, features, shift=self.shift, residual=x)


class _FusedInteractionLayer(_FusedLayer, GaussianInteractionLayer):
    def attended(self, x: Tensor, *context: Tensor) -> Tensor:
        return self.attention.branch(x, shift=self.shift, norm=self.attention_norm, residual=x)


class _FusedHead(_Fused, GaussianPrimaryHead):
    def _properties(self, x: Tensor) -> Tensor:
        # The kernel keeps hidden layers in the cache by itself.
        return self.raw(x) if self.operands(x) in gsasr_ops.MULTIPLIED else super()._properties(x)

    def raw(self, x: Tensor) -> Tensor:
        if self.operands(x) is None:
            return super().raw(x)
        heads = [[(layer,) for layer in head if isinstance(layer, nn.Linear)] for head in self.heads()]
        return torch.cat([self.perceptron(x, *layers, dtype=torch.float32) for layers in heads], -1)


_FUSED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: _KeptLinear,
    Linear: _KeptLinear,
    nn.PReLU: _KeptPReLU,
    MapConv: _FusedMapConv,
    MLP: _FusedMLP,
    WindowAttention: _FusedWindowAttention,
    ConditionInjectionLayer: _FusedInjectionLayer,
    GaussianInteractionLayer: _FusedInteractionLayer,
    GaussianPrimaryHead: _FusedHead,
}
