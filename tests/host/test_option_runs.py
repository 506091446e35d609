"""Faulty option files that the check accepts run one iteration with checkpoint and validation, or say why not.

The files are the shipped ones with a smaller network and images, and one fault each.
"""

from __future__ import annotations

import itertools
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from basicsr.utils import logger as host_logger
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from PIL import Image

from gsasr_plugin import cli
from gsasr_plugin.host.option_check import OptionError, read_option_file
from gsasr_plugin.host.option_check.checker import check_options
from gsasr_plugin.models.gsasr_model import GSASRModel
from tests.host.option_faults import single_faults

OPTIONS = Path(__file__).parents[2] / 'options'
SHIPPED = sorted(OPTIONS.glob('train*.yml'))
# Every so many-th fault; GSASR_FUZZ_RUNS=1 takes all.
STEP = int(os.environ.get('GSASR_FUZZ_RUNS', '13'))
ENCODERS: dict[str, dict[str, Any]] = {
    'EDSR': {'num_feat': 4, 'num_block': 1},
    'RDN': {'num_feat': 4, 'num_block': 1, 'num_layer': 1, 'num_grow_ch': 2},
    'SwinIR': {'embed_dim': 4, 'depths': [1], 'num_heads': [2], 'window_size': 4, 'mlp_ratio': 1},
    'HAT': {'embed_dim': 4, 'depths': [1], 'num_heads': [2], 'window_size': 4, 'mlp_ratio': 1},
}


def shrink(options: dict[str, Any]) -> None:
    """Makes the network and the data small, with all keys that there were."""
    train, network = options['datasets']['train'], options['network_g']
    if 'lmdb' in str(train['dataroot_gt']):
        train['dataroot_gt'] = 'gt.lmdb'
    else:
        train['dataroot_gt'] = 'gt'
    train |= {'lq_size': 8, 'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2, 'dataset_enlarge_ratio': 2}
    options['datasets']['val'] |= {'dataroot_gt': 'gt', 'scales': [2]}
    for section in options['datasets'].values():
        section.pop('persistent_workers', None)
        if 'meta_info_file' in section:
            section['meta_info_file'] = 'names.txt'
    if 'encoder_opt' in network:  # not the packaged one, which is small
        network |= {'embed_dim': 8, 'num_heads': 2, 'window_size': 4, 'gaussian_density': 1}
        network |= {key: 1 for key in network if key.startswith('num_i')}
        network['encoder_opt'] |= ENCODERS[network['encoder_opt']['type']]
    options['train'] |= {'total_iter': 1}
    options['val'] |= {'val_freq': 1}
    options['logger'] |= {'print_freq': 1, 'save_checkpoint_freq': 1}


def make_images(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 36, 40, 3), dtype=np.uint8)
    (folder / 'gt').mkdir(parents=True)
    names = [f'{number}.png' for number in range(3)]
    for name, image in zip(names, pixels):
        Image.fromarray(image).save(folder / 'gt' / name)
    (folder / 'names.txt').write_text('\n'.join(names))
    make_lmdb_from_imgs(str(folder / 'gt'), str(folder / 'gt.lmdb'), names, [Path(name).stem for name in names])


class Enough(Exception):
    """The second iteration is reached."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with images, in which trainings end after one iteration."""
    folder = tmp_path / 'project'
    make_images(folder)
    monkeypatch.chdir(folder)
    update = GSASRModel.update_learning_rate

    def update_once(self: GSASRModel, current_iter: int, warmup_iter: int = -1) -> None:
        if current_iter > 1:
            raise Enough
        update(self, current_iter, warmup_iter)

    monkeypatch.setattr(GSASRModel, 'update_learning_rate', update_once)
    return folder


def faulty_files() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every fault that any file can have, in the first file that can have it."""
    seen: set[str] = set()
    for path in SHIPPED:
        options = read_option_file(str(path)).options
        shrink(options)
        yield path.name, options
        for name, faulty in single_faults(options):
            if name not in seen:
                seen.add(name)
                yield name, faulty


def train(file: Path) -> None:
    """Runs a training in this process; what the command does not explain is raised."""
    try:
        status = cli.main(['train', '-opt', str(file)])
    except Enough:
        return
    finally:
        logger = logging.getLogger('basicsr')
        for handler in list(logger.handlers):
            handler.close()
            logger.removeHandler(handler)
        host_logger.initialized_logger.clear()
    assert status in (0, cli.EXIT_FAILURE)


@pytest.mark.slow
def test_an_accepted_file_runs(project: Path, networks_built_once: None) -> None:
    before = sorted(project.iterdir())
    outside = sorted(project.parent.iterdir())
    failed: dict[str, str] = {}
    accepted = 0
    for name, faulty in itertools.islice(faulty_files(), 0, None, STEP):
        file = project / 'options.yml'
        file.write_text(yaml.safe_dump(faulty, sort_keys=False))
        try:
            check_options(read_option_file(str(file)), is_train=True)
        except OptionError:
            continue
        accepted += 1
        try:
            train(file)
        except Exception as error:
            failed[name] = repr(error)
        assert sorted(project.parent.iterdir()) == outside, name
        for path in set(project.iterdir()) - set(before):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert accepted > 10 and not failed
