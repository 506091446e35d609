"""Names that torch does not promise to keep, all that this package uses: seen in torch 2.14.1.

Each says what happens where a torch does not have it. Nothing else of this package names what torch calls private, but
for `nn.Module._apply`, which archs/inference.py overrides: without it packed weights stay behind when a network moves.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

# What `default_collate` does with a type of its own; its documentation says so, and that this is where it is entered.
# Without it this import fails.
from torch.utils.data._utils.collate import default_collate_fn_map as default_collate_fn_map

# The `__torch_function__` of a subclass of Tensor whose operations give ordinary tensors, as torch.nn.Parameter has it.
# Without it this line fails.
ordinary_results: Any = torch._C._disabled_torch_function_impl


def shared_block(like: Tensor, count: int) -> Tensor:
    """Memory that processes share for `count` numbers of a tensor's type; torch's own collation takes it so.

    Without `UntypedStorage._new_shared`: memory of this process alone, which is copied when it is handed over.
    """
    storage = like.untyped_storage()
    if hasattr(storage, '_new_shared'):
        return like.new(storage._new_shared(count * like.element_size())).resize_(count)
    return like.new_empty(count)


def replace_call(module: nn.Module, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Gives a module another way to be called, made of its own, hooks included, as `Module.compile` does.

    Its keys and its copies are not touched. Without `Module._call_impl`: an AttributeError. Without
    `Module._compiled_call_impl`: likewise, for nobody would call what is made.
    """
    assert hasattr(nn.Module, '_compiled_call_impl'), 'torch calls modules in another way'
    module._compiled_call_impl = make(module._call_impl)


def linear_pointwise() -> Callable[..., Tensor] | None:
    """oneDNN's product of matrices with bias and ReLU in the same pass, which torch's compiler emits on CPUs.

    None where torch is built without oneDNN, or does not have `torch.ops.mkldnn._linear_pointwise`.
    """
    return getattr(torch.ops.mkldnn, '_linear_pointwise', None) if torch.backends.mkldnn.is_available() else None


def product_with_relu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """relu(x W^T + b) of (n, k), (m, k) and (m,), which cuBLASLt computes in one pass; without gradients.

    Without `torch._addmm_activation`: in two.
    """
    fused = getattr(torch, '_addmm_activation', None)
    return fused(bias, x, weight.t()) if fused is not None else torch.addmm(bias, x, weight.t()).relu_()


def relu_backward(v_result: Tensor, result: Tensor) -> Tensor:
    """The gradient of what a ReLU was applied to, from its result and that one's gradient, in one pass."""
    return torch.ops.aten.threshold_backward(v_result, result, 0)


def members(module: nn.Module) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Parameters, buffers and children of a module by their names, None among them: what it holds them in itself."""
    return module._parameters, module._buffers, module._modules


def is_hooked(module: nn.Module) -> bool:
    """Whether somebody is to be told of the calls of a module or of one in it; `weight_norm` is, to make its weight."""
    return any(one._forward_hooks or one._forward_pre_hooks for one in module.modules())
