"""Images of every kind and with every fault: read right, or named before training, or left out as asked."""

from __future__ import annotations

import gc
import io
import multiprocessing
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader
from basicsr.utils import get_root_logger
from PIL import Image

from gsasr_plugin.commands import main
from gsasr_plugin.data import decoded_images
from gsasr_plugin.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset
from gsasr_plugin.data.epoch_sampler import EpochSampler
from gsasr_plugin.data.image_check import check_images
from gsasr_plugin.data.image_files import ImageFile, image_sizes, list_images, read_image
from gsasr_plugin.run_errors import DataError

COARSE = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
PHOTO = cv2.resize(COARSE, (72, 64))  # 64 x 72, RGB
GREY = np.asarray(Image.fromarray(PHOTO).convert('L'))
SIDEWAYS = Image.Exif()
SIDEWAYS[274] = 6  # to be turned clockwise


def encoded(image: Image.Image | np.ndarray, suffix: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    picture.save(
        buffer, {'.jpg': 'JPEG', '.png': 'PNG', '.tif': 'TIFF', '.webp': 'WEBP', '.bmp': 'BMP'}[suffix], **options
    )
    return buffer.getvalue()


def sixteen_bit(image: np.ndarray) -> bytes:
    return cv2.imencode('.png', image[..., ::-1].astype(np.uint16) * 257)[1].tobytes()


PALETTE = Image.fromarray(PHOTO).quantize(64)
BEST = {'quality': 100}
GREY_3 = np.repeat(GREY[..., None], 3, axis=2)
TURNED = np.rot90(PHOTO, -1)
# name -> content, the pixels that are right, largest mean difference (JPEG and CMYK are not lossless)
KINDS: dict[str, tuple[bytes, np.ndarray, float]] = {
    'grey.png': (encoded(GREY, '.png'), GREY_3, 0),
    'grey alpha.png': (encoded(Image.fromarray(PHOTO).convert('LA'), '.png'), GREY_3, 0),
    'rgba.png': (encoded(np.dstack([PHOTO, GREY]), '.png'), PHOTO, 0),
    'palette.png': (encoded(PALETTE, '.png'), np.asarray(PALETTE.convert('RGB')), 0),
    'bilevel.png': (
        encoded(Image.fromarray(PHOTO).convert('1'), '.png'),
        np.asarray(Image.fromarray(PHOTO).convert('1').convert('RGB')),
        0,
    ),
    '16 bit.png': (sixteen_bit(PHOTO), PHOTO * np.uint16(257), 0),
    '16 bit grey.png': (encoded(GREY.astype(np.uint16) * 257, '.png'), GREY_3 * np.uint16(257), 0),
    'cmyk.jpg': (encoded(Image.fromarray(PHOTO).convert('CMYK'), '.jpg', **BEST), PHOTO, 1.5),
    'cmyk.tif': (encoded(Image.fromarray(PHOTO).convert('CMYK'), '.tif'), PHOTO, 0.5),
    'grey.jpg': (encoded(GREY, '.jpg', **BEST), GREY_3, 1),
    'turned.jpg': (encoded(PHOTO, '.jpg', exif=SIDEWAYS, subsampling=0, **BEST), TURNED, 1),
    'turned.png': (encoded(PHOTO, '.png', exif=SIDEWAYS), TURNED, 0),
    'turned.tif': (encoded(PHOTO, '.tif', exif=SIDEWAYS), TURNED, 0),
    'turned.webp': (encoded(PHOTO, '.webp', exif=SIDEWAYS, lossless=True), TURNED, 0),
    'plain.bmp': (encoded(PHOTO, '.bmp'), PHOTO, 0),
}


@pytest.mark.parametrize('name', KINDS)
def test_every_kind_is_read_right(tmp_path: Path, name: str) -> None:
    content, expected, difference = KINDS[name]
    (tmp_path / name).write_bytes(content)
    images = list_images(str(tmp_path), 'disk')
    pixels = read_image(images[0])
    assert pixels.shape == expected.shape and pixels.dtype == expected.dtype
    assert np.abs(pixels.astype(float) - expected).mean() <= difference
    assert image_sizes(images) == [expected.shape[:2]]
    assert check_images(images) == {}


def spoilt(content: bytes, replacement: bytes = b'\x55' * 100) -> bytes:
    """With some bytes replaced in the middle."""
    middle = len(content) // 2
    return content[:middle] + replacement + content[middle + len(replacement) :]


JPEG = encoded(PHOTO, '.jpg', **BEST)
FAULTS = {
    'cut.png': encoded(PHOTO, '.png')[:-500],
    'cut.jpg': JPEG[: len(JPEG) // 2],
    'cut.tif': encoded(PHOTO, '.tif')[:-2000],
    'cut.bmp': encoded(PHOTO, '.bmp')[:-2000],
    'cut.webp': encoded(PHOTO, '.webp', lossless=True)[:-500],
    'damaged.png': spoilt(encoded(PHOTO, '.png')),
    'damaged.jpg': spoilt(JPEG, b'\xff\xc0'),  # a second header; damage within the data of a JPEG cannot be told
    'empty.png': b'',
    'text.png': b'not an image',
    'header only.png': encoded(PHOTO, '.png')[:33],
}


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder of three sound images and every fault."""
    for number in range(3):
        (tmp_path / f'sound{number}.png').write_bytes(encoded(np.roll(PHOTO, 9 * number, axis=1), '.png'))
    for name, content in FAULTS.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_every_fault_is_named_by_the_check(mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = check_images(list_images(str(mixed), 'disk'))
    assert {Path(image.path).name for image in found} == FAULTS.keys()
    assert main(['check-data', str(mixed)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(FAULTS) + 1 and lines[-1] == f'{mixed}: 13 images, 10 of them not usable'
    assert f'{mixed}/empty.png: it is empty' in lines
    assert f'{mixed}/text.png: cannot be decoded ({(mixed / "text.png").stat().st_size} bytes)' in lines
    for name in FAULTS:
        (mixed / name).unlink()
    assert main(['check-data', str(mixed)]) == 0


@pytest.mark.parametrize(('progress', 'terminal'), [('photographs', True), ('photographs', False), (None, True)])
def test_progress_is_shown_on_a_terminal_if_wanted(
    progress: str | None, terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'a.png').write_bytes(encoded(PHOTO, '.png'))
    stderr = io.StringIO()
    stderr.isatty = lambda: terminal  # type: ignore[method-assign]
    monkeypatch.setattr('sys.stderr', stderr)
    check_images(list_images(str(tmp_path), 'disk'), progress=progress)
    shown = stderr.getvalue()
    assert bool(shown) == (terminal and progress is not None)
    assert not shown or ('checking photographs: 100%' in shown and '1/1' in shown and 'image/s' in shown)


def test_an_option_file_says_what_to_check(mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / 'options.yml'
    file.write_text(f'datasets:\n  train: {{dataroot_gt: {mixed}}}\n  val: {{dataroot_lq: {{2: {mixed}/gone}}}}\n')
    assert main(['check-data', '--opt', str(file)]) == 1
    out = capsys.readouterr().out
    assert f'{mixed}: 13 images, 10 of them' in out and 'gone' in out
    assert main(['check-data']) == 2


def training(root: Path | str, **options: Any) -> ArbitraryScalePairedDataset:
    section = {'name': 'images', 'phase': 'train', 'dataroot_gt': str(root), 'lq_size': 12, 'scale_range': [1, 4]}
    return ArbitraryScalePairedDataset({**section, **options})


def test_a_training_stops_before_it_begins(mixed: Path) -> None:
    with pytest.raises(DataError, match=r'data set images: .*empty\.png.*text\.png.*Set on_error: skip'):
        training(mixed)
    with pytest.raises(DataError, match=r'damaged\.jpg: it is damaged'):
        training(mixed, check_images=True)


def test_faulty_images_are_left_out_as_asked(
    mixed: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_root_logger(), 'propagate', True)
    dataset = training(mixed, on_error='skip', check_images=True)
    assert sorted(Path(image.gt.path).name for image in dataset.images) == ['sound0.png', 'sound1.png', 'sound2.png']
    assert all(name in caplog.text for name in FAULTS)

    # Without the check only headers are read at the start. What fails later is replaced by the next image, always the
    # same, and logged once.
    caplog.clear()
    dataset = training(mixed, on_error='skip')
    names = [Path(image.gt.path).name for image in dataset.images]
    assert 'cut.png' in names and 'empty.png' not in names
    index = names.index('cut.png')
    first = dataset[index]
    logged = caplog.text
    assert 'cut.png cannot be decoded' in logged
    items = [first, dataset[index]]
    assert caplog.text == logged
    assert Path(items[0]['gt_path']).name not in FAULTS or 'damaged.jpg' in items[0]['gt_path']
    assert torch.equal(items[0]['lq'], items[1]['lq']) and items[0]['drawn'][0] == index
    with pytest.raises(DataError, match='cannot be decoded'):
        dataset.reader.read(dataset.images[index].gt)


def test_an_image_that_fails_later_stops_the_training_or_not(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f'{number}.png').write_bytes(encoded(PHOTO, '.png'))
    for policy in ('stop', 'skip'):
        (tmp_path / '0.png').write_bytes(encoded(PHOTO, '.png'))
        dataset = training(tmp_path, on_error=policy)
        (tmp_path / '0.png').write_bytes(encoded(PHOTO[:20], '.png'))
        if policy == 'stop':
            with pytest.raises(DataError, match=r'0\.png has 20 x 72 pixels .* fewer than when it was listed'):
                dataset[0]
        else:
            assert Path(dataset[0]['gt_path']).name == '1.png'
            (tmp_path / '1.png').unlink()
            with pytest.raises(DataError, match='none of its 2 images can be read any more'):
                dataset[0]


def test_what_is_read_ahead_and_cannot_be_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_root_logger(), 'propagate', True)
    whole = encoded(PHOTO, '.png')
    (tmp_path / 'a.png').write_bytes(whole)
    (tmp_path / 'b.png').write_bytes(whole[: len(whole) // 2])  # its header says a size
    with pytest.raises(DataError, match=r'image .*b\.png cannot be decoded'):
        training(tmp_path, cache='memory', on_error='stop')
    dataset = training(tmp_path, cache='memory', on_error='skip')
    assert 'another image takes the place' in caplog.text and 'b.png cannot be decoded' in caplog.text
    assert Path(dataset[1]['gt_path']).name == 'a.png'


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's walk passes over it in silence. (Permissions do not stop root, who may run these tests.)"""
    (tmp_path / 'closed').mkdir()
    (tmp_path / 'a.png').write_bytes(encoded(PHOTO, '.png'))
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith('closed'):
            raise PermissionError(13, 'Permission denied', path)
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    with pytest.raises(DataError, match=r'folder \S*closed cannot be read: Permission denied'):
        list_images(str(tmp_path), 'disk', recursive=True)


def test_an_lmdb_that_differs_from_its_index(
    tmp_path: Path,
    make_lmdb: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / 'gt'
    folder.mkdir()
    for name in 'abc':
        (folder / f'{name}.png').write_bytes(encoded(PHOTO, '.png'))
    root = make_lmdb(str(folder), ['a.png', 'b.png', 'c.png'])
    with lmdb.open(root, map_size=1 << 24) as database, database.begin(write=True) as transaction:
        transaction.delete(b'a')
        for key in ('extra', *'123456'):
            transaction.put(key.encode(), encoded(PHOTO, '.png'))
        transaction.put(b'b', encoded(PHOTO[:40], '.png'))
    assert main(['check-data', root]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f'{root}[a]: the LMDB has no such key: its meta_info.txt does not belong to it'
    assert lines[1] == f'{root}[b]: it has 40 x 72 pixels (rows x columns), its meta_info.txt says (64, 72)'
    assert lines[2] == f'{root}: keys of its meta_info.txt that are not in the LMDB (1): a'
    assert lines[3] == f'{root}: keys of the LMDB that are not in its meta_info.txt (7): 1, 2, 3, 4, 5 and 2 more'
    assert lines[4].endswith('3 images, 2 of them not usable')
    with pytest.raises(DataError, match='the LMDB has no such key'):
        training(root, io_backend={'type': 'lmdb'}, check_images=True)
    dataset = training(root, io_backend={'type': 'lmdb'}, on_error='skip', lq_size=8)
    assert dataset[0]['gt_path'] == 'b'

    # What the index lacks is enough to be a fault.
    index = tmp_path / 'gt.lmdb' / 'meta_info.txt'
    index.write_text('c.png (64,72,3) 1\n')
    assert main(['check-data', root]) == 1
    assert 'keys of the LMDB that are not in its meta_info.txt (8)' in capsys.readouterr().out
    monkeypatch.setattr(get_root_logger(), 'propagate', True)
    training(root, io_backend={'type': 'lmdb'}, check_images=True)
    assert f'data set images: {root}: keys of the LMDB that are not in its meta_info.txt (8)' in caplog.text


@pytest.mark.parametrize('key', ['../../evil', '/etc/evil', 'a/../../evil', '..\\evil', 'a\0evil'])
def test_a_key_that_leads_out_of_the_results_is_refused(tmp_path: Path, key: str) -> None:
    root = tmp_path / 'planted.lmdb'
    with lmdb.open(str(root), map_size=1 << 20) as database, database.begin(write=True) as transaction:
        transaction.put(key.encode(), encoded(PHOTO, '.png'))
    (root / 'meta_info.txt').write_text(f'{key}.png (64,72,3) 1\n')
    with pytest.raises(DataError, match=r'keys that are no names within a folder are refused: .*evil'):
        list_images(str(root), 'lmdb')


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/statm').exists(), reason='needs /proc')
@pytest.mark.parametrize(('workers', 'cache'), [(0, 'none'), (1, 'disk')])
def test_memory_does_not_grow_over_epochs(
    tmp_path: Path, workers: int, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded_images, 'KEPT_FREE', 0)
    for number in range(4):
        (tmp_path / f'{number}.png').write_bytes(encoded(np.tile(PHOTO, (4, 4, 1)), '.png'))
    dataset = training(tmp_path, cache=cache, cache_dir=str(tmp_path / 'decoded'))
    sampler = EpochSampler(dataset, 1, 0, 16)
    section = {
        'phase': 'train',
        'num_worker_per_gpu': workers,
        'batch_size_per_gpu': 8,
        'persistent_workers': workers > 0,
    }
    loader = build_dataloader(dataset, section, num_gpu=0, sampler=sampler, seed=0)
    used, open_files = [], []
    for epoch in range(12):
        sampler.set_epoch(epoch)
        for _ in loader:
            pass
        gc.collect()
        processes = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
        assert len(processes) == 1 + workers
        used.append(
            sum(int(Path(f'/proc/{p}/statm').read_text().split()[1]) for p in processes)
            * resource.getpagesize()
            / 2**20
        )
        open_files.append(sum(len(os.listdir(f'/proc/{p}/fd')) for p in processes))
    # The first epochs fill pools, and so may a later one. An epoch's images are 64 x 221 kB: one in sixteen kept is
    # seen, for it adds 0.8 MB in every epoch.
    assert np.median(np.diff(used[3:])) < 0.2, used
    assert open_files[11] <= open_files[3]
    assert all(isinstance(file, ImageFile) for image in dataset.images for file in image.files)
    assert len(list(tmp_path.glob('decoded/*.rgb'))) == (4 if cache == 'disk' else 0)
