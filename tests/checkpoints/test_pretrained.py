"""`path.pretrain_network_g` of GSASRModel: every source, for training, testing and resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.models import build_model

from gsasr_plugin.checkpoints.loading import load, read_model
from gsasr_plugin.checkpoints.model_file import save_model
from gsasr_plugin.run_errors import RunError
from tests.checkpoints.official.hub_server import write_small_model
from tests.checkpoints.official.test_sources import Payload, same
from tests.models.test_gsasr_model import batch, make_model, options


def opt_for(folder: Path, source: Any, network: dict[str, Any], **path: Any) -> dict[str, Any]:
    opt = options(folder)
    opt['path'] |= {'pretrain_network_g': source, **path}
    opt['network_g'] = {'type': 'GSASR', **network}
    return opt


@pytest.fixture
def authors(tmp_path: Path) -> Path:
    """A folder with the authors' two files, whose averages differ from the weights beside them."""
    write_small_model(tmp_path / 'authors')
    return tmp_path / 'authors'


@pytest.mark.parametrize('kind', ['folder', 'pair', 'safetensors', 'pth', 'name'])
def test_fine_tuning_starts_from_the_authors_averages(
    authors: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load(authors)
    source: Any = {
        'folder': str(authors),
        'pair': [str(authors / 'encoder.pth'), str(authors / 'decoder.pth')],
        'name': 'official/enhanced-edsr-div2k',
    }.get(kind, str(tmp_path / f'model.{kind}'))
    if kind in ('safetensors', 'pth'):
        save_model(expected, source)
    if kind == 'name':
        monkeypatch.setenv('GSASR_CACHE', str(tmp_path / 'cache'))
        write_small_model(tmp_path / 'cache' / 'official' / 'enhanced-edsr-div2k')
    model = build_model(opt_for(tmp_path, source, expected.options))
    assert same(model.net_g, expected) and same(model.net_g_ema, expected)
    model.feed_data(batch())
    model.optimize_parameters(1)
    assert not same(model.net_g, expected)


def test_a_checkpoint_of_a_training_keeps_its_two_sets_of_weights(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    model.feed_data(batch())
    model.optimize_parameters(1)
    model.save(0, 1)
    path = tmp_path / 'models' / 'net_g_1.pth'
    assert not same(model.net_g, model.net_g_ema)
    again = build_model(opt_for(tmp_path, str(path), model.net_g.options))
    assert same(again.net_g, model.net_g) and same(again.net_g_ema, model.net_g_ema)
    averaged = build_model(opt_for(tmp_path, str(path), model.net_g.options, param_key_g='params_ema'))
    assert same(averaged.net_g, model.net_g_ema)
    # It describes itself, for every command.
    assert read_model(path).options == {'type': 'GSASR', **model.net_g.options}
    assert same(load(path), model.net_g_ema)


def test_one_of_before_it_described_itself(tmp_path: Path) -> None:
    net = make_model(tmp_path).net_g
    state = {f'module.{key}': value for key, value in net.state_dict().items()}
    for name, held, param_key in (('a.pth', {'params': state}, 'params_ema'), ('b.pth', state, None)):
        torch.save(held, tmp_path / name)
        assert same(build_model(opt_for(tmp_path, str(tmp_path / name), net.options, param_key_g=param_key)).net_g, net)


def test_options_that_differ_are_listed(authors: Path, tmp_path: Path) -> None:
    network = load(authors).options
    other = {**network, 'sigma_max': 0.5, 'encoder_opt': {'type': 'EDSR', 'num_feat': 8, 'num_block': 5}, 'support': 6}
    with pytest.raises(RunError, match='another network than network_g describes') as raised:
        build_model(opt_for(tmp_path, str(authors), other))
    assert str(raised.value).splitlines()[1:] == [
        '  encoder_opt.num_block: 5 in network_g, 2 in the checkpoint',
        f'  sigma_max: 0.5 in network_g, {network["sigma_max"]} in the checkpoint',
    ]
    # What fits is taken where that is asked for.
    model = build_model(opt_for(tmp_path, str(authors), other, strict_load_g=False))
    assert same(model.net_g.decoder, load(authors).decoder)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    net = make_model(tmp_path).net_g
    torch.save({'params': net.state_dict()}, tmp_path / 'net.pth')
    with pytest.raises(RunError, match=r'does not fit the network:\n  lacks: .*interaction_conv'):
        build_model(opt_for(tmp_path, str(tmp_path / 'net.pth'), {**net.options, 'closing_conv': True}))


def test_no_code_is_run(authors: Path, tmp_path: Path) -> None:
    network = load(authors).options
    torch.save({'params': Payload(tmp_path / 'ran')}, tmp_path / 'evil.pth')
    for source in (str(tmp_path / 'evil.pth'), [str(tmp_path / 'evil.pth'), str(authors / 'decoder.pth')]):
        with pytest.raises(RunError, match=r'evil\.pth is refused'):
            build_model(opt_for(tmp_path, source, network))
    assert not (tmp_path / 'ran').exists()
