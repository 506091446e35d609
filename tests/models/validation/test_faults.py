"""What validation does about metrics that judge an image alone, metrics of other plugins, and images that fail."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_niqe
from basicsr.models import build_model
from basicsr.utils import tensor2img
from basicsr.utils.registry import METRIC_REGISTRY

from gsasr_plugin.metrics.image_pairs import network_metric
from gsasr_plugin.models.validation.image_values import FILE
from gsasr_plugin.run_errors import RunError
from tests.models.test_gsasr_model import make_model, options
from tests.models.validation.photos import photos

PSNR = {'type': 'calculate_psnr', 'crop_border': 'auto'}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / 'metrics.csv').open(newline='') as file:
        return list(csv.DictReader(file))


def model_that_tests(folder: Path, **val: Any) -> Any:
    model = make_model(folder)
    model.is_train = model.opt['is_train'] = False
    model.opt['auto_resume'] = True
    model.opt['path']['results_root'] = str(folder)
    model.opt['val'] = {'metrics': {'psnr': PSNR}, **val}
    return model


@pytest.fixture
def registered() -> Iterator[dict[str, Any]]:
    """Metrics of another plugin, by the name under which they are registered."""
    added: dict[str, Any] = {}

    class Added(dict):
        def __setitem__(self, name: str, metric: Any) -> None:
            metric.__name__ = name
            METRIC_REGISTRY.register(metric)
            super().__setitem__(name, metric)

    added = Added()
    yield added
    for name in added:
        del METRIC_REGISTRY._obj_map[name]


def test_niqe_of_lr_images(tmp_path: Path) -> None:
    """Without ground truth, what needs none is computed, of the result and of bicubic enlargement."""
    photos(tmp_path, size=(48, 96))
    roots = {'dataroot_gt': None, 'meta_info_file': None, 'dataroot_lq': str(tmp_path / 'gt')}
    loader = photos(tmp_path, scales=[2], size=(48, 96), **roots)
    model = model_that_tests(tmp_path, compare_bicubic=True)
    model.opt['val']['metrics']['niqe'] = {'type': 'calculate_niqe', 'crop_border': 0, 'better': 'lower'}
    model.validation(loader, 'run', None, save_img=False)
    (row,) = rows(tmp_path)
    assert (row['metric'], row['images'], row['left_out'], row['paper']) == ('niqe', '2', '0', '')
    values = []
    for item in loader.dataset:
        with torch.no_grad():
            values.append(calculate_niqe(tensor2img([model.net_g_ema(item['lq'][None], size=(96, 192))]), 0))
    assert float(row['model']) == pytest.approx(np.mean(values), rel=1e-9)
    assert float(row['bicubic']) != float(row['model'])
    assert '| x2 | niqe |' in (tmp_path / 'metrics.md').read_text()


def test_a_metric_of_another_plugin_with_a_device(tmp_path: Path, registered: dict[str, Any]) -> None:
    """It gets one image at a time and the options that the file gives, and is not called while the model is built."""
    calls: list[tuple[Any, ...]] = []

    def metric(img: np.ndarray, img2: np.ndarray, device: str = 'its own') -> float:
        calls.append((img.shape, img2.shape, device))
        return float(len(calls))

    def alone(img: np.ndarray, crop_border: int) -> float:
        return img.shape[0] + crop_border / 100

    registered['of_another_plugin'], registered['alone'] = metric, alone
    metrics = {
        'm': {'type': 'of_another_plugin', 'better': 'lower'},
        'alone': {'type': 'alone', 'crop_border': 'auto'},
    }
    opt = options(tmp_path)
    opt['val'] = {'metrics': metrics, 'compare_bicubic': True}
    model = build_model(opt)
    assert calls == []
    model.validation(photos(tmp_path, scales=[3]), 7, None, save_img=False)
    assert calls == [((45, 60, 3), (45, 60, 3), 'its own')] * 4
    found = {row['metric']: (float(row['model']), float(row['bicubic'])) for row in rows(tmp_path)}
    assert found == {'m': (2, 3), 'alone': (45.03, 45.03)}
    best = model.best_metric_results['photos_x3']['m']
    assert (best['better'], best['val']) == ('lower', 2)


def test_a_metric_that_is_a_network_of_ours(tmp_path: Path, registered: dict[str, Any]) -> None:
    """It is built with the model, and gets all images of an item at once, and the model's device."""
    calls: list[tuple[Any, ...]] = []

    @network_metric
    def metric(img: list[np.ndarray], img2: np.ndarray, crop_border: int, device: str) -> list[float]:
        calls.append(([image.shape for image in img], img2.shape, crop_border, device))
        return [float(number) for number in range(len(img))]

    registered['ours'] = metric
    opt = options(tmp_path)
    opt['val'] = {'metrics': {'m': {'type': 'ours', 'crop_border': 'auto'}}, 'compare_bicubic': True}
    model = build_model(opt)
    assert calls == [([(64, 64, 3)], (64, 64, 3), 0, 'cpu')]
    model.validation(photos(tmp_path, 'a', scales=[3]), 7, None, save_img=False)
    assert calls[1:] == [([(45, 60, 3)] * 2, (45, 60, 3), 3, 'cpu')]
    assert [(row['model'], row['bicubic']) for row in rows(tmp_path)] == [('0.0', '1.0')]


def test_a_metric_that_fails_leaves_out_one_image(
    tmp_path: Path, registered: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    images: list[int] = []

    def metric(img: np.ndarray, img2: np.ndarray) -> float:
        images.append(len(images))
        if images[-1] == 1:
            raise np.linalg.LinAlgError('no\nconvergence')
        return float('nan') if images[-1] == 3 else images[-1]

    registered['fails'] = metric
    model = make_model(tmp_path)
    model.opt['val'] = {'metrics': {'psnr': PSNR, 'fails': {'type': 'fails'}}, 'grids': 4}
    model.validation(photos(tmp_path, 'abcd', scales=[2]), 7, None, save_img=True)
    assert 'photos, x2: fails of b is left out: LinAlgError: no' in caplog.text
    assert 'photos, x2: fails of d is left out: ValueError: the result is not a number' in caplog.text
    psnr, fails = rows(tmp_path)
    assert (psnr['images'], psnr['left_out']) == ('4', '0')
    assert (fails['images'], fails['left_out'], float(fails['model'])) == ('2', '2', 1.0)  # the mean of 0 and 2
    assert '|  | fails | 1.0000 (2 of 4 images) |' in (tmp_path / 'metrics.md').read_text()
    assert len(list((tmp_path / 'visualization').rglob('*_x2_7.png'))) == 4  # the pictures are there


def test_an_image_that_cannot_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Damaged since it was listed: a training goes on without it, and takes it when it is there again."""
    loader = photos(tmp_path, scales=[2])
    model = make_model(tmp_path, ema_decay=0)
    model.opt['val'] = {'metrics': {'psnr': PSNR}}
    path = tmp_path / 'gt' / 'b.png'
    whole = path.read_bytes()
    path.write_bytes(b'not an image')
    model.validation(loader, 7, None, save_img=True)
    message = f'photos, x2: everything of b is left out: DataError: image {path} cannot be decoded'
    assert message in caplog.text
    path.write_bytes(whole)
    model.validation(loader, 14, None, save_img=True)
    assert [(row['iteration'], row['images'], row['left_out']) for row in rows(tmp_path)] == [
        ('7', '1', '1'),
        ('14', '2', '0'),
    ]


def test_a_network_that_fails_goes_on_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = make_model(tmp_path, ema_decay=0)
    model.opt['val'] = {'metrics': {'psnr': PSNR}}
    forward = model.net_g.forward

    def full(lq: torch.Tensor, **options: Any) -> Any:
        if lq.shape[-1] > 20:
            raise torch.OutOfMemoryError('CUDA out of memory')
        return forward(lq, **options)

    model.net_g.forward = full
    model.validation(photos(tmp_path), 7, None, save_img=False)
    assert 'photos, x2: everything of a, b is left out: OutOfMemoryError: CUDA out of' in caplog.text
    assert [(row['scale'], row['images']) for row in rows(tmp_path)] == [('3.7', '2')]
    assert model.net_g.training


def test_what_ends_a_run_is_not_an_images_fault(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    model.opt['val'] = {}

    def gone(_: Any) -> None:
        raise RunError('another process is gone')

    model.feed_data = gone
    with pytest.raises(RunError, match='another process is gone'):
        model.validation(photos(tmp_path), 7, None, save_img=False)


def test_a_test_tries_again_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --auto_resume; and a test of which nothing comes ends as one that failed."""
    loader = photos(tmp_path, scales=[2], phase='test')
    model = model_that_tests(tmp_path)
    path = tmp_path / 'gt' / 'b.png'
    whole = path.read_bytes()
    path.write_bytes(b'not an image')
    model.validation(loader, 'run', None, save_img=False)
    assert (rows(tmp_path)[0]['images'], rows(tmp_path)[0]['left_out']) == ('1', '1')
    assert len((tmp_path / FILE).read_text().splitlines()) == 1
    path.write_bytes(whole)
    model = model_that_tests(tmp_path)
    computed: list[str] = []
    feed = model.feed_data
    monkeypatch.setattr(model, 'feed_data', lambda data: (computed.extend(data['name']), feed(data)))
    model.validation(loader, 'run', None, save_img=False)
    assert computed == ['b']
    assert (rows(tmp_path)[0]['images'], rows(tmp_path)[0]['left_out']) == ('2', '0')

    for name in 'ab':
        (tmp_path / 'gt' / f'{name}.png').write_bytes(b'not an image')
    with pytest.raises(RunError, match='photos: none of its 2 images could be tested; the log says why'):
        model_that_tests(tmp_path, metrics={}).validation(loader, 'run', None, save_img=False)
