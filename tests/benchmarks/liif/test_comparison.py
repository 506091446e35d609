"""Trainings of the rival by an option file, and the tables of networks beside each other."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.models.validation.image_values import ImageValues
from gsasr_plugin.stop_signals import Stopped
from tests.benchmarks.liif import comparison, cost, sources, training
from tests.benchmarks.liif.network import LIIF
from tests.benchmarks.liif.training import AVERAGED, CURVE, RAW, STATE, Budget, Training, learning_rates, trained

SCALES = ['2', '3']


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    """Of a tiny training: two images, of 48 x 48, as training and validation set."""
    (tmp_path / 'gt').mkdir()
    rng = np.random.default_rng(0)
    for name in 'ab':
        coarse = rng.random((6, 6, 3))
        image = (resize_bicubic(coarse, (48, 48)).clip(0, 1) * 255).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / 'gt' / f'{name}.png')
    data = {'name': 'tiny', 'dataroot_gt': str(tmp_path / 'gt')}
    return {
        'manual_seed': 3,
        'datasets': {
            'train': {**data, 'lq_size': 8, 'scale_range': [1, 4], 'batch_size_per_gpu': 2, 'dataset_enlarge_ratio': 3},
            'val': {**data, 'scales': [2, 3]},
        },
        'network_g': {
            'type': 'GSASR',
            'encoder_opt': {'type': 'EDSR', 'num_feat': 4, 'num_block': 1},
            **{'embed_dim': 8, 'num_heads': 2, 'window_size': 4, 'gaussian_density': 1, 'num_interaction_blocks': 0},
        },
        'train': {
            'ema_decay': 0.5,
            'optim_g': {'type': 'Adam', 'lr': 0.01, 'betas': [0.9, 0.99]},
            'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [100], 'eta_min': 0.001},
            'total_iter': 100,
            'warmup_iter': 3,
            'grad_clip': 1.0,
            'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
        },
        'val': {'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 'auto', 'test_y_channel': True}}},
    }


def begun(options: dict[str, Any], folder: Path, *, name: str = 'liif-skip', **length: Any) -> Training:
    return Training(options, name=name, budget=Budget(**(length or {'iterations': 8})), queries=20, folder=folder)


def weights(folder: Path, key: str = RAW) -> dict[str, torch.Tensor]:
    return torch.load(folder / STATE, weights_only=True)[key]


@pytest.mark.slow
@pytest.mark.parametrize('name', training.NETWORKS)
def test_training(options: dict[str, Any], tmp_path: Path, name: str) -> None:
    """Each network learns, is validated at the end, and is read back with the better weights."""
    run = begun(options, tmp_path / 'out', name=name)
    before = run.net.state_dict()['encoder.net.conv_first.weight'].clone()
    run.run(5)
    assert run.iteration == 8
    lines = (tmp_path / 'out' / CURVE).read_text().splitlines()
    validations = [line.split(',') for line in lines[1:]]
    assert [(row[0], row[2]) for row in validations] == [
        (str(iteration), f'{key} x{scale}') for iteration in (5, 8) for key in (RAW, AVERAGED) for scale in SCALES
    ]
    state = torch.load(tmp_path / 'out' / STATE, weights_only=True)
    last = {what: float(value) for _, _, what, value in validations[4:]}
    better = last[f'{RAW} x2'] + last[f'{RAW} x3'] > last[f'{AVERAGED} x2'] + last[f'{AVERAGED} x3']
    assert state['best'] == (RAW if better else AVERAGED)
    net, how = trained(tmp_path / 'out')
    assert how.startswith('8 iterations, 0.0 minutes')
    assert not net.training and isinstance(net, LIIF) == (name != 'ours')
    assert getattr(net, 'skip', None) == {'liif': False, 'liif-skip': True, 'ours': None}[name]
    after = net.state_dict()['encoder.net.conv_first.weight']
    assert torch.equal(after, state[state['best']]['encoder.net.conv_first.weight'])
    assert not torch.equal(after, before)


@pytest.mark.slow
def test_a_stopped_training_goes_on(options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it had not been stopped, to the last bit: weights, averages, order of the images, pixels drawn."""
    begun(options, tmp_path / 'whole').run(100)
    run = begun(options, tmp_path / 'parts')
    monkeypatch.setattr(training.stop_signals, 'requested', lambda: 15 if run.iteration == 5 else None)
    with pytest.raises(Stopped, match='saved at iteration 5'):
        run.run(100)
    monkeypatch.undo()
    again = begun(options, tmp_path / 'parts')
    assert again.iteration == 5 and again.seconds == run.seconds
    again.run(100)
    for key in (RAW, AVERAGED):
        for one, other in zip(weights(tmp_path / 'whole', key).values(), weights(tmp_path / 'parts', key).values()):
            assert torch.equal(one, other)


def test_a_folder_is_of_one_training(options: dict[str, Any], tmp_path: Path) -> None:
    begun(options, tmp_path / 'out', iterations=1).run(100)
    with pytest.raises(ValueError, match='other settings: network'):
        begun(options, tmp_path / 'out', name='liif')
    options['train']['grad_clip'] = 2.0
    with pytest.raises(ValueError, match='other settings: train'):
        begun(options, tmp_path / 'out')


def test_other_losses_are_refused_for_ours(options: dict[str, Any], tmp_path: Path) -> None:
    options['train']['perceptual_opt'] = {'type': 'PerceptualLoss'}
    with pytest.raises(ValueError, match='perceptual_opt'):
        begun(options, tmp_path, name='ours')
    begun(options, tmp_path, name='liif')


def test_schedule(options: dict[str, Any], tmp_path: Path) -> None:
    """The file's cosine over 100 iterations, stretched to a budget of 10 minutes, after its warm-up of 3."""
    rates = learning_rates(options['train'])
    cosine = [0.001 + 0.009 * (1 + math.cos(math.pi * i / 100)) / 2 for i in range(100)]
    assert rates == pytest.approx(cosine, rel=1e-12)
    run = begun(options, tmp_path, minutes=10)
    assert run.rate() == pytest.approx(0.01 / 3)
    run.iteration = 1
    assert run.rate() == pytest.approx(0.02 / 3)
    run.iteration, run.seconds = 1000, 300
    assert run.rate() == pytest.approx(cosine[50])
    run.seconds = 599.9
    assert run.rate() == pytest.approx(cosine[99])
    assert run.budget.used(1000, 300) == 0.5 and run.budget.used(1000, 601) == 1


def test_lengths_are_positive() -> None:
    for wrong in ({}, {'minutes': 0.0}, {'minutes': -1.0}, {'iterations': 0}):
        with pytest.raises(ValueError, match='must be positive'):
            Budget(**wrong)


@pytest.mark.slow
def test_tables(options: dict[str, Any], tmp_path: Path) -> None:
    """PSNR is that of scikit-image on Y, of both networks, and the gains are means of differences to bicubic."""
    begun(options, tmp_path / 'one', name='liif-skip').run(100)
    begun(options, tmp_path / 'two', name='ours').run(100)
    options['datasets'] = {'test_1': options['datasets']['val']}
    folder = tmp_path / 'tables'
    text = comparison.compare_quality(options, [str(tmp_path / 'one'), str(tmp_path / 'two')], folder)
    assert text == (folder / 'quality.md').read_text()
    rows = [line.split(',') for line in (folder / 'quality.csv').read_text().splitlines()[1:]]
    values = {(network, image, scale): float(value) for network, image, scale, value in rows}
    assert set(values) == {(n, i, s) for n in ('one', 'two', 'bicubic') for i in 'ab' for s in SCALES}

    gt = np.asarray(Image.open(tmp_path / 'gt' / 'a.png')) / 255
    lq = np.rint(resize_bicubic(gt.astype(np.float32), (16, 16)).clip(0, 1) * 255) / 255
    with torch.no_grad():
        net, _ = trained(tmp_path / 'one')
        sr = net(torch.from_numpy(lq).permute(2, 0, 1)[None].float(), scale=3)[0].permute(1, 2, 0).numpy()
    for name, result in {'one': sr, 'bicubic': resize_bicubic(lq, (48, 48))}.items():
        shown = np.rint(result.clip(0, 1) * 255) / 255
        y, y_gt = ((image @ [65.481, 128.553, 24.966] + 16)[3:-3, 3:-3] for image in (shown, gt))
        # A rounding of sr that falls on the other side changes PSNR by less than 0.01 dB.
        assert values[name, 'a', '3'] == pytest.approx(peak_signal_noise_ratio(y_gt, y, data_range=255), abs=0.01)
    gain = sum(values['two', image, '2'] - values['bicubic', image, '2'] for image in 'ab') / 2
    assert '\n* two: ' in text and ' parameters, 8 iterations, 0.0 minutes' in text
    assert f'| two, 2 (all) | {gain:+.2f} |' in text


def test_everyday_photographs() -> None:
    """The mean of them leaves out the two that are named."""
    table: comparison.Table = {}
    for image, gain in {'coffee': 1.0, 'retina': 5.0, 'hubble_deep_field': 3.0}.items():
        comparison.enter(table, 'net', [ImageValues('set', '2', image, '', {'psnr': 30 + gain}, {'psnr': 30.0})])
    text = comparison.markdown(table)
    assert '| coffee | 31.00 / 30.00 |' in text
    assert '| net, 3 (all) | +3.00 |' in text and '| net, 1 (everyday) | +1.00 |' in text


def test_names_of_networks(tmp_path: Path) -> None:
    (tmp_path / 'liif').mkdir()
    named = sources.names_of([str(tmp_path / 'liif'), 'gsasr-small', 'some/net_g.pth'])
    assert named == {'liif': str(tmp_path / 'liif'), 'gsasr-small': 'gsasr-small', 'net_g': 'some/net_g.pth'}
    for wrong in (['gsasr-small', 'gsasr-small'], ['bicubic']):
        with pytest.raises(ValueError, match='names of their own'):
            sources.names_of(wrong)


def test_cost(options: dict[str, Any], tmp_path: Path) -> None:
    begun(options, tmp_path / 'net', iterations=1).run(100)
    parameters = sum(tensor.numel() for tensor in weights(tmp_path / 'net').values())
    for source, count in {'bicubic': 0, str(tmp_path / 'net'): parameters}.items():
        found = cost.measure(source, 'float32', cost.PHOTOGRAPH, 24, 2.5, 1)
        assert found['seconds'] > 0 and found['bytes'] >= 0 and found['parameters'] == count
