"""Validation by scale: borders, tables, pictures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_psnr
from basicsr.utils import tensor2img
from basicsr.utils.matlab_functions import imresize

from gsasr_plugin.models.validation.scale_validation import crop_border
from gsasr_plugin.models.validation.training_table import MetricRow, add_to_tables
from tests.models.test_gsasr_model import make_model


@pytest.mark.parametrize(
    ('scale', 'border'), [((2, 2), 2), ((3.7, 3.7), 4), ((2, 3.5), 4), ((8, 8), 8), ((12, 12), 8), ((1, 1), 1)]
)
def test_border_of_the_protocol(scale: tuple[float, float], border: int) -> None:
    assert crop_border(scale) == border


class Loader(list):
    """A loader of one image per batch, as far as validation asks."""

    dataset = SimpleNamespace(opt={'name': 'photos'})


def items() -> Loader:
    generator = torch.Generator().manual_seed(2)
    loader = Loader()
    for scale, size in ((2.0, (24, 32)), (3.7, (44, 59))):
        for name in ('a', 'b'):
            lq = torch.rand(1, 3, 12, 16, generator=generator)
            lq = (lq * 255).round() / 255
            loader.append(
                {
                    'lq': lq,
                    'gt': [torch.rand(3, *size, generator=generator)],
                    'nominal_scale': torch.tensor([[scale, scale]], dtype=torch.float64),
                    'size': torch.tensor([size]),
                    'lq_path': [f'/photos/{name}.png'],
                    'name': [f'album/{name}.1'],
                }
            )
    return loader


def validated(folder: Path, loader: Loader) -> Any:
    model = make_model(folder)
    psnr = {'type': 'calculate_psnr', 'crop_border': 'auto', 'test_y_channel': True}
    model.opt['val'] = {'compare_bicubic': True, 'metrics': {'psnr': psnr}}
    model.validation(loader, 7, None, save_img=True)
    return model


def test_each_scale_has_its_own_means_beside_bicubics(tmp_path: Path) -> None:
    loader = items()
    model = validated(tmp_path, loader)
    lines = (tmp_path / 'metrics.csv').read_text().splitlines()
    assert lines[0] == 'iteration,dataset,scale,images,metric,model,bicubic'
    assert [line.split(',')[:5] for line in lines[1:]] == [
        ['7', 'photos', '2', '2', 'psnr'],
        ['7', 'photos', '3.7', '2', 'psnr'],
    ]
    for line, border, data in ((lines[1], 2, loader[:2]), (lines[2], 4, loader[2:])):
        ours, bicubic = (float(value) for value in line.split(',')[5:])
        expected_ours, expected_bicubic = [], []
        for item in data:
            gt = tensor2img(item['gt'])
            with torch.no_grad():
                sr = tensor2img([model.net_g_ema(item['lq'], size=gt.shape[:2])])
            expected_ours.append(calculate_psnr(sr, gt, border, test_y_channel=True))
            # The host's own down-sampler enlarges by a factor, so only whole scales can be checked against it.
            up = imresize(item['lq'][0].permute(1, 2, 0).numpy(), 2)
            up = tensor2img([torch.from_numpy(up).permute(2, 0, 1)[None]])
            expected_bicubic.append(calculate_psnr(up, gt, border, test_y_channel=True) if border == 2 else bicubic)
        assert ours == pytest.approx(np.mean(expected_ours), abs=1e-6)
        # A value may round to the neighbouring level in one of the two float32 computations.
        assert bicubic == pytest.approx(np.mean(expected_bicubic), abs=1e-3)
    assert model.best_metric_results['photos_x3.7']['psnr']['iter'] == 7


def test_pictures_are_named_by_image_scale_and_iteration(tmp_path: Path) -> None:
    validated(tmp_path, items())
    pictures = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob('*.png'))
    expected = [f'visualization/photos/album/{n}.1/{n}.1_x{s}_7.png' for n in ('a', 'b') for s in ('2', '3.7')]
    assert pictures == expected


def test_the_last_iteration_is_validated_once_and_under_its_own_number(tmp_path: Path) -> None:
    """The host validates after the last iteration, and once more at the end, as iteration 101 or 102 of 100."""
    loader = items()
    model = validated(tmp_path, loader)  # iteration 7 of 100
    for iteration in (100, 102):
        model.validation(loader, iteration, None, save_img=False)
    rows = (tmp_path / 'metrics.csv').read_text().splitlines()[1:]
    assert [row.split(',')[0] for row in rows] == ['7', '7', '100', '100']


def test_an_image_that_is_all_border_is_named(tmp_path: Path) -> None:
    loader = items()
    for item in loader:
        item['nominal_scale'] = torch.tensor([[12.0, 12.0]])
        item['gt'] = [torch.rand(3, 16, 40)]
        item['size'] = torch.tensor([[16, 40]])
    with pytest.raises(ValueError, match='a border of 8 pixels, and all of an image of 16 x 40'):
        validated(tmp_path, loader)


def test_without_ground_truth_there_are_pictures_and_no_table(tmp_path: Path) -> None:
    loader = items()
    for item in loader:
        del item['gt']
    validated(tmp_path, loader)
    assert len(list(tmp_path.rglob('*.png'))) == 4
    assert not (tmp_path / 'metrics.csv').exists()


def test_tables_keep_all_values_and_show_the_last(tmp_path: Path) -> None:
    add_to_tables(tmp_path, [MetricRow('10', 'A', '2', 3, 'psnr', 30.0, 29.5)])
    add_to_tables(tmp_path, [MetricRow('10', 'B', '2', 3, 'psnr', 20.0, None)])
    add_to_tables(tmp_path, [MetricRow('20', 'A', '2', 3, 'psnr', 31.0, 29.5)])
    assert len((tmp_path / 'metrics.csv').read_text().splitlines()) == 4
    table = (tmp_path / 'metrics.md').read_text()
    assert '| A, 20 | x2 |' in table and '| psnr | 31.0000 |' in table and '| difference | +1.5000 |' in table
    assert '| B, 10 | x2 |' in table and '30.0000' not in table
    assert table.count('bicubic') == 1

    add_to_tables(tmp_path, [MetricRow('20', 'A', '2', 3, 'psnr', 32.0, 29.5)])  # validated again after a resume
    lines = (tmp_path / 'metrics.csv').read_text().splitlines()
    assert len(lines) == 4 and lines[-1].startswith('20,A,2,3,psnr,32.0')
