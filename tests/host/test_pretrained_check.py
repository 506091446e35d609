"""The check of `path.pretrain_network_g` before a run: files, folders, pairs and names, and what they describe."""

from __future__ import annotations

import copy
import csv
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs.edsr_arch import EDSR
from basicsr.metrics import calculate_psnr

from gsasr_plugin import cli
from gsasr_plugin.checkpoints import kept_models, state_file
from gsasr_plugin.checkpoints.loading import load
from gsasr_plugin.checkpoints.model_file import describe, save_model
from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.host.option_check import OptionError, OptionFile, read_option_file
from gsasr_plugin.host.option_check.checker import check_options
from gsasr_plugin.models.gsasr_model import GSASRModel
from tests.checkpoints.official.hub_server import write_small_model
from tests.checkpoints.official.test_sources import Payload
from tests.host.conftest import write_options

Options = dict[str, Any]


def check(options: Options, source: Any, *, is_train: bool = True, **path: Any) -> tuple[OptionFile, list[str]]:
    """The file after the check, and the messages: warnings or errors."""
    options = copy.deepcopy(options)
    options['path'] |= {'pretrain_network_g': source, **path}
    file = read_option_file(str(write_options(options, Path('options.yml'))))
    try:
        problems = check_options(file, is_train=is_train)
    except OptionError as error:
        problems = error.problems
    return file, [problem.message('options.yml') for problem in problems]


@pytest.fixture
def fine_tuning(project: Path, gsasr_options: Options) -> Options:
    """Options that fine-tune the model of the authors in the folder `authors`, given in full."""
    write_small_model(project / 'authors')
    return {**gsasr_options, 'network_g': {'type': 'GSASR', **load('authors').options}}


SOURCES: list[Any] = [
    'authors',
    ['authors/encoder.pth', 'authors/decoder.pth'],
    'model.safetensors',
    'model.pth',
    'official/paper-edsr',
]


@pytest.mark.parametrize('source', SOURCES, ids=str)
def test_every_source_passes_and_gives_its_options(
    project: Path, fine_tuning: Options, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('GSASR_CACHE', str(project / 'cache'))
    if source == 'official/paper-edsr':
        write_small_model(project / 'cache' / source)
    elif isinstance(source, str) and source.startswith('model'):
        save_model(load('authors'), source)
    file, messages = check(fine_tuning, source)
    assert messages == []

    short = {**fine_tuning, 'network_g': {'type': 'GSASR', 'from_pretrained': True, 'support': 6}}
    file, messages = check(short, source)
    assert messages == []
    assert file.options['network_g'] == {**fine_tuning['network_g'], 'support': 6}


def test_other_options_are_listed_with_their_line(project: Path, fine_tuning: Options) -> None:
    fine_tuning['network_g'] |= {'sigma_max': 0.5, 'raster_ratio': 0.1}
    _, (message,) = check(fine_tuning, 'authors')
    assert message.startswith('options.yml:') and 'error: path.pretrain_network_g: authors/encoder.pth and' in message
    assert '\n  sigma_max: 0.5 in network_g, 0.83' in message and 'raster_ratio' not in message
    _, (message,) = check(fine_tuning, 'authors', strict_load_g=False)
    assert 'warning: path.pretrain_network_g' in message and 'sigma_max' in message


def test_what_cannot_be_loaded_is_an_error(project: Path, fine_tuning: Options) -> None:
    torch.save({'params': Payload(project / 'ran')}, 'evil.pth')
    (project / 'empty').mkdir()
    for source, expected in (
        ('none.pth', "there is no file 'none.pth' (looked from"),
        (['authors/encoder.pth', 'none.pth'], "there is no file 'none.pth' (looked from"),
        (['authors/encoder.pth'], 'accepted: a path, or a list of two: encoder and decoder'),
        ('empty', 'encoder.pth: there is no such file'),
        ('authors/decoder.pth', 'give both'),
        ('evil.pth', 'evil.pth is refused'),
        ('official/paper-edrs', 'did you mean official/paper-edsr?'),
    ):
        _, messages = check(fine_tuning, source)
        assert any('error: path.pretrain_network_g' in text and expected in text for text in messages), messages
    assert not (project / 'ran').exists()


def test_options_that_cannot_be_had_are_an_error(project: Path, fine_tuning: Options) -> None:
    torch.save({'params': load('authors').state_dict()}, 'x.pth')  # as the host saves
    for source, wanted, expected in (
        (None, True, 'network_g.from_pretrained: true, but path.pretrain_network_g is missing'),
        ('x.pth', True, 'network_g.from_pretrained: true, but x.pth [params] does not describe its network'),
        ('none.pth', True, "path.pretrain_network_g: there is no file 'none.pth'"),
        ('authors', 'yes', "network_g.from_pretrained: given 'yes'"),
    ):
        _, (message,) = check({**fine_tuning, 'network_g': {'type': 'GSASR', 'from_pretrained': wanted}}, source)
        assert expected in message
    file, messages = check({**fine_tuning, 'network_g': {**fine_tuning['network_g'], 'from_pretrained': False}}, None)
    assert messages == [] and file.options['network_g'] == fine_tuning['network_g']


def test_weights_under_a_key_of_their_own(project: Path, fine_tuning: Options) -> None:
    torch.save({'weights': load('authors').state_dict()}, 'x.pth')
    assert check(fine_tuning, 'x.pth', param_key_g='weights')[1] == []
    _, (message,) = check(fine_tuning, 'x.pth')
    assert 'error: path.param_key_g: params, but x.pth holds its weights under weights only' in message


def tampered(state: dict[str, Any], fault: str) -> dict[str, Any]:
    """A state dict with one fault, in its third tensor of weights."""
    state = dict(state)
    key = third_weight(state)
    if fault == 'missing':
        del state[key]
    elif fault == 'size':
        state[key] = state[key][:-1].clone()
    elif fault in ('nan', 'inf'):
        state[key] = state[key].clone()
        state[key].view(-1)[5] = float(fault)
    elif fault == 'extra':
        state['head.weight'] = torch.zeros(1)
    return state


def third_weight(state: dict[str, Any]) -> str:
    return [key for key in state if key.endswith('.weight')][2]


UNFIT = {
    'missing': r'does not fit the network:\n  lacks: {key}$',
    'extra': r'does not fit the network:\n  has what the network has not: head\.weight$',
    'size': r'does not fit the network:\n  is of another size in: {key} \({less}, .*\) \(in the network \({rows}, ',
    'nan': r'is refused: NaN or infinity in {key} \(1 of \d+ numbers\)$',
    'inf': r'is refused: NaN or infinity in {key} \(1 of \d+ numbers\)$',
}


@pytest.mark.parametrize('described', [True, False])
@pytest.mark.parametrize('fault', UNFIT)
def test_weights_that_do_not_fit_name_the_tensor(
    project: Path, fine_tuning: Options, fault: str, described: bool
) -> None:
    """And no other, whether the file describes itself or not; without `strict_load_g`, numbers must still be some."""
    net = load('authors')
    state = net.state_dict()
    key, rows = third_weight(state), len(state[third_weight(state)])
    torch.save({'params': tampered(state, fault)} | ({'gsasr': describe(net)} if described else {}), 'x.pth')
    expected = r'x\.pth \[params\] ' + UNFIT[fault].format(key=re.escape(key), rows=rows, less=rows - 1)
    _, (message,) = check(fine_tuning, 'x.pth')
    assert re.search('error: path.pretrain_network_g: ' + expected, message), message
    with pytest.raises(ValueError, match=expected):
        load('x.pth', fine_tuning['network_g'])
    loose = check(fine_tuning, 'x.pth', strict_load_g=False)[1]
    assert 'is refused' in loose[0] if fault in ('nan', 'inf') else loose == []


def test_weights_under_the_average_only(project: Path, fine_tuning: Options) -> None:
    torch.save({'params_ema': load('authors').state_dict()}, 'x.pth')
    _, (message,) = check(fine_tuning, 'x.pth')
    assert 'error: path.param_key_g: params, but x.pth holds its weights under params_ema only' in message
    assert 'accepted: params_ema' in message
    assert check(fine_tuning, 'x.pth', param_key_g='params_ema')[1] == []


def test_an_average_that_is_not_finite(project: Path, fine_tuning: Options) -> None:
    """It would be found in the network that keeps the average of the training."""
    state = load('authors').state_dict()
    torch.save({'params': state, 'params_ema': tampered(state, 'nan')}, 'x.pth')
    assert check(fine_tuning, 'x.pth')[1] == []
    fine_tuning['train']['ema_decay'] = 0.9
    _, (message,) = check(fine_tuning, 'x.pth')
    assert 'x.pth [params_ema] is refused: NaN' in message


@pytest.mark.parametrize('fault', ['none', 'missing', 'extra', 'size', 'nan', 'ema', 'bare'])
def test_weights_of_other_networks_are_checked_too(project: Path, edsr_options: Options, fault: str) -> None:
    arguments = {key: value for key, value in edsr_options['network_g'].items() if key != 'type'}
    state = EDSR(**arguments).state_dict()
    held, rows = tampered(state, fault), len(state[third_weight(state)])
    torch.save({'ema': {'params_ema': held}, 'bare': held}.get(fault, {'params': held}), 'x.pth')
    messages = check(edsr_options, 'x.pth')[1]
    moved = {
        'ema': ('under params_ema only', 'params_ema'),
        'bare': ('at the top', None),
    }
    if fault == 'none':
        assert messages == []
    elif fault in moved:
        place, param_key = moved[fault]
        assert f'error: path.param_key_g: params, but x.pth holds its weights {place}' in messages[0]
        assert check(edsr_options, 'x.pth', param_key_g=param_key)[1] == []
    else:
        expected = UNFIT[fault].format(key=re.escape(third_weight(state)), rows=rows, less=rows - 1)
        assert re.search(r'path.pretrain_network_g: x\.pth \[params\] ' + expected, messages[0]), messages


def test_other_networks_are_loaded_from_one_file(project: Path, edsr_options: Options) -> None:
    write_small_model(project / 'authors')
    for source in ('authors', 'official/paper-edsr', ['authors/encoder.pth', 'authors/decoder.pth']):
        _, (message,) = check(edsr_options, source)
        assert 'error: path.pretrain_network_g' in message


def test_the_released_weights_are_tested_with_few_lines(project: Path, fine_tuning: Options) -> None:
    """Through the host's pipeline, from the two files."""
    options = {
        'name': 'released',
        'model_type': 'GSASRModel',
        'num_gpu': 0,
        'datasets': {'test_1': fine_tuning['datasets']['val']},
        'network_g': {'type': 'GSASR', 'from_pretrained': True},
        'path': {'pretrain_network_g': ['authors/encoder.pth', 'authors/decoder.pth']},
        'val': {'save_img': True},
    }
    assert cli.main(['test', '-opt', str(write_options(options, project / 'test.yml'))]) == 0
    image = cv2.imread('results/released/visualization/held-out/0_x2_released.png')
    lq = torch.from_numpy(make_lq(cv2.imread('gt/0.png')))
    with torch.inference_mode():
        sr = load('authors')(lq, size=(32, 32))[0].flip(0).permute(1, 2, 0)
    assert np.abs(image - sr.clamp(0, 1).numpy() * 255).max() <= 0.51  # rounded to 8 bits


def test_a_run_reads_its_weights_once(
    project: Path, fine_tuning: Options, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """For the options, for their comparison, for the network and for its average."""
    reads: list[str] = []
    read = state_file.read_file
    monkeypatch.setattr(state_file, 'read_file', lambda path: reads.append(str(path)) or read(path))
    kept: list[Any] = []
    feed = GSASRModel.feed_data
    monkeypatch.setattr(GSASRModel, 'feed_data', lambda *given: kept.append(kept_models._kept) or feed(*given))
    options = {**fine_tuning, 'network_g': {'type': 'GSASR', 'from_pretrained': True}}
    options['path'] |= {'pretrain_network_g': ['authors/encoder.pth', 'authors/decoder.pth']}
    options['train'] |= {'total_iter': 1, 'ema_decay': 0.5}
    assert cli.main(['train', '-opt', str(write_options(options, project / 'train.yml'))]) == 0
    assert reads == ['authors/encoder.pth', 'authors/decoder.pth']
    assert kept and not any(kept)  # the memory is free while the run works


@pytest.mark.slow
def test_a_fine_tuning_begins_with_the_value_before_the_first_step(project: Path, fine_tuning: Options) -> None:
    """Of the weights that it starts from; a resumed run does not repeat it, one from scratch has none."""
    fine_tuning['train']['total_iter'] = 2
    fine_tuning['val']['val_freq'] = 2
    fine_tuning['logger']['save_checkpoint_freq'] = 2
    fine_tuning['datasets']['val']['scales'] = [2]
    for name, source, resumed in (('tuned', 'authors', False), ('tuned', 'authors', True), ('new', None, False)):
        fine_tuning['name'] = name
        fine_tuning['path']['pretrain_network_g'] = source
        total_iter = ['--force_yml', 'train:total_iter=4', '--auto_resume'] if resumed else []
        assert cli.main(['train', '-opt', str(write_options(fine_tuning, project / 'o.yml')), *total_iter]) == 0
    rows = {
        name: list(csv.DictReader(Path(f'experiments/{name}/metrics.csv').read_text().splitlines()))
        for name in ('tuned', 'new')
    }
    assert [row['iteration'] for row in rows['tuned']] == ['0', '2', '4']
    assert [row['iteration'] for row in rows['new']] == ['2']
    net, values = load('authors'), []
    for index in range(4):
        gt = cv2.imread(f'gt/{index}.png')
        with torch.inference_mode():
            sr = net(torch.from_numpy(make_lq(gt)), size=(32, 32))[0].flip(0).permute(1, 2, 0)
        sr = np.rint(sr.clamp(0, 1).numpy() * 255)
        values.append(calculate_psnr(sr, gt, crop_border=2, test_y_channel=True))
    assert float(rows['tuned'][0]['model']) == pytest.approx(np.mean(values), abs=1e-3)


def make_lq(gt: np.ndarray) -> np.ndarray:
    """BGR H x W x 3, 8 bits -> the LR image of x2 as the data set makes it, RGB 1 x 3 x H/2 x W/2 in 0..1."""
    lq = resize_bicubic(gt / np.float32(255), (16, 16))
    lq = (lq * 255).round().clip(0, 255) / 255
    return np.ascontiguousarray(lq[..., ::-1].transpose(2, 0, 1)[None], dtype=np.float32)
