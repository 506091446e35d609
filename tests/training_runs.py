"""Trainings as processes of their own, which can be killed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from tests.forked import TIMEOUT_S, Forked
from tests.run_options import gsasr_run

HOST = ('gsasr_plugin.cli', 'basicsr', 'gsasr_plugin.host.option_check', 'gsasr_plugin.host.pipeline')


def run_training(
    folder: Path, *arguments: str, until: Callable[[], bool] | None = None, signal_number: int = 0
) -> tuple[int, str]:
    """Runs the command `basicsr`, and sends it a signal as soon as `until` is true.

    Returns:
        Its exit status (-9: killed), and what it printed to `output.txt` in its folder.
    """
    statuses, outputs = _run(folder, arguments, [{}], until, [signal_number])
    return statuses[0], outputs[0]


def run_trainings(
    folder: Path, *arguments: str, until: Callable[[], bool] | None = None, signal_numbers: Sequence[int] = (0, 0)
) -> tuple[list[int], list[str]]:
    """Runs the command in several processes, started as torchrun does, though nobody ends those that are left.

    Returns:
        Their exit statuses, and what they printed, as `run_training` says; the first one's is in `output.txt`.
    """
    # As torchrun's agent does, this process keeps the store, on a port that the system has chosen.
    store = torch.distributed.TCPStore('127.0.0.1', 0, is_master=True, wait_for_workers=False)
    shared = {
        'MASTER_ADDR': store.host,
        'MASTER_PORT': str(store.port),
        'TORCHELASTIC_USE_AGENT_STORE': 'True',
        'TORCHELASTIC_RESTART_COUNT': '0',
        'WORLD_SIZE': str(len(signal_numbers)),
    }
    ranks = [{**shared, 'RANK': str(rank)} for rank in range(len(signal_numbers))]
    return _run(folder, (*arguments, '--launcher', 'pytorch'), ranks, until, signal_numbers)


def _run(
    folder: Path,
    arguments: Sequence[str],
    variables: Sequence[dict[str, str]],
    until: Callable[[], bool] | None,
    signal_numbers: Sequence[int],
) -> tuple[list[int], list[str]]:
    outputs = [folder / f'output{rank or ""}.txt' for rank in range(len(variables))]
    processes = [
        Forked(
            ['-m', 'gsasr_plugin', *arguments],
            folder=folder,
            outputs=(output, output),
            environment={**os.environ, **own},
            modules=HOST,
        )
        for output, own in zip(outputs, variables)
    ]
    if until is not None:
        end = time.monotonic() + TIMEOUT_S
        while not until():
            assert time.monotonic() < end and all(p.is_running() for p in processes), outputs[0].read_text()[-3000:]
            time.sleep(0.0005)
        for process, signal_number in zip(processes, signal_numbers, strict=True):
            os.kill(process.id, signal_number)
    done = [process.end() for process in processes]
    return [one.returncode for one in done], [one.stdout for one in done]


def make_project(folder: Path) -> dict[str, Any]:
    """Three GT images in `folder`, and options that train a tiny network with random depth on them, in short epochs."""
    (folder / 'gt').mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(3):
        pixels = generator.integers(0, 256, (40, 44, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / 'gt' / f'{number}.png')
    swinir = {'embed_dim': 6, 'depths': [2], 'num_heads': [2], 'window_size': 4, 'mlp_ratio': 1, 'drop_path_rate': 0.5}
    options = gsasr_run({'type': 'SwinIR', **swinir})
    options['datasets']['train']['dataset_enlarge_ratio'] = 5  # 7 steps, and one sample left
    options['train'] |= {'ema_decay': 0.9, 'grad_clip': 0.1, 'total_iter': 24, 'warmup_iter': 4}
    options['train']['scheduler']['milestones'] = [8, 16]
    options['logger']['save_checkpoint_freq'] = 3
    return options


def with_discriminator(options: dict[str, Any]) -> dict[str, Any]:
    """The same, twelve steps of GSASRGANModel, in every second of which GSASR itself takes one."""
    options['model_type'] = 'GSASRGANModel'
    options['network_d'] = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4}
    options['train'] |= {
        'optim_d': {'type': 'Adam', 'lr': 0.001},
        'losses': {'gan': {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1}},
        'net_d_iters': 2,
        'net_d_crop': 16,
        'total_iter': 12,
    }
    return options


def with_pairs(options: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same, on pairs of 2.5 x 2.75 in a folder `lq`, mixed with samples whose LR is made."""
    (folder / 'lq').mkdir()
    for path in sorted((folder / 'gt').iterdir()):
        Image.open(path).resize((16, 16), Image.Resampling.BOX).save(folder / 'lq' / path.name)
    options['datasets']['train'] |= {'dataroot_lq': ['lq', None], 'root_repeats': [2, 1]}
    options['datasets']['train']['dataset_enlarge_ratio'] = 2
    return options


def write_options(options: dict[str, Any], folder: Path) -> None:
    """As `train.yml`."""
    (folder / 'train.yml').write_text(yaml.safe_dump(options))


def checkpoint(folder: Path, iteration: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Network and training state of an iteration."""
    run = folder / 'experiments' / 'run'
    return (
        torch.load(run / 'models' / f'net_g_{iteration}.pth', weights_only=True),
        torch.load(run / 'training_states' / f'{iteration}.state', weights_only=True),
    )


def saved_iterations(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in (folder / 'experiments' / 'run' / 'training_states').glob('[0-9]*.state'))


def same(a: Any, b: Any) -> bool:
    """Whether two nests of containers hold the same values, tensors bit by bit."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and a == b
