"""`gsasr convert`: every source, what it prints, and what it refuses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import yaml

from gsasr_plugin.checkpoints.loading import load, read_model
from gsasr_plugin.checkpoints.model_file import save_model
from gsasr_plugin.commands import main
from tests import forked
from tests.checkpoints.official.hub_server import serving, write_small_model
from tests.checkpoints.official.test_checkpoint import small_gsasr
from tests.checkpoints.official.test_sources import Payload, same

GSASR = 'import sys; from gsasr_plugin.commands import main; sys.exit(main())'  # the command


def convert(*arguments: object) -> int:
    return main(['convert', *map(str, arguments)])


@pytest.mark.parametrize('suffix', ['safetensors', 'pth'])
def test_the_authors_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str) -> None:
    pair = write_small_model(tmp_path / 'authors')
    output = tmp_path / 'new' / f'model.{suffix}'
    assert convert(*pair, '-o', output) == 0
    expected, net = load(pair), load(output)
    assert same(net, expected) and net.options == expected.options

    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == 'the enhanced decoder with the encoder EDSR'
    millions = [sum(p.numel() for p in part.parameters()) / 1e6 for part in (net, net.encoder, net.decoder)]
    assert printed[1] == '{:.2f} M parameters: encoder {:.2f} M, decoder {:.2f} M'.format(*millions)
    # The section can stand in an option file as it is.
    assert yaml.safe_load('\n'.join(printed[2:-1])) == {'network_g': {'type': 'GSASR', **net.options}}
    assert printed[-1].startswith(f'written: {output} (')

    before = output.read_bytes()
    assert convert(tmp_path / 'authors', '--param-key', 'params', '-o', output) == 2
    assert '--overwrite replaces it' in capsys.readouterr().err and output.read_bytes() == before
    assert convert(tmp_path / 'authors', '--param-key', 'params', '-o', output, '--overwrite') == 0
    assert same(load(output), load(pair, param_keys=['params']))
    assert not same(load(output), expected)
    # One converted file from another.
    assert convert(output, '-o', tmp_path / 'again.safetensors') == 0
    assert same(load(tmp_path / 'again.safetensors'), load(output))


def test_a_checkpoint_of_the_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = small_gsasr()
    zeros = {key: torch.zeros_like(value) for key, value in net.state_dict().items()}
    torch.save({'params': zeros, 'params_ema': net.state_dict()}, tmp_path / 'net_g_8.pth')
    output = tmp_path / 'model.safetensors'
    assert convert(tmp_path / 'net_g_8.pth', '-o', output) == 2
    assert 'the section network_g of its options is needed' in capsys.readouterr().err

    options = tmp_path / 'train.yml'
    options.write_text(yaml.safe_dump({'network_g': {'type': 'GSASR', **net.options}}))
    assert convert(tmp_path / 'net_g_8.pth', '--opt', options, '-o', output) == 0
    assert same(load(output), net)
    assert read_model(output).options == {'type': 'GSASR', **net.options}

    options.write_text(yaml.safe_dump({'network_g': {'type': 'GSASR', **net.options, 'sigma_max': 2}}))
    assert convert(output, '--opt', options, '-o', tmp_path / 'other.pth') == 2
    assert 'sigma_max: 2 in network_g, 0.83' in capsys.readouterr().err
    options.write_text('name: x')
    assert convert(tmp_path / 'net_g_8.pth', '--opt', options, '-o', output, '--overwrite') == 2
    assert f'{options}: there is no section network_g' in capsys.readouterr().err


def test_half_the_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = small_gsasr()
    whole, half = tmp_path / 'whole.safetensors', tmp_path / 'half.safetensors'
    save_model(net, whole)
    assert convert(whole, '-o', half, '--half') == 0
    assert half.stat().st_size < 0.7 * whole.stat().st_size  # the header of so small a network is large
    assert {value.dtype for value in read_model(half).state.values() if value.is_floating_point()} == {torch.float16}
    rounded = load(half).state_dict()
    for key, value in net.state_dict().items():
        assert rounded[key].dtype == value.dtype
        assert torch.equal(rounded[key], value.half().float() if value.is_floating_point() else value)

    with torch.no_grad():
        next(net.parameters()).fill_(1e5)
    save_model(net, whole)
    assert convert(whole, '-o', half, '--half', '--overwrite') == 2
    assert 'has numbers beyond 65504' in capsys.readouterr().err
    assert load(half).state_dict().keys() == net.state_dict().keys()  # the file of before is whole


def test_what_cannot_be_converted_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder, decoder = write_small_model(tmp_path)
    output = tmp_path / 'model.safetensors'
    torch.save({'params': Payload(tmp_path / 'ran')}, tmp_path / 'evil.pth')
    for arguments, message in (
        ((encoder, tmp_path / 'none.pth'), 'none.pth: there is no such file'),
        ((decoder, encoder), 'may have been exchanged'),
        ((encoder,), 'give both'),
        ((encoder, decoder, decoder), '3 files are given'),
        ((tmp_path / 'evil.pth', decoder), 'evil.pth is refused'),
        ((tmp_path / 'evil.pth',), 'evil.pth is refused'),
        (('official/paper-edrs',), 'did you mean official/paper-edsr?'),
    ):
        assert convert(*arguments, '-o', output) == 2
        assert message in capsys.readouterr().err
    assert convert(encoder, decoder, '-o', tmp_path / 'model.onnx') == 2
    assert "suffix is '.onnx'; accepted: .safetensors, .pth" in capsys.readouterr().err
    assert not output.exists() and not (tmp_path / 'ran').exists()


@pytest.mark.slow
def test_by_name_in_a_process_of_its_own(tmp_path: Path) -> None:
    """The address of the hub and the caches come from the environment, as users set them."""
    pair = write_small_model(tmp_path / 'authors')
    with serving({f'GSASR_paper/EDSR/{path.name}': path.read_bytes() for path in pair}) as server:
        done = forked.run(
            ['-c', GSASR, 'convert', 'official/paper-edsr', '-o', 'model.pth'],
            folder=tmp_path,
            environment={
                **{key: value for key, value in os.environ.items() if not key.startswith('HF_')},
                'HF_ENDPOINT': server.endpoint,
                'HF_HOME': str(tmp_path / 'hub'),
                'XDG_CACHE_HOME': str(tmp_path / 'cache'),
            },
        )
    assert done.returncode == 0, done.stderr
    assert same(load(tmp_path / 'model.pth'), load(pair))
    assert (tmp_path / 'cache' / 'gsasr' / 'official' / 'paper-edsr' / 'converted_v1.safetensors').is_file()
