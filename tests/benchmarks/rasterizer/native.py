"""Compiles and calls the C++ beside it: Algorithm 1 of the paper, and the measure of the machine."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import torch
from torch import Tensor

FOLDER = Path(__file__).resolve().parent


class Scene(ctypes.Structure):
    """Of algorithm1.cpp."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ('means', 'sigmas', 'rhos', 'opacities', 'colors')),
        ('N', ctypes.c_longlong),
        ('H', ctypes.c_int),
        ('W', ctypes.c_int),
        ('scale', ctypes.c_float),
        ('window', ctypes.c_float),
    ]


def compile_library(name: str, folder: Path, *flags: str) -> ctypes.CDLL:
    """The C++ file of this name as a shared library; raises RuntimeError where there is no compiler."""
    compiler = os.environ.get('CXX') or shutil.which('c++') or shutil.which('g++')
    if not compiler:
        raise RuntimeError('the benchmark compiles Algorithm 1 of the paper and needs a C++ compiler: there is none')
    library = folder / f'lib{name}.so'
    command = [compiler, '-O3', '-std=c++17', '-fPIC', '-shared', '-pthread', *flags, str(FOLDER / f'{name}.cpp')]
    subprocess.run([*command, '-o', str(library)], check=True)
    return ctypes.CDLL(str(library))


class Algorithm1:
    """One image, three channels, float32 on the CPU; all cores."""

    def __init__(self, folder: Path, threads: int):
        self.library = compile_library('algorithm1', folder)
        self.threads = threads

    def forward(self, inputs: list[Tensor], size: tuple[int, int], scale: float, window: float) -> Tensor:
        image = torch.empty(3, *size)
        scene = self._scene(inputs, size, scale, window)
        self.library.algorithm1_forward(ctypes.byref(scene), ctypes.c_void_p(image.data_ptr()), self.threads)
        return image

    def backward(
        self, inputs: list[Tensor], v_image: Tensor, size: tuple[int, int], scale: float, window: float
    ) -> list[Tensor]:
        gradients = [torch.empty_like(tensor) for tensor in inputs]
        scene = self._scene(inputs, size, scale, window)
        pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (v_image, *gradients)]
        self.library.algorithm1_backward(ctypes.byref(scene), *pointers, self.threads)
        return gradients

    @staticmethod
    def _scene(inputs: list[Tensor], size: tuple[int, int], scale: float, window: float) -> Scene:
        assert all(tensor.is_contiguous() and tensor.dtype == torch.float32 for tensor in inputs)
        return Scene(*(tensor.data_ptr() for tensor in inputs), inputs[0].shape[0], *size, scale, window)


def measure_machine(folder: Path, threads: int) -> dict[str, float]:
    """Operations of vector lanes and bytes moved per second, at most, over all threads."""
    library = compile_library('machine', folder, '-march=native')
    for function in (library.lanes_per_second, library.bytes_per_second):
        function.restype = ctypes.c_double
    return {
        'lane_operations_per_second': max(library.lanes_per_second(threads) for _ in range(2)),
        'bytes_per_second': max(library.bytes_per_second(threads) for _ in range(2)),
    }
