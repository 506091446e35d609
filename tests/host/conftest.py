"""A tiny project of the host: images, and an option file that trains its EDSR, as a dictionary and on disk."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

import gsasr_plugin  # noqa: F401 (repairs the host, so that test modules can import it)
from gsasr_plugin.host.option_check import type_check
from tests.forked import TIMEOUT_S
from tests.run_options import gsasr_data, gsasr_run, host_run

VAL = {
    'val_freq': 4,
    'save_img': True,
    'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 2, 'test_y_channel': True}},
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with four images of 32 x 32 pixels in `gt` and of 16 x 16 in `lq`, made the current one."""
    images = np.random.default_rng(0)
    for folder, side in (('gt', 32), ('lq', 16)):
        (tmp_path / folder).mkdir()
        for index in range(4):
            image = images.integers(0, 256, (side, side, 3), dtype=np.uint8)  # H x W x BGR
            cv2.imwrite(str(tmp_path / folder / f'{index}.png'), image)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def edsr_options() -> dict[str, Any]:
    """Options that use classes of the host only."""
    pairs = {
        'type': 'PairedImageDataset',
        'dataroot_gt': 'gt',
        'dataroot_lq': 'lq',
        'io_backend': {'type': 'disk'},
    }
    train = {'name': 'pairs', **pairs, 'gt_size': 16, 'use_hflip': True, 'use_rot': True}
    loader = {'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2}
    return {
        **host_run(),
        'name': 'tiny',
        'scale': 2,
        'datasets': {'train': {**train, **loader}, 'val': {'name': 'held-out', **pairs}},
        'network_g': {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': 2},
        'val': copy.deepcopy(VAL),
    }


@pytest.fixture
def gsasr_options() -> dict[str, Any]:
    """Options that use the classes of the plugin."""
    options = {**gsasr_run({'type': 'EDSR', 'num_feat': 4, 'num_block': 1}), 'name': 'tiny', 'val': copy.deepcopy(VAL)}
    options['datasets']['val'] = gsasr_data('held-out', scales=[2, 3.3])
    return options


@pytest.fixture
def networks_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check builds the same network once, not for every fault elsewhere."""
    built: dict[str, Exception | None] = {}
    build = type_check._building_fault

    def build_once(cls: type, arguments: dict[str, Any]) -> Exception | None:
        key = repr((cls, arguments))
        if key not in built:
            built[key] = build(cls, arguments)
        return built[key]

    monkeypatch.setattr(type_check, '_building_fault', build_once)


def write_options(options: dict[str, Any], path: Path) -> Path:
    """Write an option file as a user would."""
    path.write_text(yaml.safe_dump(options, sort_keys=False))
    return path


def write_distribution(folder: Path, name: str, module: str, source: str) -> None:
    """Lay out a distribution with one module that joins as a plugin, as an installer would in site-packages."""
    folder.mkdir(exist_ok=True)
    (folder / f'{module}.py').write_text(source)
    info = folder / f'{module}-1.2.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n')
    (info / 'entry_points.txt').write_text(f'[basicsr.plugins]\n{module} = {module}\n')


@pytest.fixture
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python in a fresh process: `run_python(arguments)`. tests.forked has some that start sooner."""

    def run(arguments: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *map(str, arguments)]
        environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)

    return run
