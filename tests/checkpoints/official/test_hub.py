"""Released models by name: fetched once, converted once, or an error that helps; against a server on this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from huggingface_hub import constants
from PIL import Image

from gsasr_plugin.checkpoints.loading import load, read_model
from gsasr_plugin.checkpoints.official import hub
from gsasr_plugin.commands import main
from gsasr_plugin.upscaling.images import upscale
from tests.checkpoints.official.hub_server import HubServer, serving, write_small_model
from tests.checkpoints.official.released import released
from tests.checkpoints.official.test_sources import same

NAME = 'official/enhanced-edsr-div2k'
FOLDER = 'GSASR_enhenced_ultra/EDSR_DIV2K'


@pytest.fixture
def authors(tmp_path: Path) -> list[Path]:
    return write_small_model(tmp_path / 'authors')


@pytest.fixture
def server(authors: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """The hub, and empty caches."""
    with serving({f'{FOLDER}/{path.name}': path.read_bytes() for path in authors}) as served:
        # huggingface_hub read them from the environment when it was imported.
        monkeypatch.setattr(constants, 'ENDPOINT', served.endpoint)
        monkeypatch.setattr(
            constants, 'HUGGINGFACE_CO_URL_TEMPLATE', served.endpoint + '/{repo_id}/resolve/{revision}/{filename}'
        )
        monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'downloads'))
        monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
        monkeypatch.setattr('time.sleep', lambda _: None)  # between its attempts
        monkeypatch.setenv('GSASR_CACHE', str(tmp_path / 'cache'))
        yield served


def help_in(message: str, tmp_path: Path) -> bool:
    """Whether an error says which two files to place where."""
    urls = [f'https://huggingface.co/mutou0308/GSASR/resolve/main/{FOLDER}/{file}' for file in hub.FILES]
    return all(url in message for url in urls) and f'into {tmp_path / "cache" / NAME}/' in message


def test_every_released_variant_has_a_name() -> None:
    """The variants and their folders, of the list of all released state dicts."""
    known = set()
    for variant in released()['variants']:
        version, folders = variant.split('/')
        for folder in folders.split('|'):
            parent = 'GSASR_paper' if version == 'paper' else 'GSASR_enhenced_ultra'
            known.add((f'official/{version}-{folder.lower().replace("_", "-")}', f'{parent}/{folder}'))
    assert set(hub.VARIANTS.items()) == known
    assert NAME in hub.VARIANTS and len(known) == 10


def test_fetched_once_and_converted_once(server: HubServer, authors: list[Path], tmp_path: Path) -> None:
    expected = load(authors)
    net = load(NAME)
    assert same(net, expected) and net.options == expected.options
    assert [entry for entry in server.requests if entry.startswith('GET')] == [
        f'GET {FOLDER}/encoder.pth',
        f'GET {FOLDER}/decoder.pth',
    ]
    (converted,) = [path for path in (tmp_path / 'cache').rglob('*') if path.is_file()]
    assert converted.parent == tmp_path / 'cache' / NAME
    before = list(server.requests)
    assert same(load(NAME), expected)
    assert server.requests == before
    with pytest.raises(ValueError, match=rf'{NAME}: of a released model the average is taken'):
        read_model(NAME, param_keys=['params'])


def test_files_that_the_user_has_placed_go_first(server: HubServer, authors: list[Path], tmp_path: Path) -> None:
    load(NAME)
    server.requests.clear()
    (placed,) = {path.parent for path in (tmp_path / 'cache').rglob('*.safetensors')}
    for path in write_small_model(placed):
        held = torch.load(path, weights_only=True)
        torch.save(held['params'], path)
    assert not same(load(NAME), load(authors))
    assert same(load(NAME), load(authors, param_keys=['params']))
    (placed / 'decoder.pth').unlink()
    with pytest.raises(FileNotFoundError, match=r'decoder\.pth: there is no such file, which belongs'):
        load(NAME)
    assert server.requests == []


def test_a_file_of_that_name_is_a_file(
    authors: list[Path], tmp_path: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_small_model(tmp_path / NAME)
    assert same(load(NAME), load(authors)) and server.requests == []


@pytest.mark.parametrize('status', [401, 404, 500])
def test_refused(server: HubServer, tmp_path: Path, status: int) -> None:
    server.refusal = status
    with pytest.raises(FileNotFoundError, match=rf'{NAME} could not be fetched: .*') as raised:
        load(NAME)
    assert help_in(str(raised.value), tmp_path), raised.value
    server.refusal = None
    load(NAME)


def test_offline(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    with pytest.raises(FileNotFoundError, match='could not be fetched') as raised:
        load(NAME)
    assert help_in(str(raised.value), tmp_path) and server.requests == []


def test_no_server(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = 'http://127.0.0.1:9'  # the port of a service that nobody runs
    monkeypatch.setattr(constants, 'ENDPOINT', nobody)
    template = nobody + '/{repo_id}/resolve/{revision}/{filename}'
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
    with pytest.raises(FileNotFoundError, match='could not be fetched') as raised:
        load(NAME)
    assert help_in(str(raised.value), tmp_path)


def test_an_interrupted_download_breaks_nothing(server: HubServer, authors: list[Path], tmp_path: Path) -> None:
    server.cut = True
    with pytest.raises(FileNotFoundError, match='could not be fetched') as raised:
        load(NAME)
    assert help_in(str(raised.value), tmp_path)
    assert not list((tmp_path / 'cache').rglob('*.safetensors'))
    server.cut = False
    assert same(load(NAME), load(authors))


def test_an_interrupted_conversion_breaks_nothing(
    server: HubServer, authors: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path, content: bytes) -> None:
        with path.open('wb') as file:
            file.write(content[: len(content) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, 'write_bytes', killed)
        with pytest.raises(KeyboardInterrupt):
            load(NAME)
    assert not [path for path in (tmp_path / 'cache').rglob('*') if path.is_file()]
    assert same(load(NAME), load(authors))


def test_without_huggingface_hub(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(FileNotFoundError, match='pip install huggingface_hub') as raised:
        load(NAME)
    assert help_in(str(raised.value), tmp_path) and server.requests == []


def test_unknown_names_list_the_known_ones(server: HubServer) -> None:
    for name, hint in (
        ('official/enhanced-edsr-div2', '; did you mean official/enhanced-edsr-div2k? '),
        ('official/!', '. '),
    ):
        with pytest.raises(ValueError) as raised:
            load(name)
        assert str(raised.value) == f'{name} is no released model{hint}Known are {", ".join(hub.VARIANTS)}'
    assert server.requests == []


def test_gsasr_upscale_takes_the_name(
    server: HubServer,
    authors: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Fetched by the first call, from the cache in the second, and a clear message where neither is possible."""
    monkeypatch.chdir(tmp_path)
    photo = skimage.data.astronaut()[100:112, 200:218]
    Image.fromarray(photo).save('photo.png')

    def call(output: str, name: str = NAME) -> int:
        arguments = ['photo.png', '-o', output, '--scale', '2.5', '--device', 'cpu', '--dtype', 'float32']
        return main(['upscale', *arguments, '--model', name])

    server.refusal = 500
    assert call('large.png') == 2
    told = capsys.readouterr().err
    assert told.startswith(f'gsasr upscale: error: --model: {NAME} could not be fetched') and help_in(told, tmp_path)
    server.refusal = None
    server.requests.clear()
    assert call('large.png') == 0
    assert sum(entry.startswith('GET') for entry in server.requests) == 2
    expected = upscale(photo, scale=2.5, model=load(authors), dtype='float32')
    np.testing.assert_array_equal(Image.open('large.png'), expected)
    server.requests.clear()
    assert call('again.png') == 0 and server.requests == []
    assert Path('again.png').read_bytes() == Path('large.png').read_bytes()
    assert call('other.png', NAME.removesuffix('k')) == 2
    assert f'did you mean {NAME}?' in capsys.readouterr().err and not Path('other.png').exists()


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variables, expected in (
        ({'GSASR_CACHE': '/a', 'XDG_CACHE_HOME': '/b'}, f'/a/{NAME}'),
        ({'GSASR_CACHE': '', 'XDG_CACHE_HOME': '/b'}, f'/b/gsasr/{NAME}'),
        ({'GSASR_CACHE': '', 'XDG_CACHE_HOME': ''}, str(Path.home() / '.cache' / 'gsasr' / NAME)),
    ):
        for key, value in variables.items():
            monkeypatch.setenv(key, value)
        assert hub.folder(NAME) == Path(expected)
