"""The main job in processes of its own: train on an LMDB, be killed, go on, test LMDB pairs at three scales."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
import torch
import yaml
from basicsr.utils.lmdb_util import make_lmdb_from_imgs

from gsasr_plugin.data.bicubic import resize_bicubic
from tests.forked import ENVIRONMENT, TIMEOUT_S
from tests.run_options import gsasr_run
from tests.training_runs import run_training, run_trainings

SCALES = {2.0: (48, 48), 3.0: (32, 32), 3.7: (26, 26)}  # of 96 x 96 pixels, 3.7 cropped to round(26 * 3.7) = 96


def write_images(folder: Path, images: dict[str, np.ndarray]) -> None:
    """As PNG files in `folder`, and as the LMDB `folder`.lmdb, made by the host."""
    folder.mkdir(parents=True)
    for name, image in images.items():
        cv2.imwrite(str(folder / f'{name}.png'), image)
    names = sorted(images)
    make_lmdb_from_imgs(str(folder), f'{folder}.lmdb', [f'{name}.png' for name in names], names)


def make_project(folder: Path) -> dict[str, Any]:
    """GT and LR databases in `folder`, and options that train on them."""
    photo = skimage.data.astronaut()[..., ::-1]  # BGR
    gt = {f'crop{i}': np.ascontiguousarray(photo[96 * i : 96 * (i + 1), 150:246]) for i in range(3)}
    write_images(folder / 'gt', gt)
    for scale, size in SCALES.items():
        small = {n: resize_bicubic(image / np.float32(255), size) for n, image in gt.items()}
        write_images(folder / f'x{scale:g}', {n: np.uint8((x * 255).round().clip(0, 255)) for n, x in small.items()})
    options = gsasr_run({'type': 'RDN', 'num_feat': 8, 'num_block': 2, 'num_layer': 2, 'num_grow_ch': 4})
    options['num_gpu'] = 'auto'
    options['datasets']['train'] |= {'dataroot_gt': 'gt.lmdb', 'io_backend': {'type': 'lmdb'}, 'lq_size': 12}
    options['datasets']['train'] |= {'num_worker_per_gpu': 1, 'dataset_enlarge_ratio': 100}
    options['network_g'] |= {'embed_dim': 16, 'gaussian_density': 4}
    options['train'] |= {'ema_decay': 0.9, 'total_iter': 100000}
    options['logger'] |= {'print_freq': 5, 'save_checkpoint_freq': 5, 'use_tb_logger': True}
    return options


def newest_state(folder: Path) -> int:
    return max((int(state.stem) for state in folder.glob('experiments/run/training_states/[0-9]*.state')), default=0)


@pytest.mark.slow
def test_train_kill_resume_test(tmp_path: Path) -> None:
    options = make_project(tmp_path)
    (tmp_path / 'train.yml').write_text(yaml.safe_dump(options))

    process = subprocess.Popen(
        [sys.executable, '-m', 'gsasr_plugin', 'train', '-opt', 'train.yml'],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + TIMEOUT_S
        while newest_state(tmp_path) < 5 and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # workers too
        process.wait()
    reached = newest_state(tmp_path)
    assert reached >= 5
    assert (tmp_path / 'experiments' / 'run' / 'models' / f'net_g_{reached}.pth').exists()

    last = reached + 7
    status, resumed = run_training(
        tmp_path, 'train', '-opt', 'train.yml', '--auto_resume', '--force_yml', f'train:total_iter={last}'
    )
    assert status == 0 and f'iter: {reached}.' in resumed, resumed[-2000:]
    assert newest_state(tmp_path) == last  # saved at the end, though not due
    weights = torch.load(tmp_path / 'experiments' / 'run' / 'models' / 'net_g_latest.pth', weights_only=True)
    assert set(weights) == {'params', 'params_ema', 'gsasr'}

    testing = {key: options[key] for key in ('name', 'model_type', 'num_gpu', 'manual_seed', 'network_g')}
    testing['datasets'] = {
        'test_1': {
            'name': 'pairs',
            'type': 'ArbitraryScalePairedDataset',
            'dataroot_gt': 'gt.lmdb',
            'dataroot_lq': {scale: f'x{scale:g}.lmdb' for scale in SCALES},
            'io_backend': {'type': 'lmdb'},
        }
    }
    testing['path'] = {
        'pretrain_network_g': 'experiments/run/models/net_g_latest.pth',
        'param_key_g': 'params_ema',
        'strict_load_g': True,
    }
    metric = {'crop_border': 'auto', 'test_y_channel': True}
    testing['val'] = {
        'save_img': True,
        'metrics': {'psnr': {'type': 'calculate_psnr', **metric}, 'ssim': {'type': 'calculate_ssim', **metric}},
    }
    (tmp_path / 'test.yml').write_text(yaml.safe_dump(testing))
    status, tested = run_training(tmp_path, 'test', '-opt', 'test.yml')
    assert status == 0, tested[-2000:]
    results = tmp_path / 'results' / 'run'
    with (results / 'metrics.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [(row['scale'], row['metric'], row['images']) for row in rows] == [
        (f'{scale:g}', metric, '3') for scale in SCALES for metric in ('psnr', 'ssim')
    ]
    assert all(0 < float(row['model']) < 60 for row in rows)
    table = (results / 'metrics.md').read_text()
    assert '### pairs, 3 images' in table and '| x3.7 | psnr |' in table
    image = cv2.imread(str(results / 'visualization' / 'pairs' / 'crop0_x3.7_run.png'))
    assert image.shape == (96, 96, 3)


# As Python starts worker processes on macOS, and from 3.14 on.
STARTED_BY = """
import multiprocessing, sys
from gsasr_plugin import cli

if __name__ == '__main__':
    multiprocessing.set_start_method(sys.argv.pop(1))
    sys.exit(cli.main())
"""


@pytest.mark.slow
def test_workers_that_start_from_nothing(tmp_path: Path) -> None:
    """They train the same network, however they start, as none do."""
    options = make_project(tmp_path)
    options['train']['total_iter'] = 2
    (tmp_path / 'train.yml').write_text(yaml.safe_dump(options))
    (tmp_path / 'start.py').write_text(STARTED_BY)
    weights = []
    for method, workers in (('spawn', 1), ('forkserver', 1), ('fork', 0)):
        changes = [f'name={method}', f'datasets:train:num_worker_per_gpu={workers}']
        command = [sys.executable, 'start.py', method, 'train', '-opt', 'train.yml', '--force_yml', *changes]
        done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=TIMEOUT_S)
        assert done.returncode == 0, done.stderr[-2000:]
        weights.append(torch.load(tmp_path / 'experiments' / method / 'models' / 'net_g_latest.pth')['params'])
    for found in weights[:2]:
        torch.testing.assert_close(found, weights[2], rtol=0, atol=0)


@pytest.mark.slow
def test_two_processes_train_validate_and_resume(tmp_path: Path) -> None:
    """Over gloo, without averaged weights: rank 0 validates alone while the other goes on to its next step."""
    options = make_project(tmp_path)
    options['datasets']['train']['num_worker_per_gpu'] = 0
    options['datasets']['val'] = {
        'name': 'held-out',
        'type': 'ArbitraryScalePairedDataset',
        'dataroot_gt': 'gt',
        'scales': [4, 2.5],
    }
    options['train'] |= {'ema_decay': 0, 'total_iter': 4}
    psnr = {'type': 'calculate_psnr', 'crop_border': 'auto', 'test_y_channel': True}
    options['val'] = {'val_freq': 2, 'save_img': False, 'metrics': {'psnr': psnr}}
    options['logger'] |= {'save_checkpoint_freq': 2, 'print_freq': 1}
    (tmp_path / 'train.yml').write_text(yaml.safe_dump(options))

    def validated() -> list[tuple[str, str]]:
        with (tmp_path / 'experiments' / 'run' / 'metrics.csv').open(newline='') as file:
            return [(row['iteration'], row['scale']) for row in csv.DictReader(file)]

    launcher = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', '--standalone']
    train = ('train', '-opt', 'train.yml', '--auto_resume')
    done = subprocess.run(
        [*launcher, '-m', 'gsasr_plugin', *train, '--launcher', 'pytorch'],
        cwd=tmp_path,
        env=ENVIRONMENT,
        timeout=TIMEOUT_S,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert validated() == [(iteration, scale) for iteration in ('2', '4') for scale in ('4', '2.5')]
    # One log, one experiment; the process group is left as torch wants it.
    assert done.stdout.count('End of training') == 1 and 'destroy_process_group' not in done.stdout
    assert [path.name for path in (tmp_path / 'experiments').iterdir()] == ['run']
    (log,) = (tmp_path / 'experiments' / 'run').glob('*.log')
    assert 'dist: True' in log.read_text() and 'world_size: 2' in log.read_text()

    statuses, outputs = run_trainings(tmp_path, *train, '--force_yml', 'train:total_iter=6')
    assert statuses == [0, 0], outputs
    assert validated()[4:] == [('6', '4'), ('6', '2.5')]
    weights = torch.load(tmp_path / 'experiments' / 'run' / 'models' / 'net_g_6.pth', weights_only=True)
    assert set(weights) == {'params', 'gsasr'}
