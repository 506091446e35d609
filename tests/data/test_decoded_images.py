"""Decoded images in files: the same samples as without, whatever happens to the folder or to the images."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import shutil
import time
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader
from basicsr.utils import get_root_logger

from gsasr_plugin.data import decoded_images
from gsasr_plugin.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset
from gsasr_plugin.data.decoded_images import HEAD, KEPT_FREE, DecodedImages
from gsasr_plugin.data.epoch_sampler import EpochSampler
from gsasr_plugin.data.image_files import ImageFile, list_images, read_image
from gsasr_plugin.run_errors import DataError
from gsasr_plugin.whole_file import STAGING

SIZES = {'a.png': (64, 72), 'b.jpg': (50, 61), 'c.png': (48, 48)}


@pytest.fixture(autouse=True)
def small_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded_images, 'KEPT_FREE', 0)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(get_root_logger(), 'propagate', True)
    caplog.set_level(logging.WARNING)
    return caplog


@pytest.fixture
def cache(tmp_path: Path) -> DecodedImages:
    return DecodedImages(tmp_path / 'decoded')


def entries(cache: DecodedImages) -> list[Path]:
    return sorted(cache.folder.iterdir())


def training(root: str, **options: Any) -> ArbitraryScalePairedDataset:
    section = {'name': 'images', 'phase': 'train', 'dataroot_gt': root, 'lq_size': 12, 'scale_range': [1, 4]}
    return ArbitraryScalePairedDataset({**section, **options})


def batches(dataset: ArbitraryScalePairedDataset, workers: int) -> list[tuple[torch.Tensor, list[torch.Tensor]]]:
    section = {'phase': 'train', 'num_worker_per_gpu': workers, 'batch_size_per_gpu': 2}
    loader = build_dataloader(dataset, section, num_gpu=0, sampler=EpochSampler(dataset, 1, 0, 4), seed=0)
    return [(batch['lq'], batch['gt']) for batch in loader]


@pytest.mark.parametrize('backend', ['disk', 'lmdb'])
@pytest.mark.parametrize('workers', [0, 2])
def test_samples_are_the_same_with_and_without(
    write_images: Callable[..., str],
    make_lmdb: Callable[..., str],
    tmp_path: Path,
    backend: str,
    workers: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = write_images('gt', SIZES)
    if backend == 'lmdb':
        root = make_lmdb(root, sorted(SIZES))
    options = {'io_backend': {'type': backend}}
    expected = batches(training(root, **options), 0)
    cached = {'cache': 'disk', 'cache_dir': str(tmp_path / 'decoded')}
    for decodes in (True, False):
        if not decodes:
            monkeypatch.setattr(decoded_images, 'read_image', lambda _: pytest.fail('decoded again'))
        found = batches(training(root, **options, **cached), workers)
        for (lq, gt), (expected_lq, expected_gt) in zip(found, expected, strict=True):
            assert torch.equal(lq, expected_lq)
            assert all(torch.equal(a, b) for a, b in zip(gt, expected_gt, strict=True))
        sizes = sorted(path.stat().st_size for path in (tmp_path / 'decoded').iterdir())
        assert sizes == sorted(HEAD.size + 3 * h * w for h, w in SIZES.values())


def test_validation_reads_decoded_images_too(write_images: Callable[..., str], tmp_path: Path) -> None:
    section = {'name': 'v', 'phase': 'val', 'dataroot_gt': write_images('gt', SIZES), 'scales': [2]}
    plain = ArbitraryScalePairedDataset(section)
    cached = ArbitraryScalePairedDataset({**section, 'cache': 'disk', 'cache_dir': str(tmp_path / 'decoded')})
    for _ in range(2):
        for a, b in zip((plain[i] for i in range(3)), (cached[i] for i in range(3)), strict=True):
            assert torch.equal(a['lq'], b['lq']) and torch.equal(a['gt'], b['gt'])


def test_a_changed_image_is_decoded_again(write_images: Callable[..., str], cache: DecodedImages) -> None:
    root = write_images('gt', {'a.png': (20, 30)})
    (image,) = list_images(root, 'disk')
    before = cache.read(image).copy()
    write_images('gt', {'a.png': (20, 30)}, seed=1)
    os.utime(image.path, ns=(0, 12345))  # however fast the test, and even into the past
    after = cache.read(image)
    assert np.array_equal(after, read_image(image)) and not np.array_equal(after, before)
    assert np.array_equal(cache.read(image), after) and len(entries(cache)) == 1
    Path(image.path).unlink()
    with pytest.raises(DataError, match=r'a\.png cannot be read: No such file'):
        cache.read(image)


def test_a_changed_lmdb_is_decoded_again(
    write_images: Callable[..., str],
    make_lmdb: Callable[..., str],
    cache: DecodedImages,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = make_lmdb(write_images('gt', {'a.png': (20, 30)}), ['a.png'])
    (image,) = list_images(root, 'lmdb')
    cache.read(image)
    others = np.full((20, 30, 3), 7, np.uint8)
    monkeypatch.setattr(decoded_images, 'read_image', lambda _: others)  # LMDB forbids to write what is open here
    assert not np.array_equal(cache.read(image), others)
    os.utime(os.path.join(root, 'data.mdb'), ns=(0, 12345))
    assert np.array_equal(cache.read(image), others)


@pytest.mark.parametrize(
    'spoil',
    [
        lambda content: b'',
        lambda content: content[:10],
        lambda content: content[:-1],
        lambda content: content + b'x',
        lambda content: b'another!' + content[8:],
        lambda content: content[:8] + (1 << 62).to_bytes(8, 'little') + content[16:],
        lambda content: HEAD.pack(content[:8], -20, -30, *HEAD.unpack_from(content)[3:]) + content[HEAD.size :],
    ],
)
def test_a_spoilt_entry_is_noticed_and_written_again(
    write_images: Callable[..., str], cache: DecodedImages, spoil: Callable[[bytes], bytes]
) -> None:
    (image,) = list_images(write_images('gt', {'a.png': (20, 30)}), 'disk')
    expected = cache.read(image).copy()
    (entry,) = entries(cache)
    whole = entry.read_bytes()
    entry.write_bytes(spoil(whole))
    assert np.array_equal(cache.read(image), expected)
    assert entry.read_bytes() == whole


def test_a_full_disk_is_named_once_and_reading_goes_on(
    write_images: Callable[..., str],
    cache: DecodedImages,
    monkeypatch: pytest.MonkeyPatch,
    log: pytest.LogCaptureFixture,
) -> None:
    images = list_images(write_images('gt', SIZES), 'disk')
    cache.read(images[0])

    def refuse(file: int) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', refuse)
    for image in images * 2:
        assert np.array_equal(cache.read(image), read_image(image))
    assert len(log.records) == 1 and len(entries(cache)) == 1
    assert f'{cache.folder}, gets no more images (No space left on device)' in log.text and 'cache_dir' in log.text


@pytest.mark.parametrize(('left', 'written'), [(5 * 2**30, True), (5 * 2**30 - 1, False)])
def test_room_is_left_for_checkpoints(
    left: int,
    written: bool,
    write_images: Callable[..., str],
    cache: DecodedImages,
    monkeypatch: pytest.MonkeyPatch,
    log: pytest.LogCaptureFixture,
) -> None:
    """5 GiB are left when the 1,800 bytes of the pixels are written, or they are not."""
    (image,) = list_images(write_images('gt', {'a.png': (20, 30)}), 'disk')
    monkeypatch.setattr(decoded_images, 'KEPT_FREE', KEPT_FREE)
    usage = shutil.disk_usage(cache.folder)._replace(free=left + 1800)
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: usage)
    assert np.array_equal(cache.read(image), read_image(image))
    assert len(entries(cache)) == written
    assert written or 'gets no more images: 5 GiB of its disk are kept free' in log.text


@pytest.mark.parametrize('size', [(1, 1), (1, 30), (20, 30)])
def test_an_entry_is_read_instead_of_the_image(
    size: tuple[int, int],
    write_images: Callable[..., str],
    cache: DecodedImages,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (image,) = list_images(write_images('gt', {'a.png': size}), 'disk')
    expected = cache.read(image).copy()
    monkeypatch.setattr(decoded_images, 'read_image', None)
    assert expected.shape == (*size, 3) and np.array_equal(cache.read(image), expected)


def test_a_folder_that_cannot_be_made_is_named(
    write_images: Callable[..., str], tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    (tmp_path / 'file').write_text('')
    root = write_images('gt', SIZES)
    dataset = training(root, cache='disk', cache_dir=str(tmp_path / 'file' / 'below'))
    assert f'{tmp_path}/file/below, cannot be written to (Not a directory)' in log.text
    expected = training(root)
    assert torch.equal(dataset[0]['lq'], expected[0]['lq']) and len(log.records) == 1


def read_again_and_again(folder: Path, images: list[ImageFile], rounds: int) -> None:
    cache = DecodedImages(folder)
    for number in range(rounds):
        for image in images:
            if not np.array_equal(cache.read(image), read_image(image)):
                os._exit(3)
        if number % 5 == 4:  # stale for all, who then write it at once
            os.utime(images[0].path)


def test_processes_race_safely(write_images: Callable[..., str], tmp_path: Path) -> None:
    images = list_images(write_images('gt', SIZES), 'disk')
    context = multiprocessing.get_context('fork')
    processes = [
        context.Process(target=read_again_and_again, args=(tmp_path / 'decoded', images, 20)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(list((tmp_path / 'decoded').iterdir())) == 3


def test_left_overs_of_killed_processes_are_removed(cache: DecodedImages) -> None:
    old, new = cache.folder / f'{STAGING}old', cache.folder / f'{STAGING}new'
    old.touch()
    new.touch()
    os.utime(old, (time.time() - 7200,) * 2)
    DecodedImages(cache.folder)
    assert entries(cache) == [new]


def test_what_a_spawned_worker_finds_out_holds_for_all(cache: DecodedImages, log: pytest.LogCaptureFixture) -> None:
    copy = pickle.loads(ForkingPickler.dumps(cache))
    copy._close('is full')
    cache._close('is full')
    assert cache._is_closed and len(log.records) == 1
