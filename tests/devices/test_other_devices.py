"""On a device for which there are no kernels: an Apple GPU, say. Played by the one of device.cpp, in real processes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.cpp_extension import include_paths

from tests import forked

ROOT = Path(__file__).resolve().parents[2]

START = """
import ctypes, json, sys, warnings
import torch

class Module:
    # What PyTorch asks of a device's module.
    is_available = is_initialized = staticmethod(lambda: True)
    device_count = staticmethod(lambda: 1)
    current_device = staticmethod(lambda: 0)
    _is_in_bad_fork = staticmethod(lambda: False)
    manual_seed_all = staticmethod(lambda seed: None)
    get_amp_supported_dtype = staticmethod(lambda: [torch.bfloat16])

copies = ctypes.CDLL(sys.argv[1]).copies_between_devices
copies.restype = ctypes.c_int64
torch.utils.rename_privateuse1_backend('small')
torch._register_device_module('small', Module)
caught = warnings.catch_warnings(record=True)
messages = caught.__enter__()
warnings.simplefilter('always')

def told():
    return [str(message.message) for message in messages if 'gsasr_ops' in str(message.message)]
"""

DRAWN = """
import gsasr_ops
from tests.ops.rasterizer.scenes import sample_inputs

def drawn(device, draw=gsasr_ops.rasterize_gaussians):
    inputs = [t.detach().to(device).requires_grad_() for t in sample_inputs()]
    images = draw(*inputs, (18, 20), 2.9)
    several = draw(*inputs, [(3, 4), (5, 6)], [1.0, 2.0])
    loss = images.square().sum() + sum(image.square().sum() for image in several)
    gradients = torch.autograd.grad(loss, inputs)
    return [images, *several, *gradients]

expected, got = drawn('cpu'), drawn('small')
before = copies()
first = drawn('small')
per_drawing = copies() - before
twin = drawn('small', gsasr_ops.rasterize_gaussians_reference)
try:
    torch.zeros(2).to('small').double()
    refused = None
except TypeError as error:
    refused = str(error)
print(json.dumps({
    'devices': sorted({str(t.device) for t in got}),
    'shapes': all(a.shape == b.shape and a.dtype == b.dtype for a, b in zip(expected, got)),
    'errors': [(a - b.cpu()).abs().max().item() for a, b in zip(expected, got)],
    'twin': [((a - b.cpu()).abs().max() / a.abs().max()).item() for a, b in zip(expected, twin)],
    'told': told(),
    'refused': refused,
    'backend': gsasr_ops.backend()['cpu'],
    'copies': per_drawing,
}))
"""

UPSCALED = """
import numpy as np
from gsasr_plugin import upscale
from gsasr_plugin.checkpoints.loading import load
from gsasr_plugin.upscaling.hardware import choose_device

net = load(sys.argv[2])
photo = np.random.default_rng(0).random((11, 14, 3), dtype=np.float32)

def trained(device):
    net.to(device).zero_grad()
    lq = torch.from_numpy(photo).permute(2, 0, 1)[None].to(device)
    net(lq, scale=2.3).square().mean().backward()
    return [parameter.grad.cpu() for parameter in net.parameters() if parameter.grad is not None]

pictures = [upscale(photo, scale=2.7, model=net, device=device, dtype='float32') for device in ('cpu', 'small')]
gradients = [trained(device) for device in ('cpu', 'small')]
try:
    choose_device('small:1')
except ValueError as error:
    refused = str(error)
print(json.dumps({
    'chosen': [str(choose_device('small')), str(choose_device())],
    'refused': refused,
    'error': float(np.abs(pictures[0] - pictures[1]).max()),
    'shape': list(pictures[1].shape),
    'gradients': len(gradients[0]),
    'gradient_error': max(
        ((a - b).abs().max() / a.abs().max().clamp(min=1e-6)).item() for a, b in zip(*gradients)
    ),
    'told': told(),
}))
"""


pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def device() -> Path:
    """The device as a library, compiled into the folder of temporary files."""
    gcc = shutil.which('g++')
    if gcc is None or sys.platform != 'linux':
        pytest.skip('needs g++ on Linux')
    source = Path(__file__).with_name('device.cpp')
    folders = [*(f'-I{path}' for path in include_paths()), f'-L{Path(torch.__file__).parent / "lib"}']
    command = [gcc, '-std=c++20', '-O0', '-g0', '-fPIC', '-shared', str(source), *folders, '-lc10', '-ltorch_cpu']
    key = hashlib.sha256(repr((command, torch.__version__, source.read_text())).encode()).hexdigest()[:16]
    library = Path(tempfile.gettempdir()) / f'gsasr_device_{os.getuid()}_{key}.so'
    if not library.exists():
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([*command, '-o', f'{folder}/device.so'], check=True)
            shutil.move(f'{folder}/device.so', library)
    return library


def run(device: Path, script: str, *arguments: Path) -> dict[str, Any]:
    # Forked ones do not wait for the interpreter's end, where PyTorch's thread for the backward passes of a device may
    # let go of Python objects, which aborts the process, now and then.
    done = forked.run(['-c', START + script, device, *arguments], folder=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_it_is_drawn_by_the_cpu(device: Path) -> None:
    result = run(device, DRAWN)
    assert result['backend'] == 'compiled' and result['refused'] == 'this device has no float64'
    assert result['devices'] == ['small:0'] and result['shapes']
    assert len(result['errors']) == 8 and max(result['errors']) == 0  # the very same kernels
    # In each of the two drawings: five tensors to the CPU and the images back; six and the five gradients.
    assert result['copies'] >= 2 * (5 + 1 + 6 + 5)
    assert max(result['twin']) < 1e-4  # float32 sums in another order
    assert result['told'] == [
        'gsasr_ops draws on the CPU what is on small devices, and copies it there and back, because it has no kernels '
        'for small devices.'
    ]


def test_the_network_upscales_and_learns_there(device: Path, model_file: Path) -> None:
    result = run(device, UPSCALED, model_file)
    assert result['chosen'] == ['small', 'cpu']  # of others than CUDA and Apple's, nothing is known: on request only
    assert result['refused'] == "device 'small:1': this machine has 1 SMALL devices"
    assert result['shape'] == [30, 38, 3] and result['error'] < 1e-4
    assert result['gradients'] > 50 and result['gradient_error'] < 1e-3
    assert len(result['told']) == 1
