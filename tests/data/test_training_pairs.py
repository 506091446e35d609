"""Training on pairs of LR and GT images: places to a hundredth of a pixel, mixtures, faults."""

from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from gsasr_plugin.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset
from gsasr_plugin.data.arbitrary_scale_paired_options import ArbitraryScalePairedDatasetOptions
from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.data.eight_bit import to_8_bit, to_float
from gsasr_plugin.data.epoch_sampler import EpochIndex
from gsasr_plugin.data.image_files import list_images, read_image
from gsasr_plugin.run_errors import DataError

# isort: split
from basicsr.utils import get_root_logger

OMEGA = 2 * np.pi * 0.09  # of the scene, per LR pixel: seven pixels a radian and a half
# Rows and columns. The sizes of the images make the factors exact or nearly so: they count, whatever they are.
FACTORS = [
    (1, 1), (1.5, 1.5), (2, 2), (2.5, 2.5), (2.85, 3.37), (3, 3), (3.37, 2.85), (3.7, 3.7), (4, 4), (1.1, 1.9),
    (2.2, 2.2), (2.75, 1.25), (3.14, 3.14), (1.73, 2.41), (5.3, 5.3), (6, 4.5), (7.77, 7.77), (8, 8), (11.3, 9.1),
    (12, 12),
]  # fmt: skip


def dataset(**options: Any) -> ArbitraryScalePairedDataset:
    opt = {'name': 'pairs', 'type': 'ArbitraryScalePairedDataset', 'phase': 'train', 'lq_size': 16}
    return ArbitraryScalePairedDataset({**opt, **options})


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)


def scene(edges: np.ndarray) -> np.ndarray:
    """The mean of sin(OMEGA t + 0.4) over each pixel of an axis, by its edges in LR pixels: an ideal sampler."""
    primitive = -np.cos(OMEGA * edges + 0.4) / OMEGA
    return np.diff(primitive) / np.diff(edges)


def sampled(size: tuple[int, int], lengths: tuple[int, int]) -> np.ndarray:
    """(H, W, 3), uint8: both axes' waves, over an area of so many LR pixels."""
    rows, columns = (scene(np.linspace(0, length, count + 1)) for count, length in zip(size, lengths))
    image = 0.5 + 0.24 * rows[:, None] + 0.24 * columns[None, :]
    return to_8_bit(np.repeat(image[..., None], 3, -1))


def phases(image: torch.Tensor, places: list[np.ndarray]) -> list[complex]:
    """The waves of rows and columns of (3, H, W), at places in LR pixels, as e^(i phase): least squares."""
    y, x = places
    rows, columns = np.meshgrid(y, x, indexing='ij')
    waves = [np.ones_like(rows), *(f(OMEGA * t) for t in (rows, columns) for f in (np.sin, np.cos))]
    design = np.stack([wave.ravel() for wave in waves], 1)
    found = np.linalg.lstsq(design, image[0].double().numpy().ravel(), rcond=None)[0]
    return [complex(found[1], found[2]), complex(found[3], found[4])]


def shifts(item: dict[str, Any]) -> list[float]:
    """By how much GT is shifted against LR where `grid` says it is, in LR pixels: rows, columns."""
    scale, offset = item['grid'].tolist()
    size = item['gt'].shape[1:]
    lq = phases(item['lq'], [np.arange(16) + 0.5] * 2)
    gt = phases(item['gt'], [offset[a] + (np.arange(size[a]) + 0.5) / scale[a] for a in (0, 1)])
    return [float(np.angle(b / a)) / OMEGA for a, b in zip(lq, gt)]


@pytest.fixture(scope='module')
def ideal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('ideal')
    for number, (rows, columns) in enumerate(FACTORS):
        lq_size = (121 + number % 4, 123 + number % 3)
        gt_size = (round(lq_size[0] * rows), round(lq_size[1] * columns))
        write(folder / 'lq' / f'{number:02}.png', sampled(lq_size, lq_size))
        write(folder / 'gt' / f'{number:02}.png', sampled(gt_size, lq_size))
    return folder


def test_pairs_of_an_ideal_sampler_are_not_shifted(ideal: Path) -> None:
    """At 20 factors, however the patches are turned. 8 bits alone move such a wave by up to 0.003 LR pixels."""
    pairs = dataset(dataroot_gt=str(ideal / 'gt'), dataroot_lq=str(ideal / 'lq'), cache='memory')
    offsets = set()
    for index in range(len(FACTORS)):
        found = []
        for epoch in range(8):
            item = pairs[EpochIndex(index, epoch=epoch)]
            scale, offset = item['grid'].tolist()
            size = item['gt'].shape[1:]
            assert all(-1e-6 <= offset[a] < 1 / scale[a] for a in (0, 1))
            # Not a whole GT pixel more would fit.
            ends = [offset[a] + size[a] / scale[a] for a in (0, 1)]
            assert all(ends[a] <= 16 + 1e-6 < ends[a] + 1 / scale[a] + 2e-6 for a in (0, 1))
            offsets.update(offset)
            found.append(shifts(item))
        assert np.abs(found).max() < 0.01, (FACTORS[index], found)
        assert np.abs(np.mean(found, axis=0)).max() < 0.003, FACTORS[index]
    assert len(offsets) > 100


def test_all_orientations_and_deterministic(ideal: Path) -> None:
    options: dict[str, Any] = {'dataroot_gt': str(ideal / 'gt'), 'dataroot_lq': str(ideal / 'lq')}
    pairs, again = dataset(**options, seed=3), dataset(**options, seed=3, cache='memory')
    scales = set()
    for epoch in range(16):
        item, other = pairs[EpochIndex(4, epoch=epoch)], again[EpochIndex(4, epoch=epoch)]
        assert all(torch.equal(item[key], other[key]) for key in ('lq', 'gt', 'grid', 'scale', 'drawn'))
        scales.add(tuple(item['scale'].tolist()))
    assert len(scales) == 2 and {s[::-1] for s in scales} == scales  # rows and columns change places
    plain = dataset(**options, use_hflip=False, use_rot=False)
    files = [read_image(list_images(str(ideal / root), 'disk')[5]) for root in ('lq', 'gt')]
    item = plain[5]
    for key, image in zip(('lq', 'gt'), files):
        patch = (item[key].numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8)
        places = np.lib.stride_tricks.sliding_window_view(image[..., 0], patch.shape[:2])
        assert (places == patch[..., 0]).all((-1, -2)).any()


def test_bicubic_pairs_are_what_is_made_on_the_fly(tmp_path: Path) -> None:
    """Bit for bit, where the crop is the whole image: numbers are drawn alike."""
    rng = np.random.default_rng(0)
    for name in 'abc':
        gt = cv2.resize(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8), (56, 32), interpolation=cv2.INTER_CUBIC)
        write(tmp_path / 'gt' / f'{name}.png', gt)
        write(tmp_path / 'lq' / f'{name}.png', to_8_bit(resize_bicubic(to_float(gt), (16, 16))))
    gt_root, lq_root = str(tmp_path / 'gt'), str(tmp_path / 'lq')
    made = dataset(dataroot_gt=gt_root, scales=[[2, 3.5]], quantize_lq=True)
    pairs = dataset(dataroot_gt=gt_root, dataroot_lq=lq_root)
    for epoch in range(8):
        for index in range(3):
            one, other = (data[EpochIndex(index, epoch=epoch)] for data in (made, pairs))
            assert all(torch.equal(one[key], other[key]) for key in ('lq', 'gt', 'scale', 'drawn'))
            assert other['grid'].tolist() == [one['scale'].tolist(), [0, 0]] and 'grid' not in one


def test_pairs_and_images_on_the_fly_mix(ideal: Path, write_images: Any) -> None:
    alone = write_images('alone', {'x.png': (70, 70), 'y.png': (80, 70)})
    mixed = dataset(
        dataroot_gt=[str(ideal / 'gt'), alone],
        dataroot_lq=[str(ideal / 'lq'), None],
        root_repeats=[1, 5],
        scale_range=[1, 4],
        degradation='light',
    )
    assert len(mixed) == 20 + 5 * 2
    items = [mixed[index] for index in range(len(mixed))]
    assert [item['lq_path'] == item['gt_path'] for item in items] == [False] * 20 + [True] * 10
    made = items[20:]
    assert all(item['grid'].tolist()[1] == [0, 0] for item in made)
    assert len({item['gt'].shape for item in made}) > 2  # each time drawn anew
    batch = default_collate(items[::7])
    assert batch['grid'].shape == (5, 2, 2) and len(batch['gt']) == 5
    one_gt = dataset(
        dataroot_gt=str(ideal / 'gt'), dataroot_lq=[str(ideal / 'lq'), None], scales=[1], root_repeats=[2, 1]
    )
    assert [image.pair is None for image in one_gt.images] == [False] * 40 + [True] * 20


def test_mappings_templates_lists_and_lmdbs(tmp_path: Path, write_images: Any, make_lmdb: Any) -> None:
    names = ('a', 'b')
    gt = write_images('gt', {f'{name}.png': (64, 96) for name in names})
    for scale in (2, 3.2):
        write_images(f'X{scale}', {f'{name}x{scale}.png': (int(64 / scale), int(96 / scale)) for name in names})
    roots = {scale: str(tmp_path / f'X{scale}') for scale in (2, 3.2)}
    listing = tmp_path / 'list.txt'
    listing.write_text('b.png\n')
    options: dict[str, Any] = {'filename_tmpl': '{}x{scale}'}
    from_folders = dataset(dataroot_gt=gt, dataroot_lq=roots, **options)
    assert [image.pair.nominal for image in from_folders.images if image.pair] == [(2, 2)] * 2 + [(3.2, 3.2)] * 2
    lmdbs = {scale: make_lmdb(root, [f'{name}x{scale}.png' for name in names]) for scale, root in roots.items()}
    gt_lmdb = make_lmdb(gt, ['a.png', 'b.png'])
    from_lmdbs = dataset(dataroot_gt=gt_lmdb, dataroot_lq=lmdbs, io_backend={'type': 'lmdb'}, **options)
    for index in range(4):
        one, other = from_folders[index], from_lmdbs[index]
        assert all(torch.equal(one[key], other[key]) for key in ('lq', 'gt', 'grid'))
    selected = dataset(dataroot_gt=gt, dataroot_lq=roots, meta_info_file=str(listing), **options)
    assert [os.path.basename(image.gt.path) for image in selected.images] == ['b.png'] * 2
    with pytest.raises(
        DataError, match=r"'\{\}x\{scale\}' needs the scale of .*: give dataroot_lq as \{scale: path\}$"
    ):
        dataset(dataroot_gt=gt, dataroot_lq=list(roots.values()), **options)
    with pytest.raises(DataError, match=r'do not fit scale 3: GT .*a\.png has 64 x 96'):
        dataset(dataroot_gt=gt, dataroot_lq={3: roots[2]}, filename_tmpl='{}x2')
    # An LMDB without a partner that its index promises: as for GT alone.
    shutil.rmtree(gt_lmdb)
    make_lmdb(gt, ['a.png'])
    with pytest.raises(DataError, match=r'LR images in .* without a GT image in .*: bx2'):
        dataset(dataroot_gt=gt_lmdb, dataroot_lq=lmdbs[2], io_backend={'type': 'lmdb'}, filename_tmpl='{}x2')


def test_faulty_pairs_are_named_before_the_start_or_left_out(
    write_images: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_root_logger(), 'propagate', True)
    caplog.set_level(logging.INFO)
    sizes = {'good': (60, 80), 'small': (20, 20), 'larger': (40, 40), 'alone': (60, 60), 'torn': (60, 60)}
    gt = write_images('gt', {f'{name}.png': size for name, size in sizes.items()})
    lq = write_images(
        'lq', {'good.png': (30, 40), 'small.png': (10, 10), 'larger.png': (80, 80), 'extra.png': (30, 30)}
    )
    Path(lq, 'torn.png').write_bytes(b'no image')
    roots = {'dataroot_gt': gt, 'dataroot_lq': lq}
    with pytest.raises(DataError, match=r'lq/torn\.png: not readable as an image\. Set on_error: skip'):
        dataset(**roots)
    os.unlink(Path(lq, 'torn.png'))
    with pytest.raises(DataError) as caught:
        dataset(**roots, small_images='skip')
    for word in (
        r'alone.png (LR alone)',
        'torn.png (LR torn)',
        'GT image in',
        ': extra',
        'any scale of at least 1: GT',
        'larger.png has 40 x 40',
        'on_error: skip',
    ):
        assert word in str(caught.value), word
    with pytest.raises(
        DataError,
        match=r'1 of 2 images have fewer than 16 x 16 .* patch of lq_size 16: .*small.* or lower lq_size$',
    ):
        dataset(**roots, on_error='skip')
    pairs = dataset(**roots, on_error='skip', small_images='skip')
    assert [Path(image.gt.path).name for image in pairs.images] == ['good.png']
    for options in ({'small_images': 'skip'}, {'on_error': 'skip'}):  # every fault says of which data set it is
        with pytest.raises(DataError, match=r'^data set pairs: '):
            dataset(**roots, **options)
    assert 'alone.png' in caplog.text and 'left out' in caplog.text and 'pairs: 1 at x2' in caplog.text
    write_images('lq', {'good.png': (20, 27)})
    with pytest.raises(DataError, match='none of its 1 images can be read any more'):
        pairs[0]
    assert 'good.png has 20 x 27 pixels (rows x columns), other than when it was listed' in caplog.text


def test_errors_say_where_no_pair_is_left(write_images: Any) -> None:
    """As neither an empty training nor the advice to leave out what has been left out."""
    gt = write_images('gt', {'a.png': (60, 60), 'b.png': (60, 60)})
    lq = write_images('lq', {'c.png': (30, 30)})
    roots = {'dataroot_gt': gt, 'dataroot_lq': lq, 'on_error': 'skip'}
    with pytest.raises(DataError, match=r'without an LR image.*a\.png.*none is left$'):
        dataset(**roots)
    os.rename(Path(lq, 'c.png'), Path(lq, 'a.png'))
    Path(lq, 'a.png').write_bytes(b'no image')
    Path(lq, 'b.png').write_bytes(b'no image')
    with pytest.raises(DataError, match=r'no pair can be read$'):
        dataset(**roots)


def test_pairs_of_one_folder(tmp_path: Path, write_images: Any, make_lmdb: Any) -> None:
    """RealSR's: HR and LR of three scales side by side, enlarged to the size of HR in its third version (x1)."""
    scales = (2, 3, 4)
    names = [f'Canon_{number:03}' for number in (1, 2)]
    sizes = {f'{name}_HR.png': (96, 120) for name in names}
    first = write_images('v1', sizes | {f'{name}_LR{s}.png': (96 // s, 120 // s) for name in names for s in scales})
    options: dict[str, Any] = {'gt_filename_tmpl': '{}_HR', 'filename_tmpl': '{}_LR{scale}'}
    pairs = dataset(dataroot_gt=first, dataroot_lq=dict.fromkeys(scales, first), **options)

    def stems(data: ArbitraryScalePairedDataset) -> list[tuple[str, str]]:
        return [(image.gt.stem, image.pair.lq.stem) for image in data.images if image.pair is not None]

    expected = [(f'{name}_HR', f'{name}_LR{s}') for s in scales for name in names]
    assert stems(pairs) == expected
    assert [image.pair.scale for image in pairs.images if image.pair] == [(s, s) for s in scales for _ in names]
    lmdb = make_lmdb(first, [Path(name).name for name in sorted(os.listdir(first))])
    of_lmdb = dataset(dataroot_gt=lmdb, dataroot_lq=dict.fromkeys(scales, lmdb), io_backend={'type': 'lmdb'}, **options)
    assert stems(of_lmdb) == expected and torch.equal(of_lmdb[3]['gt'], pairs[3]['gt'])

    # A folder for each scale, and one template each: LR and HR are of one size, and so is the scale.
    folders = [write_images(f'v3/{s}', sizes | {f'{name}_LR{s}.png': (96, 120) for name in names}) for s in scales]
    options['filename_tmpl'] = [f'{{}}_LR{s}' for s in scales]
    enlarged = dataset(dataroot_gt=folders, dataroot_lq=folders, **options)
    assert stems(enlarged) == expected
    item = enlarged[0]
    assert item['lq'].shape == item['gt'].shape == (3, 16, 16) and item['grid'].tolist() == [[1, 1], [0, 0]]

    # DRealSR's: GT is called x1; folders of their own.
    gt, lq = write_images('d/gt', {'sony_1_x1.png': (96, 120)}), write_images('d/lq', {'sony_1_x4.png': (24, 30)})
    templates: dict[str, Any] = {'gt_filename_tmpl': '{}_x1', 'filename_tmpl': '{}_x{scale}'}
    assert stems(dataset(dataroot_gt=gt, dataroot_lq={4: lq}, **templates)) == [('sony_1_x1', 'sony_1_x4')]
    opt = {'name': 'set', 'type': 'ArbitraryScalePairedDataset', 'phase': 'test', 'dataroot_gt': first}
    tested = ArbitraryScalePairedDataset(
        {**opt, 'dataroot_lq': {4: first}, 'gt_filename_tmpl': '{}_HR', 'filename_tmpl': '{}_LR{scale}'}
    )
    assert [item['name'] for item in tested] == [f'{name}_LR4' for name in names]

    os.unlink(Path(first, 'Canon_002_LR3.png'))
    with pytest.raises(DataError, match=r'without an LR image in .*Canon_002_HR\.png \(LR Canon_002_LR3\)\. Set'):
        dataset(dataroot_gt=first, dataroot_lq={3: first}, **{**options, 'filename_tmpl': '{}_LR{scale}'})
    with pytest.raises(DataError, match=r"no image in .* has a name of the form '\{\}_GT'"):
        dataset(dataroot_gt=first, dataroot_lq=first, gt_filename_tmpl='{}_GT', filename_tmpl='{}_LR2')
    with pytest.raises(DataError, match=r'LR images of .* that are the GT images themselves: .*tell the images of one'):
        dataset(dataroot_gt=first, dataroot_lq=first)


def test_grey_and_16_bit_pairs(tmp_path: Path) -> None:
    wave = sampled((40, 40), (40, 40))[..., 0]
    write(tmp_path / 'gt' / 'a.png', wave.astype(np.uint16) * 257)
    write(tmp_path / 'lq' / 'a.png', sampled((20, 20), (40, 40))[..., 0])
    item = dataset(dataroot_gt=str(tmp_path / 'gt'), dataroot_lq=str(tmp_path / 'lq'))[0]
    assert item['lq'].shape == (3, 16, 16) and item['gt'].shape == (3, 32, 32)
    assert torch.equal(item['lq'][0], item['lq'][2]) and item['grid'].tolist() == [[2, 2], [0, 0]]


def test_a_factor_given_or_whole_is_kept_where_gt_lacks_pixels(tmp_path: Path, write_images: Any) -> None:
    """MATLAB rounds LR sizes up: 119 GT rows make 30 LR rows at x4, of which the last one has no GT below."""
    gt, lq = write_images('gt', {'a.png': (119, 120)}), write_images('lq', {'a.png': (30, 30)})
    pairs = dataset(dataroot_gt=gt, dataroot_lq=lq, use_rot=False)
    assert {tuple(pairs[EpochIndex(0, epoch=e)]['scale'].tolist()) for e in range(4)} == {(4, 4)}
    assert {pairs[EpochIndex(0, epoch=e)]['gt'].shape[1] for e in range(60)} == {63, 64}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'dataroot_gt': ['a', 'b'], 'dataroot_lq': 'c'}, 'one entry, or null, for each dataroot_gt'),
        ({'dataroot_gt': ['a', 'b'], 'dataroot_lq': {2: 'c'}}, 'needs one dataroot_gt'),
        ({'dataroot_lq': {'2': 'c'}}, 'must be numbers'),
        ({'dataroot_lq': []}, r'dataroot_lq names no folder, got \[\]'),
        ({'dataroot_lq': {}}, r'dataroot_lq names no folder, got \{\}'),
        ({'dataroot_gt': []}, 'dataroot_gt names no folder'),
        ({'phase': 'test', 'dataroot_gt': [], 'scales': [2]}, 'dataroot_gt names no folder'),
        ({'phase': 'val', 'dataroot_lq': {}}, 'dataroot_lq names no folder'),
        ({'dataroot_lq': 'c', 'scales': [2]}, r'scales is for LR made from GT.*mapping.*got \[2\]'),
        ({'dataroot_lq': 'c', 'degradation': 'light'}, 'degradation is for LR made from GT'),
        ({'dataroot_lq': 'c', 'lq_size': 3}, 'lq_size must be at least 4 with pairs'),
        *(
            ({'dataroot_lq': 'c', 'filename_tmpl': template}, f'filename_tmpl is a text .* got .{re.escape(template)}')
            for template in ('{}x{factor}', '{}x{', '{}{}', '{0.a}', '{0[a]}', '{:d}')
        ),
        ({'dataroot_lq': 'c', 'filename_tmpl': ['{}', '{}x2']}, 'filename_tmpl needs one text per dataroot_lq'),
        *(
            ({'dataroot_lq': 'c', 'gt_filename_tmpl': template}, "gt_filename_tmpl is a text with one '{}'")
            for template in ('', 'HR', '{}{}', '{}_{scale}', '{}_{')
        ),
        ({'root_repeats': [1, 2]}, 'root_repeats needs 1 numbers'),
        ({'root_repeats': [0]}, 'root_repeats.*: given'),
        ({'phase': 'val', 'dataroot_lq': ['a', None]}, 'null in dataroot_lq is for training'),
        ({'phase': 'val', 'scales': [2], 'root_repeats': [1]}, 'root_repeats is for training'),
    ],
)
def test_options_that_do_not_fit_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ArbitraryScalePairedDatasetOptions.from_opt({'phase': 'train', 'dataroot_gt': 'a', **changes})


def test_pairs_off_by_a_pixel_x1_and_any_ratio_are_tested(
    write_images: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_root_logger(), 'propagate', True)
    caplog.set_level(logging.INFO)
    pairs = {
        'a': ((101, 79), (100, 80), (1, 1), (100, 79)),  # x1: a row too many, a column too few
        'b': ((120, 240), (60, 60), (2, 4), (120, 240)),
        'c': ((121, 81), (60, 40), (2, 2), (120, 80)),
        'd': ((1142, 285), (400, 100), (2.855, 2.855), (1142, 285)),  # a camera's
    }
    gt = write_images('gt', {f'{name}.png': pair[0] for name, pair in pairs.items()})
    lq = write_images('lq', {f'{name}.png': pair[1] for name, pair in pairs.items()})
    opt = {'name': 'set', 'type': 'ArbitraryScalePairedDataset', 'phase': 'test', 'dataroot_gt': gt, 'dataroot_lq': lq}
    items = list(ArbitraryScalePairedDataset(opt))
    assert 'data set set: pairs: 1 at x1, 1 at x2, 1 at x2x4, 1 at x2.855' in caplog.text
    for item, (_, _, scale, size) in zip(items, pairs.values(), strict=True):
        assert tuple(item['nominal_scale'].tolist()) == scale
        assert tuple(item['gt'].shape[1:]) == tuple(item['size'].tolist()) == size
    assert items[0]['lq'].shape == (3, 100, 79) and items[0]['scale'].tolist() == [1, 1]


def test_listing_pairs_leaves_the_log_to_the_run(ideal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of options lists pairs before a run begins: a logger that it set up would never get the run's file."""
    known: dict[str, bool] = {}
    monkeypatch.setattr('basicsr.utils.logger.initialized_logger', known)
    opt = {'name': 'set', 'type': 'ArbitraryScalePairedDataset', 'phase': 'test'}
    ArbitraryScalePairedDataset({**opt, 'dataroot_gt': str(ideal / 'gt'), 'dataroot_lq': str(ideal / 'lq')})
    assert not known
