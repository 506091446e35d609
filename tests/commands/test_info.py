"""`gsasr info`, and the help of every subcommand."""

from __future__ import annotations

import importlib.metadata
import json

import pytest

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
    backend = {'cpu': 'reference', 'cuda': 'reference', 'library': None}
    missing = info.missing(backend)
    assert missing['extra plots (no-such-package)'] == "pip install 'gsasr-plugin[plots]'"
    assert missing['compiled rasterizer'].startswith('install a C++ compiler (there is no C++ compiler), then pip')
    assert not any('test' in name for name in missing)
    whole = {'cpu': 'compiled', 'cuda': 'compiled', 'library': 'x'}
    assert list(info.missing(whole)) == ['extra plots (no-such-package)']


@pytest.mark.parametrize('command', COMMANDS)
def test_every_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, '--help'])
    assert stop.value.code == 0
    assert f'gsasr {command}' in capsys.readouterr().out.split('examples:')[1]
