"""The one door to a trained network: names and files, and what is read once only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from gsasr_plugin import GSASR, load
from gsasr_plugin.checkpoints import kept_models, loading, packaged, state_file
from gsasr_plugin.checkpoints.loading import read_model
from gsasr_plugin.checkpoints.model_file import save_model
from tests.checkpoints.official.hub_server import write_small_model


def test_load_takes_names_and_files(
    net: GSASR, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packaged, 'FOLDER', tmp_path)
    monkeypatch.chdir(tmp_path)
    save_model(net, tmp_path / 'one.safetensors')
    state = net.state_dict()
    for source in ('one', model_file, str(model_file)):
        loaded = load(source)
        assert not loaded.training
        assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())
    save_model(net, tmp_path / f'{packaged.DEFAULT_MODEL}.safetensors')
    assert torch.equal(next(load().parameters()), next(net.parameters()))
    with pytest.raises(FileNotFoundError, match="no model or file 'three'; packaged are gsasr-small, one"):
        load('three')
    (tmp_path / packaged.DEFAULT_MODEL).mkdir()  # nobody named it
    assert torch.equal(next(load().parameters()), next(net.parameters()))
    (tmp_path / 'one').mkdir()  # what lies there is meant
    with pytest.raises(FileNotFoundError, match=r'encoder\.pth'):
        load('one')


def test_there_is_no_other_door() -> None:
    assert not hasattr(GSASR, 'from_pretrained')


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read, one for each time."""
    names: list[str] = []
    read = state_file.read_file
    for module in (loading, state_file):
        monkeypatch.setattr(module, 'read_file', lambda path: names.append(path.name) or read(path))
    return names


def test_files_are_read_once_until_forgotten(net: GSASR, tmp_path: Path, reads: list[str]) -> None:
    path = tmp_path / 'net.pth'
    other = {key: value + 1 for key, value in net.state_dict().items()}
    torch.save({'params': net.state_dict(), 'params_ema': other}, path)

    def bias(*keys: str) -> torch.Tensor:
        return read_model(path, param_keys=keys).state['encoder.net.conv_first.bias']

    expected = net.state_dict()['encoder.net.conv_first.bias']
    with kept_models.reading_once():
        for _ in range(2):  # both sets of weights are there, whichever is asked for
            assert torch.equal(bias('params'), expected) and torch.equal(bias('params_ema'), expected + 1)
        assert reads == ['net.pth']
        torch.save({'params': other}, path)  # another file of the same name
        assert torch.equal(bias('params'), expected + 1) and reads == ['net.pth'] * 2
        kept_models.forget()
        assert torch.equal(bias('params'), expected + 1) and reads == ['net.pth'] * 3
        bias('params')
        assert reads == ['net.pth'] * 4
    bias('params')
    assert reads == ['net.pth'] * 5


def test_the_authors_two_files_are_read_once(tmp_path: Path, reads: list[str]) -> None:
    write_small_model(tmp_path)
    with kept_models.reading_once():
        first, again = read_model(tmp_path), read_model([tmp_path / 'encoder.pth', tmp_path / 'decoder.pth'])
        assert first is again and reads == ['encoder.pth', 'decoder.pth']
        os.utime(tmp_path / 'decoder.pth', (0, 0))
        assert read_model(tmp_path) is not first
    assert read_model(tmp_path) is not read_model(tmp_path)


def test_other_files_are_not_kept(net: GSASR, tmp_path: Path) -> None:
    """Training states and the weights of metrics are large, and nobody would free them."""
    torch.save({'params': net.state_dict()}, tmp_path / '5.state')
    with kept_models.reading_once():
        state_file.read_file(tmp_path / '5.state')
        state_file.read_state_dict(tmp_path / '5.state')
        assert kept_models._kept == {}
