"""The public function `window_attention`, and what PyTorch has to know about the operator behind it.

Letters: M windows, T queries and S keys of each, D channels of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .. import extension
from ..layers import check_devices, no_derivative
from . import on_gpu, reference


def window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None = None,
    rotations: Tensor | None = None,
    windows: Tensor | None = None,
    context_windows: Tensor | None = None,
    *,
    scale: float | None = None,
) -> Tensor:
    """softmax(scale q k^T + bias) v for each window and head, with the heads side by side.

    On CPUs, in float32 and bfloat16, one kernel reads the heads where they lie (any strides) and computes in float32.
    Of bfloat16 it multiplies pairs where the processor does that: the weights of the values are rounded to bfloat16
    there. For gradients the weights are computed again, likewise, or by plain products where there are rotations:
    nothing of the size T x S is kept. Otherwise, and where there is no compiled library, it is PyTorch's
    scaled_dot_product_attention, on GPUs by a fused kernel; heads of other than a multiple of 8 channels are padded for
    it, in a pass of their own.

    Args:
        q: queries, (M, heads, T, D), of a floating-point dtype.
        k, v: keys and values, (M, heads, S, D), of q's dtype; S is at least 1.
        bias: what is added to the logits, (heads, T, S), of any floating-point dtype. -infinity leaves a key out; at
            least one of each query's has to stay. Or (W, heads, T, S), for windows of W kinds in turn, of which M is a
            multiple: PyTorch's own attention then, on CPUs too.
        rotations: complex numbers, (heads, P, D / 2) with P of at least T and S (rotary positions). The channel pairs
            (2i, 2i + 1) of query t and key t are multiplied by those of position t first, and rounded to q's dtype.
        windows: if given, the R queries lie in any order, (R, heads, D), and query t of window m is number
            windows[m, t], (M, T) int64; each number is there once.
        context_windows: the same of keys and values, (any, heads, D); (M, S) int64, any numbers; those of `windows` if
            not given.
        scale: of the products of queries and keys; None: 1 / sqrt(D).

    Returns:
        (M, T, heads * D), or with windows (R, heads * D) in the order of the queries; of q's dtype.

    Raises:
        ValueError: a shape or a device that does not fit; the message names the argument.
        TypeError: a dtype that does not fit.
        RuntimeError: windows with other numbers, where the kernel reads them; PyTorch refuses too large ones only.
    """
    if context_windows is None:
        context_windows = windows
    _check(q, k, v, bias, rotations, windows, context_windows)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    turns = torch.view_as_real(rotations) if rotations is not None else None
    of_kinds = bias is not None and bias.dim() == 4
    if q.device.type == 'cpu' and q.dtype in (torch.float32, torch.bfloat16) and not of_kinds:
        bias, turns = (tensor.float() if tensor is not None else None for tensor in (bias, turns))
        return torch.ops.gsasr.window_attention(q, k, v, bias, turns, windows, context_windows, scale)
    attention = reference.window_attention if q.device.type == 'cpu' else on_gpu.window_attention
    return attention(q, k, v, bias, turns, windows, context_windows, scale)


def _check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    rotations: Tensor | None,
    windows: Tensor | None,
    context_windows: Tensor | None,
) -> None:
    if not q.is_floating_point():
        raise TypeError(f'q must be of a floating-point dtype, got {q.dtype}')
    if windows is not None and context_windows is not None:
        heads, T, D, expected = _check_numbered(q, k, windows, context_windows)
        M, S = context_windows.shape
    elif context_windows is not None:
        raise ValueError('context_windows needs windows')
    else:
        if q.dim() != 4 or q.shape[3] < 1:
            raise ValueError(f'q must have the shape (M, heads, T, D), got {tuple(q.shape)}')
        M, heads, T, D = q.shape
        if k.dim() != 4 or k.shape[2] < 1:
            raise ValueError(f'k must have the shape ({M}, {heads}, S, {D}) with S from 1, got {tuple(k.shape)}')
        S = k.shape[2]
        expected = {'k': (M, heads, S, D), 'v': (M, heads, S, D)}
    given = {'k': k, 'v': v}
    if bias is not None:
        given['bias'], expected['bias'] = bias, (heads, T, S)
        if bias.dim() == 4:
            if bias.shape[0] < 1 or M % bias.shape[0]:
                raise ValueError(f'bias is of {bias.shape[0]} kinds of windows, which do not divide the {M} windows')
            expected['bias'] = (bias.shape[0], heads, T, S)
    if rotations is not None:
        positions = rotations.shape[1] if rotations.dim() == 3 else 0
        if positions < max(T, S) or D % 2:
            raise ValueError(
                f'rotations must have the shape ({heads}, P, D / 2) with P from {max(T, S)} and D even, got '
                f'{tuple(rotations.shape)} for D = {D}'
            )
        if not rotations.is_complex():
            raise TypeError(f'rotations must be of a complex dtype, got {rotations.dtype}')
        given['rotations'], expected['rotations'] = rotations, (heads, positions, D // 2)
    for name, tensor in given.items():
        if tensor.shape != expected[name]:
            raise ValueError(f'{name} must have the shape {expected[name]}, got {tuple(tensor.shape)}')
        if tensor.device != q.device:
            raise ValueError(f'{name} is on {tensor.device}, but q is on {q.device}: all must be on one device')
        if name == 'bias' and not tensor.is_floating_point():
            raise TypeError(f'bias must be of a floating-point dtype, got {tensor.dtype}')
        if name in ('k', 'v') and tensor.dtype != q.dtype:
            raise TypeError(f'{name} must have the dtype of q, {q.dtype}, got {tensor.dtype}')


def _check_numbered(
    q: Tensor, k: Tensor, windows: Tensor, context_windows: Tensor
) -> tuple[int, int, int, dict[str, tuple[int, ...]]]:
    """The heads, T, D, and the shapes that keys and values must have."""
    if q.dim() != 3 or q.shape[2] < 1:
        raise ValueError(f'q must have the shape (R, heads, D), got {tuple(q.shape)}')
    for name, numbers in (('windows', windows), ('context_windows', context_windows)):
        if numbers.dim() != 2 or numbers.shape[0] != windows.shape[0]:
            raise ValueError(f'{name} must have the shape (M, tokens), got {tuple(numbers.shape)}')
        if numbers.dtype != torch.int64:
            raise TypeError(f'{name} must be of dtype torch.int64, got {numbers.dtype}')
        if numbers.device != q.device:
            raise ValueError(f'{name} is on {numbers.device}, but q is on {q.device}: all must be on one device')
    if windows.numel() != q.shape[0] or context_windows.shape[1] < 1:
        raise ValueError(
            f'windows must number all {q.shape[0]} queries, and context_windows at least one key for each window, got '
            f'the shapes {tuple(windows.shape)} and {tuple(context_windows.shape)}'
        )
    shape = (k.shape[0], q.shape[1], q.shape[2]) if k.dim() == 3 else (-1, q.shape[1], q.shape[2])
    return q.shape[1], windows.shape[1], q.shape[2], {'k': shape, 'v': shape}


def _fake(q, k, v, bias, rotations, windows, context_windows, scale):
    check_devices(q, k=k, v=v, bias=bias, rotations=rotations, windows=windows, context_windows=context_windows)
    if windows is not None:
        return q.new_empty((q.shape[0], q.shape[1] * q.shape[2]))
    return q.new_empty((q.shape[0], q.shape[2], q.shape[1] * q.shape[3]))


def _save_for_backward(ctx, inputs, output):
    *tensors, ctx.scale = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, v_output):
    q, k, v, bias, rotations, windows, context_windows = ctx.saved_tensors
    if rotations is not None or torch.is_grad_enabled():  # plain products have derivatives of their own
        v_inputs = reference.window_attention_backward(
            v_output, q, k, v, bias, rotations, windows, context_windows, ctx.scale
        )
        return *v_inputs, None, None, None  # for numbers of tokens and the scale
    gradients = torch.ops.gsasr.window_attention_backward(v_output, q, k, v, bias, windows, context_windows, ctx.scale)
    v_q, v_k, v_v = (gradient.to(q.dtype) for gradient in gradients[:3])
    if windows is None:
        v_q, v_k, v_v = (gradient.unflatten(0, (len(q), -1)).transpose(1, 2) for gradient in (v_q, v_k, v_v))
    return v_q, v_k, v_v, gradients[3] if bias is not None else None, None, None, None, None


def _fake_backward(v_output, q, k, v, bias, windows, context_windows, scale):
    shapes = [x.shape if windows is not None else (x.shape[0] * x.shape[2], *x.shape[1::2]) for x in (q, k, v)]
    return *(q.new_empty(shape, dtype=torch.float32) for shape in shapes), q.new_empty(
        bias.shape if bias is not None else 0, dtype=torch.float32
    )


extension.register(
    'window_attention',
    twin=reference.window_attention,
    fake=_fake,
    backward=_backward,
    setup_context=_save_for_backward,
)
extension.register(
    'window_attention_backward',
    twin=reference.token_gradients,
    fake=_fake_backward,
    backward=no_derivative('window_attention_backward'),
)
