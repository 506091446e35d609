"""Which device and which precision to use, where the user leaves it open.

Help texts need the names: torch is imported by those who ask for more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gsasr_plugin.precision import DTYPES, dtype_of

if TYPE_CHECKING:
    import torch

DEVICES = 'auto, cpu, cuda, cuda:1, mps, ...'
AUTO = 'auto'


def choose_device(name: str = AUTO) -> torch.device:
    """The device of that name; 'auto' is a CUDA device, or Apple's GPU (mps), where there is one.

    Raises:
        ValueError: no such device, or not here.
    """
    import torch

    cuda, apple = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == AUTO:
        return torch.device('cuda' if cuda else 'mps' if apple else 'cpu')
    device: torch.device | None
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    other = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    kinds = {'cpu', 'cuda', *(['mps'] if apple else []), *([other.type] if other is not None else [])}
    if device is None or device.type not in kinds:
        raise ValueError(f'device {name!r} is unknown or not here; accepted: {DEVICES}')
    count = 1 if device.type == 'cpu' else torch.get_device_module(device).device_count()
    if (device.index or 0) >= count:
        raise ValueError(f'device {name!r}: this machine has {count} {device.type.upper()} devices')
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The type in which encoder and decoder multiply; the rasterizer is float32 always.

    Args:
        name: 'auto' or a name of `DTYPES`. 'auto' is bf16 where the hardware multiplies it faster than float32
            (`bfloat16_is_fast`).

    Raises:
        ValueError: an unknown type, or fp16 on a CPU.
    """
    import torch

    if name == AUTO:
        return torch.bfloat16 if bfloat16_is_fast(device) else torch.float32
    if name not in DTYPES:
        raise ValueError(f'dtype {name!r} is unknown; accepted: {AUTO}, {", ".join(DTYPES)}')
    if device.type == 'cpu' and name == 'fp16':
        raise ValueError('dtype fp16 is for CUDA devices; on a CPU choose float32 or bf16')
    return dtype_of(name)


def bfloat16_is_fast(device: torch.device) -> bool:
    """Whether the device has instructions for products of bfloat16 matrices: CUDA from Ampere on, AVX-512-BF16, AMX."""
    import torch

    if device.type == 'cuda':
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != 'cpu':
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get('avx512_bf16') or capabilities.get('amx_bf16'))
