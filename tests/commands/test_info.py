"""`gsasr info`, and the help of every subcommand."""

from __future__ import annotations

import importlib.metadata
import json

import pytest
import torch

import gsasr_ops
from gsasr_ops import build
from gsasr_plugin.commands import info, main
from gsasr_plugin.commands.main import COMMANDS
from gsasr_plugin.host.repairs import repairs


def test_it_tells_versions_repairs_and_backends(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['info', '--json']) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts['versions']['torch'] == importlib.metadata.version('torch')
    assert facts['repairs of BasicSR'] == repairs()
    backend = gsasr_ops.backend()
    assert facts['rasterizer']['on CPUs'].startswith(backend['cpu'])
    if backend['instruction_sets']:
        assert facts['rasterizer']['instruction set'].startswith(backend['instruction_sets'][0])
    assert main(['info']) == 0
    told = capsys.readouterr().out
    assert all(f'{title}:' in told for title in facts)


def test_what_is_missing_comes_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = ['torch>=2', 'no-such-package>=1; extra == "plots"', 'numpy; extra == "test"']
    monkeypatch.setattr(importlib.metadata, 'requires', lambda name: requirements)
    monkeypatch.setattr(build, 'compiler_complaint', lambda: 'there is no C++ compiler')
    backend = {'cpu': 'reference', 'cuda': 'on the CPU', 'library': None}
    missing = info.missing(backend)
    assert missing['extra plots (no-such-package)'] == "pip install 'gsasr-plugin[plots]'"
    assert missing['compiled rasterizer'] == (
        'install a C++ compiler, with which it compiles itself at the next use: there is no C++ compiler'
    )
    assert not any('test' in name for name in missing)
    whole = {'cpu': 'compiled', 'cuda': 'compiled', 'library': 'x'}
    assert list(info.missing(whole)) == ['extra plots (no-such-package)']
    monkeypatch.setattr(build, 'compiler_complaint', lambda: None)  # it is compiled when it is first used
    assert list(info.missing(backend)) == ['extra plots (no-such-package)']


COMPILED = {
    'cpu': 'compiled',
    'cuda': 'on the CPU',
    'library': 'x',
    'problems': [],
    'cuda_architectures': [],
    'cuda_left_out': 'the nvcc of /opt/cuda is of CUDA 13.0',
}


def claim_devices(monkeypatch: pytest.MonkeyPatch, *capabilities: tuple[int, int]) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: len(capabilities))
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda index: capabilities[index])


def test_it_tells_why_there_are_no_cuda_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('FORCE_CUDA', raising=False)
    monkeypatch.setattr(torch.version, 'cuda', '12.8')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    left_out = 'the kernels were left out: the nvcc of /opt/cuda is of CUDA 13.0'
    assert info._on_cuda(COMPILED) == f'on the CPU: torch sees no CUDA device; {left_out}'
    claim_devices(monkeypatch, (8, 6))
    assert info._on_cuda(COMPILED) == f'on the CPU: {left_out}'
    monkeypatch.setattr(build, 'find_toolkit', lambda torch_cuda: (None, f'no toolkit for {torch_cuda}'))
    command = info.missing(COMPILED)['CUDA kernels']
    assert command == 'install the CUDA toolkit 12.8: no toolkit for 12.8'


def test_devices_that_the_kernels_were_not_compiled_for_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    claim_devices(monkeypatch, (8, 6), (7, 0), (8, 9))
    backend = {**COMPILED, 'cuda': 'compiled', 'cuda_architectures': ['8.0', '9.0'], 'cuda_left_out': None}
    assert info._on_cuda(backend) == 'compiled: the library has kernels for it, but not for cuda:1 (7.0)'
    backend['cuda_architectures'] = ['7.0', '8.0']
    assert info._on_cuda(backend) == 'compiled: the library has kernels for it'


def test_on_amds_gpus_nobody_is_sent_for_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    claim_devices(monkeypatch, (9, 4))
    monkeypatch.setattr(torch.version, 'cuda', None)
    monkeypatch.setattr(torch.version, 'hip', '6.4.43482')
    expected = 'on the CPU: this torch is built for AMD GPUs (ROCm), for which there are no kernels'
    assert info._on_cuda({**COMPILED, 'cuda_left_out': 'x'}) == expected
    assert 'CUDA kernels' not in info.missing(COMPILED)


@pytest.mark.parametrize('command', COMMANDS)
def test_every_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, '--help'])
    assert stop.value.code == 0
    assert f'gsasr {command}' in capsys.readouterr().out.split('examples:')[1]
