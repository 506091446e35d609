"""All names of torch that gsasr_ops uses though they are private, as they were in torch 2.10 to 2.14.

None is in torch's documentation: any version may drop one. Nobody else in gsasr_ops touches such a name.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def has_kernel(operator: str, key: str) -> bool:
    """Whether the operator, `namespace::name`, has a kernel of its own for a dispatch key, such as 'CPU'."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(operator, key)


def has_schema(operator: Any, schema: str) -> bool:
    """Whether the operator, of torch.ops.gsasr, has this schema."""
    return operator.default._schema == torch._C.parse_schema(f'gsasr::{schema}')


def build_folder(cpp_extension: Any, name: str) -> str:
    """Where torch.utils.cpp_extension compiles an extension of that name; made if need be."""
    return cpp_extension._get_build_directory(name, verbose=False)


def has_matrix_unit() -> bool:
    """Whether this CPU has a matrix unit (AMX) that torch knows of; torch.cpu tells it on Linux."""
    return getattr(torch.cpu, '_is_amx_tile_supported', lambda: False)()


def softmax_backward(v_weights: Tensor, weights: Tensor) -> Tensor:
    """The gradient of the logits, from the softmax over their last axis and its gradient; may reuse no memory."""
    return torch.ops.aten._softmax_backward_data(v_weights, weights, -1, weights.dtype)
