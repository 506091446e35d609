"""Two processes over gloo are one process with twice the batch; none waits for another that is gone."""

from __future__ import annotations

import csv
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.run_options import host_run
from tests.training_runs import (
    checkpoint,
    make_project,
    run_training,
    run_trainings,
    saved_iterations,
    with_discriminator,
    with_pairs,
    write_options,
)


def make_deterministic_project(folder: Path, batch_size: int) -> dict[str, Any]:
    """Without random depth, and with steps as long as the gradient, so that weights show it."""
    options = make_project(folder)
    options['network_g']['encoder_opt']['drop_path_rate'] = 0.0
    options['datasets']['train']['batch_size_per_gpu'] = batch_size
    options['datasets']['val'] = {
        'name': 'held-out',
        'type': 'ArbitraryScalePairedDataset',
        'dataroot_gt': 'gt',
        'scales': [2, 3.5, 4],
    }
    psnr = {'type': 'calculate_psnr', 'crop_border': 'auto'}
    options['val'] = {'val_freq': 2, 'save_img': True, 'compare_bicubic': True, 'metrics': {'psnr': psnr}}
    options['train'] |= {'optim_g': {'type': 'SGD', 'lr': 1.0}, 'grad_clip': 1e-2, 'total_iter': 2, 'warmup_iter': -1}
    options['logger']['save_checkpoint_freq'] = 1
    write_options(options, folder)
    return options


def metrics(folder: Path) -> list[dict[str, str]]:
    with (folder / 'experiments' / 'run' / 'metrics.csv').open(newline='') as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_basicsrs_own_model_trains_in_two_processes_on_cpus(tmp_path: Path) -> None:
    """As in one with twice the batch; there is nothing random in its images. Both validate, save and resume."""
    pairs = {'name': 'pairs', 'type': 'PairedImageDataset', 'dataroot_gt': 'gt', 'dataroot_lq': 'lq'}
    pairs['io_backend'] = {'type': 'disk'}
    for folder, batch_size in ((tmp_path / 'one', 4), (tmp_path / 'two', 2)):
        for name, side in (('gt', 16), ('lq', 8)):
            (folder / name).mkdir(parents=True)
            for number in range(4):
                pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / name / f'{number}.png')
        loader = {'num_worker_per_gpu': 0, 'batch_size_per_gpu': batch_size}
        options = host_run() | {'scale': 2, 'val': {'val_freq': 1, 'save_img': True, 'metrics': None}}
        train = {**pairs, **loader, 'gt_size': 16, 'use_hflip': False, 'use_rot': False}
        options['datasets'] = {'train': train, 'val': dict(pairs)}
        sizes = {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': 2}
        options['network_g'] = {'type': 'EDSR', **sizes}
        # With this eps a step is smooth in the gradient, not its sign.
        options['train'] |= {'total_iter': 2, 'optim_g': {'type': 'Adam', 'lr': 1e-3, 'eps': 0.1}}
        options['logger']['save_checkpoint_freq'] = 1
        write_options(options, folder)
    status, output = run_training(tmp_path / 'one', 'train', '-opt', 'train.yml')
    assert status == 0, output[-3000:]
    statuses, outputs = run_trainings(tmp_path / 'two', 'train', '-opt', 'train.yml')
    assert statuses == [0, 0], outputs
    (expected, _), (found, _) = (checkpoint(tmp_path / name, 2) for name in ('one', 'two'))
    # Rounding of the gradient, of 1 at most, to 1e-7, times the steps' lengths, 1e-3 / 0.1, of weights below 1.
    torch.testing.assert_close(found['params'], expected['params'], rtol=0, atol=1e-7)
    statuses, outputs = run_trainings(
        tmp_path / 'two', 'train', '-opt', 'train.yml', '--auto_resume', '--force_yml', 'train:total_iter=3'
    )
    assert statuses == [0, 0] and 'iter: 2' in outputs[0], outputs
    assert saved_iterations(tmp_path / 'two') == [1, 2, 3]


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_batch(tmp_path: Path) -> None:
    one, two = tmp_path / 'one', tmp_path / 'two'
    make_deterministic_project(one, batch_size=4)
    make_deterministic_project(two, batch_size=2)
    status, output = run_training(one, 'train', '-opt', 'train.yml')
    assert status == 0, output[-3000:]
    statuses, outputs = run_trainings(two, 'train', '-opt', 'train.yml')
    assert statuses == [0, 0], outputs

    # The first step has the length of the gradient, whose norm is clipped to 1e-2: by 1e-6 is asked for.
    for iteration, tolerance in ((1, 1e-6), (2, 2e-6)):
        (expected, expected_state), (found, found_state) = (checkpoint(folder, iteration) for folder in (one, two))
        for key in ('params', 'params_ema'):
            torch.testing.assert_close(found[key], expected[key], rtol=0, atol=tolerance)
        assert found_state['position'] == expected_state['position'] == 4 * iteration
    assert len(found_state['random']) == 2

    # The shares of validation are gathered in order, by the first process.
    assert len(metrics(one)) == 3
    for expected, found in zip(metrics(one), metrics(two), strict=True):
        values = {key: (float(found.pop(key)), float(expected.pop(key))) for key in ('model', 'bicubic')}
        assert found == expected and found['images'] == '3'
        assert values['bicubic'][0] == values['bicubic'][1]
        assert values['model'][0] == pytest.approx(values['model'][1], abs=1e-3)  # dB; 8-bit rounding may differ
    pictures = [
        sorted(path.name for path in (folder / 'experiments' / 'run' / 'visualization').rglob('*.png'))
        for folder in (one, two)
    ]
    assert pictures[0] == pictures[1] and len(pictures[0]) == 9
    # One log, one experiment.
    assert [path.name for path in (two / 'experiments').iterdir()] == ['run']
    assert len(list((two / 'experiments' / 'run').glob('*.log'))) == 1 and 'iter:' not in outputs[1]

    # Asked to stop, one or both, they stop after the same step.
    log = two / 'output.txt'
    more = ['train', '-opt', 'train.yml', '--auto_resume', '--force_yml', 'train:total_iter=100000', 'val:val_freq=1e6']
    statuses, outputs = run_trainings(
        two, *more, until=lambda: 'iter:       4' in log.read_text(), signal_numbers=(0, signal.SIGTERM)
    )
    assert statuses == [143, 143], outputs
    reached = saved_iterations(two)[-1]
    assert f'stopped by SIGTERM: saved at iteration {reached}' in outputs[0] and 'Traceback' not in ''.join(outputs)

    # One is gone: the other notices, and its checkpoints are sound.
    statuses, outputs = run_trainings(
        two,
        *more,
        until=lambda: f'iter:{reached + 3:8d}' in log.read_text(),
        signal_numbers=(0, signal.SIGKILL),
    )
    assert statuses == [1, -signal.SIGKILL], outputs
    checkpoint(two, saved_iterations(two)[-1])


@pytest.mark.slow
def test_two_processes_train_both_networks_as_one(tmp_path: Path) -> None:
    """On pairs among images whose LR is made."""
    for name, batch_size in (('one', 4), ('two', 2)):
        options = with_discriminator(make_deterministic_project(tmp_path / name, batch_size))
        with_pairs(options, tmp_path / name)
        del options['val'], options['datasets']['val']
        options['train'] |= {'optim_d': {'type': 'SGD', 'lr': 1.0}, 'net_d_iters': 1, 'total_iter': 2}
        write_options(options, tmp_path / name)
    status, output = run_training(tmp_path / 'one', 'train', '-opt', 'train.yml')
    assert status == 0, output[-3000:]
    statuses, outputs = run_trainings(tmp_path / 'two', 'train', '-opt', 'train.yml')
    assert statuses == [0, 0], outputs
    for iteration, tolerance in ((1, 1e-6), (2, 2e-6)):  # of steps of the length 1e-2
        for label in ('g', 'd'):
            expected, found = (
                torch.load(tmp_path / name / f'experiments/run/models/net_{label}_{iteration}.pth', weights_only=True)
                for name in ('one', 'two')
            )
            torch.testing.assert_close(found['params'], expected['params'], rtol=0, atol=tolerance)


@pytest.mark.slow
def test_two_processes_test_as_one(tmp_path: Path) -> None:
    one, two = tmp_path / 'one', tmp_path / 'two'
    for folder in (one, two):
        options = make_deterministic_project(folder, batch_size=1)
        gt = options['datasets']['val']
        options['datasets'] = {'test_1': {**gt, 'name': 'first'}, 'test_2': {**gt, 'name': 'second', 'scales': [2]}}
        del options['train'], options['logger'], options['val']['val_freq']
        write_options(options, folder)
    test = ['test', '-opt', 'train.yml']
    again = [*test, '--auto_resume']
    status, output = run_training(one, *test)
    assert status == 0, output[-3000:]
    statuses, outputs = run_trainings(two, *test)
    assert statuses == [0, 0], outputs

    def files(folder: Path) -> dict[str, bytes]:
        left = (folder / 'results' / 'run').rglob('*.*')
        kinds = ('.csv', '.md', '.json', '.png')
        return {str(path.relative_to(folder)): path.read_bytes() for path in left if path.suffix in kinds}

    expected = files(one)
    assert len(expected) == 4 + 9 + 3 and files(two) == expected
    results = two / 'results' / 'run'
    assert len(list(results.glob('*.log'))) == 1 and 'Testing' not in outputs[1]

    # Killed on the way: what either had done is known to those that go on, two or one.
    values = [results / 'values.jsonl', results / 'values.jsonl.1']
    assert [len(path.read_text().splitlines()) for path in values] == [5 + 2, 4 + 1]
    for count in (2, 1):
        lines = [line for path in values if path.exists() for line in path.read_text().splitlines()]
        values[0].write_text(''.join(f'{line}\n' for line in lines[:4]) + lines[4][:20])
        values[1].write_text(f'{lines[-1]}\n')
        (results / 'metrics.csv').unlink()
        output = run_training(two, *again)[1] if count == 1 else run_trainings(two, *again)[1][0]
        assert 'first: 4 images are known from an earlier run' in output
        assert 'second: 1 images are known from an earlier run' in output
        assert files(two) == expected


@pytest.mark.slow
def test_both_stop_at_what_one_finds_in_the_images(tmp_path: Path) -> None:
    options = make_deterministic_project(tmp_path, batch_size=1)
    options['datasets']['train']['check_images'] = True
    write_options(options, tmp_path)
    image = tmp_path / 'gt' / '1.png'
    image.write_bytes(image.read_bytes()[:-100])
    statuses, outputs = run_trainings(tmp_path, 'train', '-opt', 'train.yml')
    message = 'basicsr: error: data set noise: gt/1.png: cannot be decoded'
    assert statuses == [1, 1] and all(message in output for output in outputs), outputs


@pytest.mark.slow
def test_a_batch_that_is_bad_in_one_process_is_left_out_in_both(tmp_path: Path) -> None:
    options = make_deterministic_project(tmp_path, batch_size=1)
    options['train'] |= {'max_bad_steps': 1, 'optim_g': {'type': 'SGD', 'lr': 1e38}, 'total_iter': 50}
    del options['train']['grad_clip'], options['val'], options['datasets']['val']
    write_options(options, tmp_path)
    statuses, outputs = run_trainings(tmp_path, 'train', '-opt', 'train.yml')
    assert statuses == [1, 1], outputs
    assert 'basicsr: error: train.max_bad_steps: the loss or gradient of 1 steps was not finite' in outputs[0]
    assert 'Traceback' not in ''.join(outputs) and (tmp_path / 'experiments' / 'run' / 'bad_steps').is_dir()
