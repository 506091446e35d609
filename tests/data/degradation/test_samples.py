"""Training samples: LR patches are cut out of something larger, at any scale and however they are turned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from gsasr_plugin.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset
from gsasr_plugin.data.crop_place import CropPlace
from gsasr_plugin.data.degradation import process, samples
from gsasr_plugin.data.degradation.options import PRESETS, DegradationOptions
from gsasr_plugin.data.degradation.process import Degradation
from gsasr_plugin.data.degradation.samples import degraded_patch
from gsasr_plugin.data.epoch_sampler import EpochIndex
from tests.data.degradation.test_process import NO_JPEG, QUIET, SCALES, blob, centroid
from tests.data.test_training_items import assert_equal_batches, epochs, options

# isort: split
from basicsr.utils.img_process_util import usm_sharp

# Everything fixed, and no JPEG: a linear filter that is the same everywhere.
FIXED: dict[str, Any] = {
    **{'gt_usm': False, 'resize_modes': ['antialiased_bicubic'], 'resize_prob': [0, 0, 1], 'resize_prob2': [0, 0, 1]},
    **{'noise_prob': 0, 'noise_prob2': 0, 'jpeg_prob': 0, 'jpeg_prob2': 0, 'sinc_prob': 0, 'final_sinc_prob': 0},
    **{'kernel_list': ['iso'], 'kernel_prob': [1], 'blur_sigma': [1.5, 1.5], 'blur_kernel_size': 7},
    'second_blur_prob': 0,
}


@pytest.fixture
def root(write_images: Any) -> str:
    return write_images('gt', {f'{i}.png': (100 + 7 * i, 120 - 5 * i) for i in range(4)})


@pytest.fixture
def image() -> np.ndarray:
    from skimage import data

    return np.ascontiguousarray(data.chelsea()[:200, :260])


TURNS = [(x, y, t) for x in (False, True) for y in (False, True) for t in (False, True)]


@pytest.mark.parametrize('turn', TURNS)
def test_margins_come_from_the_image(turn: tuple[bool, bool, bool]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    place = CropPlace(10, 12, 9, 14, *turn)
    plain = place.cut(image)
    assert plain.shape[:2] == place.size
    wide = place.cut(image, ((1, 2), (3, 4)))
    height, width = place.size
    assert np.array_equal(wide[1 : 1 + height, 3 : 3 + width], plain) and wide.shape == (height + 3, width + 7, 3)
    # Whole, the image as it is turned: the same pixels lie around the crop in both.
    whole = CropPlace(0, 0, 40, 50, *turn).cut(image)
    tops, lefts = np.where(
        (np.lib.stride_tricks.sliding_window_view(whole, wide.shape)[:, :, 0] == wide).all((2, 3, 4))
    )
    assert len(tops) == len(lefts) == 1
    # Beyond the image it is mirrored.
    corner = CropPlace(0, 45, 6, 5, *turn).cut(image, ((8, 8), (8, 8)))
    padded = cv2.copyMakeBorder(image, 8, 8, 8, 8, cv2.BORDER_REFLECT_101)
    assert np.array_equal(corner, CropPlace(0, 45, 22, 21, *turn).cut(padded))


@pytest.mark.parametrize('turn', TURNS)
def test_a_patch_is_a_part_of_the_whole_degraded(image: np.ndarray, turn: tuple[bool, bool, bool]) -> None:
    """At a whole scale LR of the whole image and of a patch have one grid: they are equal up to the patch's border."""
    degradation = Degradation(DegradationOptions.of(FIXED))
    turned = CropPlace(0, 0, 200, 260, *turn).cut(image)
    lq_size = (turned.shape[0] // 2, turned.shape[1] // 2)
    whole = degradation(np.random.default_rng(0), turned.astype(np.float32) / 255, lq_size)
    top, left, (flip_x, flip_y, transpose) = 60, 80, turn
    y, x = 200 - top - 48 if flip_y else top, 260 - left - 48 if flip_x else left
    y, x = (x, y) if transpose else (y, x)
    for seed in range(4):
        place = CropPlace(top, left, 48, 48, *turn)
        gt, lq = degraded_patch(degradation, np.random.default_rng(seed), image, place, 24)
        assert np.array_equal(np.rint(gt * 255), turned[y : y + 48, x : x + 48])
        # 2e-6: float32, in which sums are taken in another order.
        assert np.abs(lq - whole[y // 2 : y // 2 + 24, x // 2 : x // 2 + 24]).max() < 2e-6


def test_wide_kernels_see_what_lies_beyond(image: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """At x1 the first blur reaches further, 10 pixels, than the LR pixels around a patch."""
    monkeypatch.setattr(process, 'LEAST_KERNEL_SIZE', 21)
    wide = {**FIXED, 'blur_kernel_size': 21, 'blur_sigma': [3, 3]}
    degradation = Degradation(DegradationOptions.of(wide))
    whole = degradation(np.random.default_rng(0), image.astype(np.float32) / 255, (200, 260))
    for seed in range(4):
        place = CropPlace(60, 80, 24, 24, False, False, False)
        _, lq = degraded_patch(degradation, np.random.default_rng(seed), image, place, 24)
        assert np.abs(lq - whole[60:84, 80:104]).max() < 2e-6


@pytest.mark.slow
@pytest.mark.parametrize('preset', PRESETS)
def test_patches_are_not_shifted(preset: str) -> None:
    """As `test_nothing_is_shifted`, of training samples: a bump in GT and LR at one place, below 0.05 LR pixels."""
    degradation = Degradation(DegradationOptions.of({'preset': preset, **QUIET, **NO_JPEG}))
    for scale in SCALES:
        size = tuple(round(48 * s) for s in scale)
        image = np.rint(
            blob((size[0] + 9, size[1] + 7), (size[0] * 0.45, size[1] * 0.55), tuple(3 * s for s in scale)) * 255
        )
        shifts = []
        rng = np.random.default_rng(0)
        for turn in TURNS:
            place = CropPlace(5, 3, *size, *turn)
            gt, lq = degraded_patch(degradation, rng, image.astype(np.uint8), place, 48)
            factors = np.array(place.size) / 48
            peak = np.unravel_index(gt[..., 0].argmax(), gt.shape[:2])
            light = cv2.resize(gt, (480, 480), interpolation=cv2.INTER_LINEAR)
            expected = centroid(light, tuple(np.array(peak) / factors * 10), 150) / 10
            shifts.append(centroid(lq, tuple(expected), 15) - expected)
        assert np.abs(np.mean(shifts, axis=0)).max() < 0.05, scale


def test_the_blocks_of_a_jpeg_begin_anywhere(image: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """All 16 x 16 phases occur; the patch lies in whole blocks, with CONTEXT pixels around it at least."""
    seen = set()
    rng = np.random.default_rng(0)
    for lq_size in (24, 48, 7):
        for _ in range(400):
            before, behind = samples._around(rng, lq_size)
            assert min(before, behind) >= samples.CONTEXT and (before + lq_size + behind) % 16 == 0
            assert behind < samples.CONTEXT + 16
            seen.add(before % 16)
    assert seen == set(range(16))


def test_clean_samples_are_bicubic(root: str) -> None:
    clean = ArbitraryScalePairedDataset(options(root, degradation={'preset': 'light', 'clean_prob': 1}))
    plain = ArbitraryScalePairedDataset(options(root, quantize_lq=True))
    for epoch in range(5):
        one, other = (dataset[EpochIndex(1, epoch=epoch)] for dataset in (clean, plain))
        assert torch.equal(one['gt'], other['gt']) and torch.equal(one['lq'], other['lq'])
    half = ArbitraryScalePairedDataset(options(root, degradation={'preset': 'light', 'clean_prob': 0.5}))
    same = [torch.equal(half[EpochIndex(0, epoch=e)]['lq'], plain[EpochIndex(0, epoch=e)]['lq']) for e in range(60)]
    assert abs(np.mean(same) - 0.5) < 5 * (0.25 / 60) ** 0.5


def test_scales_and_crops_are_those_without_degradation(root: str) -> None:
    plain, light = (ArbitraryScalePairedDataset(options(root, **more)) for more in ({}, {'degradation': 'light'}))
    for epoch in range(5):
        one, other = (dataset[EpochIndex(2, epoch=epoch)] for dataset in (plain, light))
        assert torch.equal(one['gt'], other['gt']) and torch.equal(one['scale'], other['scale'])
        assert not torch.equal(one['lq'], other['lq'])
        assert torch.equal(other['lq'] * 255, (other['lq'] * 255).round())  # of 8 bits, as a stored image


def test_gt_is_sharpened_as_in_real_esrgan(image: np.ndarray) -> None:
    """A patch of the sharpened image, whatever lies around it; LR is made of it."""
    whole = usm_sharp(image.astype(np.float32) / 255)
    degradation = Degradation(DegradationOptions.of({**FIXED, 'gt_usm': True}))
    place = CropPlace(70, 90, 48, 48, False, False, False)
    gt, lq = degraded_patch(degradation, np.random.default_rng(0), image, place, 24)
    assert np.abs(gt - whole[70:118, 90:138]).max() < 1e-5
    assert np.abs(gt - image[70:118, 90:138] / 255).max() > 0.02
    made = degradation(np.random.default_rng(0), whole.astype(np.float32), (100, 130))
    assert np.abs(lq - made[35:59, 45:69]).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize('degradation', ['light', 'real_esrgan'])
def test_any_number_of_workers_gives_the_same_bits(root: str, degradation: str) -> None:
    dataset = ArbitraryScalePairedDataset(options(root, degradation=degradation, unequal_scales=True))
    assert_equal_batches(epochs(dataset, 0), epochs(dataset, 2))


def test_threads_do_not_meet(root: str) -> None:
    """Samples made in threads at the same time are those made one after the other."""
    from concurrent.futures import ThreadPoolExecutor

    dataset = ArbitraryScalePairedDataset(options(root, degradation='real_esrgan'))
    drawn = [EpochIndex(index, epoch=epoch) for epoch in range(4) for index in range(4)]
    alone = [dataset[index]['lq'] for index in drawn]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda index: dataset[index]['lq'], drawn))
    assert all(torch.equal(one, other) for one, other in zip(alone, together))


def test_16_bits_and_grey(tmp_path: Path) -> None:
    """As for GT alone: 16 bits are reduced, grey is repeated."""
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.integers(0, 256, (20, 20), dtype=np.uint8), (80, 80))
    cv2.imwrite(str(tmp_path / 'grey.png'), smooth)
    cv2.imwrite(str(tmp_path / 'sixteen.png'), np.repeat(smooth[..., None], 3, axis=2).astype(np.uint16) * 257)
    dataset = ArbitraryScalePairedDataset(options(str(tmp_path), degradation='light'))
    plain = ArbitraryScalePairedDataset(options(str(tmp_path)))
    for index in range(2):
        assert torch.equal(dataset[index]['gt'], plain[index]['gt'])
        assert dataset[index]['lq'].shape == (3, 16, 16)
    place, light = CropPlace(10, 10, 32, 32, False, False, False), Degradation(DegradationOptions.of('light'))
    made = [
        degraded_patch(light, np.random.default_rng(0), dataset.reader.read(image.gt), place, 16)[1]
        for image in dataset.images
    ]
    assert np.array_equal(*made)


def test_images_smaller_than_the_crop_are_named(write_images: Any) -> None:
    root = write_images('small', {'a.png': (64, 64), 'b.png': (63, 64)})
    with pytest.raises(ValueError, match=r'1 of 2 images have fewer than 64 x 64'):
        ArbitraryScalePairedDataset(options(root, degradation='light'))
    dataset = ArbitraryScalePairedDataset(options(root, degradation='light', small_images='skip', scales=[4]))
    assert len(dataset) == 1 and dataset[0]['lq'].shape == (3, 16, 16)
