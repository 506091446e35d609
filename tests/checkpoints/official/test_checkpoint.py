"""Self-describing files, and every kind of file in one place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gsasr_plugin.archs import GSASR
from gsasr_plugin.checkpoints.loading import load, read_model
from gsasr_plugin.checkpoints.model_file import save_model
from tests.checkpoints.official.test_sources import SMALL_EDSR, SMALL_ENHANCED, released_state, same


def small_gsasr(**options: Any) -> GSASR:
    sizes: dict[str, Any] = {
        'encoder_opt': {'type': 'SwinIR', 'embed_dim': 8, 'depths': [1, 2], 'num_heads': [2, 2], 'window_size': 4},
        'embed_dim': 8,
        'num_heads': 2,
        'window_size': 3,
        'num_interaction_blocks': 1,
        'num_interaction_layers': 1,
        'gaussian_density': 4,
        'position_encoding': 'rope',
        'relative_colors': True,
        'initial_sigma': 0.3,
        'raster_ratio': 0.5,
    }
    return GSASR(**(sizes | options)).eval()


@pytest.mark.parametrize('suffix', ['safetensors', 'pth'])
def test_a_file_describes_itself(suffix: str, tmp_path: Path) -> None:
    net = small_gsasr()
    path = tmp_path / 'new' / f'model.{suffix}'
    save_model(net, path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # no temporary file is left
    again = load(path)
    assert again.options == net.options and not again.training
    assert same(again, net)
    lq = torch.rand(1, 3, 5, 7)
    with torch.no_grad():
        torch.testing.assert_close(again(lq, scale=1.5), net(lq, scale=1.5), rtol=0, atol=0)
    assert read_model(path).options == {'type': 'GSASR', **net.options}


def test_the_authors_two_files(tmp_path: Path) -> None:
    torch.save({'params_ema': released_state(SMALL_EDSR)}, tmp_path / 'encoder.pth')
    torch.save({'params_ema': released_state(SMALL_ENHANCED)}, tmp_path / 'decoder.pth')
    net = load((tmp_path / 'encoder.pth', str(tmp_path / 'decoder.pth')))
    assert same(load(tmp_path), net)  # their folder
    save_model(net, tmp_path / 'model.safetensors')
    converted = load(tmp_path / 'model.safetensors')
    assert same(converted, net) and converted.options == net.options
    with pytest.raises(ValueError, match=r'decoder\.pth .*give both'):
        load(tmp_path / 'decoder.pth')
    (tmp_path / 'decoder.pth').unlink()
    with pytest.raises(FileNotFoundError, match=r'decoder\.pth'):
        load(tmp_path)
    with pytest.raises(ValueError, match='3 files are given'):
        load(['a', 'b', 'c'])


def test_a_checkpoint_of_a_training_needs_its_options(tmp_path: Path) -> None:
    net = small_gsasr()
    other = {key: torch.zeros_like(value) for key, value in net.state_dict().items()}
    torch.save({'params': other, 'params_ema': net.state_dict()}, tmp_path / 'net_g_8.pth')
    assert same(load(tmp_path / 'net_g_8.pth', {'type': 'GSASR', **net.options}), net)
    with pytest.raises(
        ValueError, match=r'net_g_8\.pth \[params_ema\] does not describe its network: the section network_g'
    ):
        load(tmp_path / 'net_g_8.pth')
    with pytest.raises(ValueError, match=r'does not fit the network:\n  lacks: '):
        load(tmp_path / 'net_g_8.pth', {**net.options, 'closing_conv': True})
    with pytest.raises(ValueError, match=r"no network can be built .*'colour'"):
        load(tmp_path / 'net_g_8.pth', {**net.options, 'colour': 1})
    with pytest.raises(ValueError, match=r"type 'EDSR'; GSASR is accepted"):
        load(tmp_path / 'net_g_8.pth', {**net.options, 'type': 'EDSR'})


def test_unusable_descriptions_are_named(tmp_path: Path) -> None:
    net = small_gsasr()
    path = tmp_path / 'model.pth'
    described = {'version': 2, 'network_g': net.options}
    for text, message in (
        (json.dumps(described), r'model\.pth: .*version 2; 1 is accepted'),
        ('{', r'model\.pth: .*damaged'),
        (json.dumps([1]), r'model\.pth: .*damaged'),
    ):
        torch.save({'params': net.state_dict(), 'gsasr': text}, path)
        with pytest.raises(ValueError, match=message):
            load(path)
    with pytest.raises(ValueError, match=r"model\.bin: the suffix is '\.bin'"):
        save_model(net, tmp_path / 'model.bin')
    net.options['initial_sigma'] = torch.zeros(1)
    with pytest.raises(ValueError, match='cannot be stored as JSON'):
        save_model(net, path)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'model.pth'
    save_model(small_gsasr(), path)
    before = path.read_bytes()

    def fail(held: object, temporary: Path) -> None:
        temporary.write_bytes(b'half')
        raise OSError('disk full')

    monkeypatch.setattr(torch, 'save', fail)
    with pytest.raises(OSError, match='disk full'):
        save_model(small_gsasr(), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ['model.pth']
