"""Calls `algorithm1.cu`, compiled as a shared library by nvcc (on a GPU) or by g++ with the shim (on the CPU)."""

import ctypes
import subprocess
from pathlib import Path

import torch
from torch import Tensor

SOURCE = Path(__file__).parent / 'algorithm1.cu'


def compile_for(home: Path, capability: tuple[int, int], folder: Path) -> Path:
    """The library for GPUs of a compute capability, compiled by the toolkit in `home` into `folder`."""
    library = folder / 'algorithm1.so'
    target = f'-arch=sm_{capability[0]}{capability[1]}'
    command = [home / 'bin' / 'nvcc', '-O3', '-std=c++17', target, '-shared', '-Xcompiler', '-fPIC']
    done = subprocess.run([*map(str, command), str(SOURCE), '-o', str(library)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return library


class Scene(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ('means', 'sigmas', 'rhos', 'opacities', 'colors')),
        *((name, ctypes.c_int) for name in ('N', 'H', 'W')),
        *((name, ctypes.c_float) for name in ('scale', 'window')),
    ]


class Algorithm1:
    """One image, three channels. Inputs without the batch dimension, contiguous float32, all on one device."""

    def __init__(self, library: Path):
        self.library = ctypes.CDLL(str(library))

    def forward(self, inputs: list[Tensor], size: tuple[int, int], scale: float, window: float) -> Tensor:
        image = torch.empty(3, *size, device=inputs[0].device)
        self._call('algorithm1_forward', self._scene(inputs, size, scale, window), [image])
        return image

    def backward(
        self, inputs: list[Tensor], v_image: Tensor, size: tuple[int, int], scale: float, window: float
    ) -> list[Tensor]:
        gradients = [torch.empty_like(tensor) for tensor in inputs]
        self._call('algorithm1_backward', self._scene(inputs, size, scale, window), [v_image, *gradients])
        return gradients

    @staticmethod
    def _scene(inputs: list[Tensor], size: tuple[int, int], scale: float, window: float) -> Scene:
        assert all(tensor.is_contiguous() and tensor.dtype == torch.float32 for tensor in inputs)
        return Scene(*(tensor.data_ptr() for tensor in inputs), inputs[0].shape[0], *size, scale, window)

    def _call(self, name: str, scene: Scene, tensors: list[Tensor]) -> None:
        device = tensors[0].device
        stream = torch.cuda.current_stream(device).cuda_stream if device.type == 'cuda' else None
        pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]
        error = getattr(self.library, name)(scene, *pointers, ctypes.c_void_p(stream))
        assert error == 0, f'{name}: CUDA error {error}'
