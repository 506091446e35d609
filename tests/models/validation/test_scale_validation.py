"""Validation by scale: borders, tables, pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_psnr
from basicsr.models import build_model
from basicsr.utils import tensor2img
from basicsr.utils.matlab_functions import imresize
from basicsr.utils.registry import METRIC_REGISTRY
from torch.utils.data import DataLoader

from gsasr_plugin.models.validation.image_values import ImageValues, ValuesFile
from gsasr_plugin.models.validation.metric_values import crop_border, measure, needs_gt, size_fault
from gsasr_plugin.models.validation.scale_validation import ValidationOptions, _known_and_left
from gsasr_plugin.models.validation.validation_grids import Grids
from gsasr_plugin.sizes import Size, format_scale
from tests.models.test_gsasr_model import make_model, options
from tests.models.validation.photos import photos


@pytest.mark.parametrize(
    ('scale', 'border'),
    [((2, 2), 2), ((3.3, 3.3), 4), ((3.7, 3.7), 4), ((2, 3.1), 4), ((8, 8), 8), ((12, 12), 8), ((1, 1), 1)],
)
def test_border_of_the_protocol(scale: tuple[float, float], border: int) -> None:
    assert crop_border(scale) == border


@pytest.mark.parametrize(
    ('metric', 'size', 'least'),
    [
        ({'type': 'calculate_psnr', 'crop_border': 2}, (5, 5), None),
        ({'type': 'calculate_ssim', 'crop_border': 'auto'}, (15, 15), None),
        ({'type': 'calculate_ssim', 'crop_border': 'auto'}, (15, 14), '11 x 11'),
        ({'type': 'calculate_niqe'}, (192, 96), None),
        ({'type': 'calculate_niqe'}, (95, 192), '96 x 192'),
        ({'type': 'calculate_niqe'}, (191, 96), '96 x 192'),
        ({'type': 'calculate_lpips'}, (31, 31), None),
        ({'type': 'calculate_lpips', 'net': 'alex'}, (30, 31), '31 x 31'),
        ({'type': 'calculate_lpips', 'net': 'vgg'}, (16, 16), None),
        ({'type': 'calculate_lpips', 'net': 'vgg'}, (16, 15), '16 x 16'),
    ],
)
def test_sizes_of_which_a_metric_can_be_computed(metric: dict[str, Any], size: Size, least: str | None) -> None:
    fault = size_fault(metric, size, (2, 2))
    if least is None:
        assert fault is None
    else:
        border = 2 if 'crop_border' in metric else 0
        image = f'this is an image of {size[0]} x {size[1]} pixels'
        assert fault == f'{least} pixels are needed, without a border of {border}, and {image}'


def test_metrics_that_compare_with_ground_truth() -> None:
    assert needs_gt(calculate_psnr) and needs_gt(lambda img, img2: 0) and not needs_gt(lambda img, IMG2: 0)
    assert not needs_gt(lambda img: 0) and not needs_gt(lambda img, img2=None: 0) and not needs_gt(lambda **_: 0)


def test_a_metric_gets_the_options_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    taking: dict[str, Any] = {'better': lambda img, better: len(better), 'any': lambda img, **options: len(options)}
    taking['none'] = lambda img: len(img)
    monkeypatch.setattr(METRIC_REGISTRY, '_obj_map', taking)
    image = np.zeros((7, 5, 3), np.uint8)
    for name, expected in (('better', 5), ('any', 1), ('none', 7)):
        assert measure({'type': name, 'better': 'lower'}, [image], None, scale=(2, 2), device='cpu') == [expected]


def validated(folder: Path, **val: Any) -> Any:
    """A model that has validated two photographs at two scales, at iteration 7."""
    model = make_model(folder)
    psnr = {'type': 'calculate_psnr', 'crop_border': 'auto', 'test_y_channel': True}
    model.opt['val'] = {'compare_bicubic': True, 'metrics': {'psnr': psnr}, **val}
    model.validation(photos(folder, ('album/a.1', 'album/b.1')), 7, None, save_img=True)
    return model


def test_each_scale_has_its_own_means_beside_bicubics(tmp_path: Path) -> None:
    model = validated(tmp_path)
    lines = (tmp_path / 'metrics.csv').read_text().splitlines()
    assert lines[0] == 'iteration,dataset,scale,images,left_out,metric,model,bicubic'
    assert [line.split(',')[:6] for line in lines[1:]] == [
        ['7', 'photos', '2', '2', '0', 'psnr'],
        ['7', 'photos', '3.7', '2', '0', 'psnr'],
    ]
    dataset = photos(tmp_path, ('album/a.1', 'album/b.1')).dataset
    for line, border, positions in ((lines[1], 2, (0, 1)), (lines[2], 4, (2, 3))):
        ours, bicubic = (float(value) for value in line.split(',')[6:])
        expected_ours, expected_bicubic = [], []
        for item in (dataset[position] for position in positions):
            gt = tensor2img([item['gt'].as_subclass(torch.Tensor)])
            with torch.no_grad():
                sr = tensor2img([model.net_g_ema(item['lq'][None], size=gt.shape[:2])])
            expected_ours.append(calculate_psnr(sr, gt, border, test_y_channel=True))
            # The host's own down-sampler enlarges by a factor, so only whole scales can be checked against it.
            up = imresize(item['lq'].permute(1, 2, 0).numpy(), 2)
            up = tensor2img([torch.from_numpy(up).permute(2, 0, 1)[None]])
            expected_bicubic.append(calculate_psnr(up, gt, border, test_y_channel=True) if border == 2 else bicubic)
        assert ours == pytest.approx(np.mean(expected_ours), abs=1e-6)
        # A value may round to the neighbouring level in one of the two float32 computations.
        assert bicubic == pytest.approx(np.mean(expected_bicubic), abs=1e-3)
    assert model.best_metric_results['photos_x3.7']['psnr']['iter'] == 7


def test_pictures_are_named_by_image_scale_and_iteration(tmp_path: Path) -> None:
    validated(tmp_path)
    folder = tmp_path / 'visualization'
    pictures = sorted(str(p.relative_to(folder)) for p in folder.rglob('*.png'))
    expected = [f'photos/album/{n}.1/{n}.1_x{s}_7.png' for n in ('a', 'b') for s in ('2', '3.7')]
    assert pictures == expected


def test_the_last_iteration_is_validated_once_and_under_its_own_number(tmp_path: Path) -> None:
    """The host validates after the last iteration, and once more at the end, as iteration 101 or 102 of 100."""
    model, loader = validated(tmp_path), photos(tmp_path)  # iteration 7 of 100
    passes: list[int] = []
    model.net_g_ema.register_forward_pre_hook(lambda *_: passes.append(1))
    for iteration in (100, 102):
        model.validation(loader, iteration, None, save_img=False)
    assert len(passes) == 4
    rows = (tmp_path / 'metrics.csv').read_text().splitlines()[1:]
    assert [row.split(',')[0] for row in rows] == ['7', '7', '100', '100']


def test_a_saved_training_knows_what_it_has_validated(tmp_path: Path) -> None:
    """A run that is asked to stop after a validation saves then: it must not begin with the same one again."""
    model = make_model(tmp_path)
    model.opt['datasets'] = {'train': {}, 'val': {}, 'val_2': {}}
    found, loaders = [], []  # which are told apart by their identity
    for iteration, sets in ((1, 0), (2, 1), (3, 2)):
        model.iteration = iteration
        for number in range(sets):
            loader = photos(tmp_path, name=f'set {number}', scales=[2])
            model.validation(loader, iteration, None, save_img=False)
            loaders.append(loader)
        model._save_reached()
        state = torch.load(tmp_path / 'training_states' / f'{iteration}.state', weights_only=True)
        found.append(state['validated'])
    assert found == [False, False, True]


def test_progress_is_shown_if_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, loader = make_model(tmp_path), photos(tmp_path)
    for pbar in (False, True):
        model.opt['val'] = {'pbar': pbar}
        model.validation(loader, 7, None, save_img=False)
        shown = capsys.readouterr().err
        assert ('photos: 100%' in shown and '4/4' in shown and 'image/s' in shown) == pbar


@pytest.mark.parametrize('suffix', [None, 'sharp'])
def test_pictures_of_a_test_end_in_the_runs_name_or_a_suffix(tmp_path: Path, suffix: str | None) -> None:
    model = make_model(tmp_path)
    model.is_train = model.opt['is_train'] = False
    model.opt['path']['results_root'] = str(tmp_path)
    model.opt['val'] = {'suffix': suffix}
    model.validation(photos(tmp_path, ('album/a.1',), scales=(2,), phase='test'), 'test', None, save_img=True)
    pictures = [str(path.relative_to(tmp_path / 'visualization')) for path in tmp_path.rglob('visualization/**/*.png')]
    assert pictures == [f'photos/album/a.1_x2_{suffix or "small"}.png']


def test_what_is_known_and_what_is_left(tmp_path: Path) -> None:
    """Known is what a run of the same key left together with its picture; a missing grid's first images go again."""
    items = photos(tmp_path, ('a', 'b', 'c'), scales=(2, 3.7)).dataset.items
    file = ValuesFile(tmp_path, 'key')
    values = [ImageValues('photos', format_scale(item.scale), item.named.stem, item.named.path) for item in items]
    for number in (0, 1, 3, 4, 5):
        file.add(values[number])
    plain = ValidationOptions(is_train=False, label='run', folder=tmp_path / 'v', suffix='s', device='cpu')
    resumed = dataclasses.replace(plain, auto_resume=True)

    def known_and_left(options: ValidationOptions, *, most: int = 0, file: ValuesFile | None = file) -> Any:
        grids = Grids(options.folder / 'grids', 'photos', 'run', most)
        known, left = _known_and_left('photos', items, options, file, grids)
        return {position: value.image for position, value in known.items()}, left

    everything = list(range(6))
    assert known_and_left(resumed, file=None) == ({}, everything)
    assert known_and_left(resumed) == ({0: 'a', 1: 'b', 3: 'a', 4: 'b', 5: 'c'}, [2])

    with_pictures = dataclasses.replace(resumed, save_img=True)
    assert known_and_left(with_pictures) == ({}, everything)
    for number in (1, 2, 5):
        path = with_pictures.picture(items[number].named.stem, items[number].scale)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert known_and_left(with_pictures) == ({1: 'b', 5: 'c'}, [0, 2, 3, 4])

    assert known_and_left(resumed, most=2)[1] == [0, 1, 2, 3, 4]
    grid = resumed.folder / 'grids' / 'x3.7_run.png'
    grid.parent.mkdir(parents=True)
    grid.touch()
    assert known_and_left(resumed, most=2)[1] == [0, 1, 2]
    assert grid.exists()
    assert known_and_left(plain, most=2) == ({}, everything)
    assert not grid.exists()  # another run's


@pytest.mark.parametrize('ema_decay', [0.9, 0])
def test_the_best_network_is_kept(tmp_path: Path, ema_decay: float) -> None:
    """When all data sets have been validated, with the average of its weights where there is one."""
    psnr = {'type': 'calculate_psnr', 'crop_border': 'auto', 'better': 'higher'}
    torch.manual_seed(0)
    opt = {**options(tmp_path, ema_decay=ema_decay), 'val': {'metrics': {'psnr': psnr}, 'keep_best': 'psnr'}}
    model = build_model({**opt, 'datasets': {'train': {}, 'val': {}, 'val_2': {}}})
    loaders = [photos(tmp_path, name=f'set {number}', scales=[2]) for number in range(2)]
    best = tmp_path / 'models' / 'net_g_best.pth'

    def validate(iteration: int) -> None:
        for loader in loaders:
            model.validation(loader, iteration, None, save_img=False)

    model.validation(loaders[0], 1, None, save_img=False)
    assert not best.exists()  # the other set is to come
    validate(2)
    kept = torch.load(best, weights_only=True)
    nets = {'params': model.net_g, **({'params_ema': model.net_g_ema} if ema_decay else {})}
    assert {key for key in kept if key.startswith('params')} == set(nets)
    for key, net in nets.items():
        assert all(torch.equal(kept[key][name], tensor) for name, tensor in net.state_dict().items())
    assert model.best.iteration == 2

    for net in nets.values():
        next(net.parameters()).data += 100  # worse by far
    validate(3)
    assert model.best.iteration == 2
    assert all(torch.equal(a, b) for a, b in zip(kept['params'].values(), torch.load(best)['params'].values()))


def test_an_image_that_is_all_border_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It and no other is left out, and the tables say so; the training goes on."""
    cv2.imwrite(str(tmp_path / 'narrow.png'), np.zeros((16, 60, 3), np.uint8))
    (tmp_path / 'gt').mkdir()
    (tmp_path / 'narrow.png').rename(tmp_path / 'gt' / 'narrow.png')
    loader = photos(tmp_path, scales=(8,))
    (tmp_path / 'names.txt').write_text('a.png\nnarrow.png\nb.png')
    model = make_model(tmp_path)
    model.opt['val'] = {'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 'auto'}}}
    model.validation(DataLoader(type(loader.dataset)(loader.dataset.opt)), 7, None, save_img=True)
    assert (
        'photos, x8: psnr of narrow is left out: ValueError: a border of 8 pixels is left out, and all of '
        'an image of 16 x 56 pixels'
    ) in caplog.text
    assert '7,photos,8,2,1,psnr,' in (tmp_path / 'metrics.csv').read_text()
    assert '### photos, 3 images, iteration 7' in (tmp_path / 'metrics.md').read_text()
    assert '(2 of 3 images) |' in (tmp_path / 'metrics.md').read_text()
    assert len(list((tmp_path / 'visualization').rglob('*.png'))) == 3


def test_without_ground_truth_there_are_pictures_and_no_table(tmp_path: Path) -> None:
    photos(tmp_path, ('album/a.1', 'album/b.1'))
    model = make_model(tmp_path)
    model.opt['val'] = {'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 'auto'}}}
    lq = {'dataroot_gt': None, 'meta_info_file': None, 'dataroot_lq': str(tmp_path / 'gt' / 'album')}
    model.validation(photos(tmp_path, **lq), 7, None, save_img=True)
    assert len(list((tmp_path / 'visualization').rglob('*.png'))) == 4
    assert not (tmp_path / 'metrics.csv').exists()
