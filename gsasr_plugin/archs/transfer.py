"""From the CPU to a device, without a wait for what the device is doing."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A tensor of the CPU on a device, in a dtype.

    To a CUDA device it goes out of memory that stays in its place, so that nobody has to wait for the copy.
    """
    tensor = tensor.to(dtype)
    if device.type != 'cuda':
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
