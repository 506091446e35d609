"""What a training shows: grids of a validation, speed and memory on the line of progress."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.models.training_speed import TrainingSpeed
from gsasr_plugin.models.validation.validation_grids import GAP, LABEL_HEIGHT, Grids, grid_of, row_of, write_batch
from tests.models.test_gsasr_model import make_model
from tests.models.validation.photos import photos


class Logger:
    """What tensorboard's writer is asked for."""

    def __init__(self) -> None:
        self.images: dict[str, np.ndarray] = {}
        self.scalars: dict[tuple[str, int], float] = {}

    def add_image(self, tag: str, image: np.ndarray, step: int, dataformats: str) -> None:
        assert (step, dataformats) == (7, 'HWC')
        self.images[tag] = image

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.scalars[tag, step] = value


def test_validation_leaves_a_grid_of_each_scale(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    model.opt['val'] = {'grids': 1}
    logger = Logger()
    loader = photos(tmp_path)
    model.validation(loader, 7, logger, save_img=False)
    folder = tmp_path / 'visualization' / 'photos' / 'grids'
    assert sorted(path.name for path in folder.iterdir()) == ['x2_7.png', 'x3.7_7.png']
    assert set(logger.images) == {'grids/photos_x2', 'grids/photos_x3.7'}
    grid = np.asarray(Image.open(folder / 'x2_7.png'))
    np.testing.assert_array_equal(grid, logger.images['grids/photos_x2'])
    first = next(iter(loader))
    gt = first['gt'][0].permute(1, 2, 0).numpy()  # (44, 60, 3)
    left = 3 * (60 + GAP)  # LR, bicubic and SR come first
    np.testing.assert_array_equal(grid[LABEL_HEIGHT:, left : left + 60], np.rint(gt * 255))
    with torch.no_grad():
        sr = model.net_g_ema(first['lq'], size=(44, 60))[0].permute(1, 2, 0).numpy()
    shown = grid[LABEL_HEIGHT:, 2 * (60 + GAP) : 2 * (60 + GAP) + 60]
    np.testing.assert_array_equal(shown, np.rint(sr.clip(0, 1) * 255))


@pytest.mark.parametrize('dist', [False, True])
def test_tensorboard_gets_the_means_of_each_scale(tmp_path: Path, dist: bool) -> None:
    model = make_model(tmp_path)
    model.opt['dist'] = dist  # BasicSR then calls another method
    model.opt['val'] = {'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 'auto'}}}
    logger = Logger()
    model.validation(photos(tmp_path), 7, logger, save_img=False)
    rows = [row.split(',') for row in (tmp_path / 'metrics.csv').read_text().splitlines()[1:]]
    means = {(f'metrics/photos_x{row[2]}/psnr', 7): float(row[6]) for row in rows}
    assert len(means) == 2 and logger.scalars == means


def test_no_grids_unless_asked_for(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    model.opt['val'] = {}
    model.validation(photos(tmp_path), 7, Logger(), save_img=False)
    assert not (tmp_path / 'visualization').exists()


def test_grids_of_fewer_images_are_written_at_the_end(tmp_path: Path) -> None:
    grids = Grids(tmp_path, 'photos', 'run', 2)
    image = torch.zeros(1, 3, 8, 6)
    for scale, images in (((2, 2), 1), ((3, 3), 3)):
        for _ in range(images):
            grids.add(scale, image[..., :4, :3], image, None)
    assert [path.name for path in tmp_path.iterdir()] == ['x3_run.png'] and grids.drawn == {(3, 3)}
    grids.finish()
    sizes = {path.name: Image.open(path).height - LABEL_HEIGHT for path in tmp_path.iterdir()}
    assert sizes == {'x2_run.png': 8, 'x3_run.png': 8 + GAP + 8} and grids.drawn == {(2, 2), (3, 3)}


def test_a_grid_shows_the_middle_of_large_images() -> None:
    generator = np.random.default_rng(0)
    lq, gt = generator.random((150, 100, 3)), generator.random((600, 400, 3))
    row = row_of(lq, gt * 0.9, gt)
    middle = (slice(172, 428), slice(72, 328))
    np.testing.assert_array_equal(row['GT'], gt[middle])
    np.testing.assert_allclose(row['difference x4'], 0.4 * gt[middle], atol=1e-12)
    beyond = row_of(lq, np.where(gt < 0.5, gt - 1, gt + 1), gt)['difference x4']  # shown as 0 and 1
    np.testing.assert_allclose(beyond, 4 * np.minimum(gt, 1 - gt)[middle], atol=1e-12)
    np.testing.assert_array_equal(row['LR'], np.kron(lq, np.ones((4, 4, 1)))[middle])
    np.testing.assert_array_equal(row['bicubic'], resize_bicubic(lq, (600, 400))[middle])
    small = row_of(lq[:20, :30], gt[:80, :120], gt[:80, :120])
    assert grid_of([row, small]).shape == (LABEL_HEIGHT + 256 + GAP + 80, 5 * 256 + 4 * GAP, 3)


def test_rows_and_columns_of_a_grid_stand_where_their_sizes_put_them() -> None:
    generator = np.random.default_rng(0)
    sizes = [(40, 30), (20, 50), (10, 10)]
    rows = [{'LR': generator.random((*size, 3)), 'SR': 1.5 * generator.random((*size, 3)) - 0.25} for size in sizes]
    grid = grid_of(rows)
    assert grid.dtype == np.uint8 and grid.shape == (LABEL_HEIGHT + 40 + 20 + 10 + 2 * GAP, 50 + GAP + 50, 3)
    left = grid[LABEL_HEIGHT:].copy()
    for row, top in zip(rows, (0, 40 + GAP, 40 + 20 + 2 * GAP), strict=True):
        for picture, x in zip(row.values(), (0, 50 + GAP), strict=True):
            height, width = picture.shape[:2]
            part = left[top : top + height, x : x + width]
            np.testing.assert_array_equal(part, np.rint(picture.clip(0, 1) * 255))
            part[:] = 255
    assert (left == 255).all()  # white around them
    assert all((grid[:LABEL_HEIGHT, x : x + 50] < 128).any() for x in (0, 50 + GAP))  # labels
    inked = np.flatnonzero((grid[:LABEL_HEIGHT, :50] < 128).any(axis=(1, 2)))
    assert 9 <= len(inked) == inked[-1] + 1 - inked[0] <= 12  # capitals of a font of 14 pixels


def test_without_ground_truth_there_are_three_columns() -> None:
    assert list(row_of(np.zeros((5, 5, 3)), np.zeros((9, 9, 3)), None)) == ['LR', 'bicubic', 'SR']


def test_a_batch_is_shown_as_lr_bicubic_and_gt(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    lq = torch.rand(2, 3, 6, 6, generator=generator)
    gt = [torch.rand(3, *size, generator=generator) for size in ((12, 18), (6, 6))]
    write_batch(tmp_path / 'batches', 7, lq, gt)
    grid = np.asarray(Image.open(tmp_path / 'batches' / '7.png'))
    assert grid.shape == (LABEL_HEIGHT + 12 + GAP + 6, 3 * 18 + 2 * GAP, 3)
    levels = [np.rint(image.numpy().transpose(1, 2, 0) * 255) for image in (*lq, *gt)]
    top, below = slice(LABEL_HEIGHT, LABEL_HEIGHT + 12), slice(LABEL_HEIGHT + 12 + GAP, None)
    right = slice(2 * (18 + GAP), None)
    np.testing.assert_array_equal(grid[top, :18], np.kron(levels[0], np.ones((2, 3, 1))))
    np.testing.assert_array_equal(grid[below, :6], levels[1])
    np.testing.assert_array_equal(grid[top, right], levels[2])
    np.testing.assert_array_equal(grid[below, 2 * (18 + GAP) : 2 * (18 + GAP) + 6], levels[3])


def test_speed_counts_samples_of_uninterrupted_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 2.0, 4.0, 100.0, 101.0])
    monkeypatch.setattr(time, 'perf_counter', lambda: next(clock))
    speed = TrainingSpeed(torch.device('cpu'), processes=2)
    for _ in range(3):
        speed.step(8)
    assert speed.report()['samples_per_s'] == 8  # 2 steps of 2 * 8 in 4 s
    speed.interrupt()
    speed.step(8)
    speed.step(8)
    report = speed.report()
    assert report['samples_per_s'] == 16
    unit = 1 if sys.platform == 'darwin' else 2**10  # bytes
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
    assert 0.01 < report['memory_gib'] <= most
    assert 'samples_per_s' not in speed.report()  # nothing since
