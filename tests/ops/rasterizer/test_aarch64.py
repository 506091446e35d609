"""The CPU rasterizer on aarch64: cross-compiled with the flags of the build, run under qemu, compared with PyTorch.

Debian's g++-aarch64-linux-gnu and qemu-user bring what this needs; reported as skipped where they are missing.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from gsasr_ops import rasterize_gaussians_reference
from gsasr_ops.build import FOLDER, UNIX_FLAGS, sources
from tests.ops.rasterizer.scenes import dense_sum, sample_inputs

pytestmark = pytest.mark.slow

COMPILER = 'aarch64-linux-gnu-g++'
RUN = ('qemu-aarch64', '-L', '/usr/aarch64-linux-gnu')


@pytest.fixture(scope='module')
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [name for name in (COMPILER, RUN[0]) if not shutil.which(name)]
    if missing:
        pytest.skip(f'not installed: {", ".join(missing)} (g++-aarch64-linux-gnu, qemu-user)')
    program = tmp_path_factory.mktemp('aarch64') / 'driver'
    kernels = [path for path in sources(cuda=False) if not path.stem.endswith('_binding')]  # those need torch
    files = [*kernels, Path(__file__).parent / 'aarch64' / 'driver.cpp']
    flags = ['-O2', '-std=c++17', '-Wall', '-Werror', *UNIX_FLAGS, f'-I{FOLDER}']
    subprocess.run([COMPILER, *flags, *map(str, files), '-o', str(program)], check=True)
    return program


@pytest.mark.parametrize('size, scale', [((6, 7), 1.0), ((40, 45), 1.0), ((50, 29), 4.2)])
def test_same_image_and_gradients(driver, tmp_path, size, scale):
    H, W = size
    inputs = sample_inputs(B=1, N=150, h=round(H / scale), w=round(W / scale))
    v_image = torch.randn(3, H, W, generator=torch.Generator().manual_seed(0))
    numbers = [torch.tensor([scale]), *inputs, v_image]
    data = np.array([150, H, W], np.int64).tobytes() + b''.join(tensor.numpy().tobytes() for tensor in numbers)
    (tmp_path / 'in').write_bytes(data)
    subprocess.run([*RUN, str(driver), str(tmp_path / 'in'), str(tmp_path / 'out')], check=True)
    result = torch.from_numpy(np.fromfile(tmp_path / 'out', np.float32))

    image, *gradients = result.split([3 * H * W, *(tensor.numel() for tensor in inputs)])
    expected = dense_sum(*inputs, size, scale, support=4.5)
    # Tolerances as in test_instruction_sets.py.
    assert np.abs(image.reshape(3, H, W).numpy() - expected).max() < 4e-5
    exact = [tensor.double().requires_grad_() for tensor in inputs]
    twin = rasterize_gaussians_reference(*exact, size, scale)[0]
    for v, v_exact in zip(gradients, torch.autograd.grad((twin * v_image).sum(), exact)):
        assert (v - v_exact.flatten()).abs().max() < 8e-5 * v_exact.abs().max()
