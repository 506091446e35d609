"""`gsasr prepare`: the pixels are the host's, files are whole, nothing is made twice."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from basicsr.utils import imwrite
from basicsr.utils.img_process_util import usm_sharp
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from basicsr.utils.matlab_functions import imresize

from gsasr_plugin.benchmarking.prepare import jobs, runner
from gsasr_plugin.commands import main
from gsasr_plugin.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset
from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.data.degradation.options import DegradationOptions
from gsasr_plugin.data.degradation.process import Degradation
from gsasr_plugin.data.degradation.samples import degraded_image
from gsasr_plugin.data.eight_bit import to_8_bit, to_float
from gsasr_plugin.data.image_files import list_images, read_bytes, read_image
from gsasr_plugin.whole_file import STAGING


@pytest.fixture
def gt(tmp_path: Path) -> Path:
    """Two photographs in a folder that names its set by the folder above; sizes that no scale divides."""
    folder = tmp_path / 'sets' / 'photos' / 'GT'
    folder.mkdir(parents=True)
    imwrite(skimage.data.chelsea()[:95, :130, ::-1], str(folder / 'cat.png'))
    imwrite(skimage.data.astronaut()[:111, 150:248, ::-1], str(folder / 'astronaut.png'))
    return folder


def prepare(*arguments: object) -> int:
    return main(['prepare', *map(str, arguments), '--workers', '1'])


def as_uint8(image: np.ndarray) -> np.ndarray:
    """As the host's tensor2img and MATLAB's im2uint8."""
    return (image.clip(0, 1) * 255).round().astype(np.uint8)


def times(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob('*') if path.is_file()}


def test_benchmark_images_are_the_hosts(gt: Path, tmp_path: Path) -> None:
    assert prepare('benchmark', '--gt', gt, '--scales', 2, 3, 4, '--out', tmp_path / 'out') == 0
    for scale in (2, 3, 4):
        folder = tmp_path / 'out' / 'photos' / f'x{scale}'
        for name in ('cat', 'astronaut'):
            original = cv2.imread(str(gt / f'{name}.png'))
            height, width = (length // scale * scale for length in original.shape[:2])
            images = {kind: cv2.imread(str(folder / kind / f'{name}.png')) for kind in jobs.BENCHMARK_KINDS}
            assert np.array_equal(images['GT'], original[:height, :width])
            # Float32 sums in another order: a value on the edge between two levels may fall on either side.
            for kind, source, ratio in (('LR', images['GT'], 1 / scale), ('Bicubic', images['LR'], scale)):
                expected = as_uint8(imresize(source / np.float32(255), ratio))
                difference = np.abs(images[kind].astype(int) - expected)
                assert difference.max() <= 1 and (difference > 0).mean() < 1e-3


def test_a_scale_that_is_no_integer(tmp_path: Path) -> None:
    """185 x 148 pixels are exactly 50 x 40 at x3.7, and the host's imresize then gives that size too."""
    (tmp_path / 'gt').mkdir()
    imwrite(skimage.data.chelsea()[:186, :150, ::-1], str(tmp_path / 'gt' / 'cat.png'))
    assert prepare('benchmark', '--gt', f'mine={tmp_path / "gt"}', '--scales', '3.7', '--out', tmp_path / 'out') == 0
    made = [cv2.imread(str(tmp_path / 'out' / 'mine' / 'x3.7' / kind / 'cat.png')) for kind in jobs.BENCHMARK_KINDS]
    assert [image.shape[:2] for image in made] == [(185, 148), (50, 40), (185, 148)]
    expected = as_uint8(imresize(made[0] / np.float32(255), 1 / 3.7))
    assert np.abs(made[1].astype(int) - expected).max() <= 1
    assert (made[1] != expected).mean() < 1e-3


def test_benchmark_images_are_what_a_test_makes_itself(gt: Path, tmp_path: Path) -> None:
    """A test on the prepared pairs, on the disk or in LMDBs, sees the pixels of a test on GT alone."""
    assert prepare('benchmark', '--gt', gt, '--scales', 2, 3.7, '--out', tmp_path / 'out') == 0
    assert prepare('benchmark', '--gt', gt, '--scales', 2, 3.7, '--out', tmp_path / 'db', '--lmdb') == 0
    for scale in (2, 3.7):
        made: dict[str, Any] = {}
        section = {'phase': 'test', 'scales': [scale]}
        made['gt'] = ArbitraryScalePairedDataset({**section, 'dataroot_gt': str(gt)})
        for backend, out, suffix in (('disk', 'out', ''), ('lmdb', 'db', '.lmdb')):
            folder = tmp_path / out / 'photos' / f'x{scale}'
            roots = {'dataroot_gt': str(folder / f'GT{suffix}'), 'dataroot_lq': str(folder / f'LR{suffix}')}
            made[backend] = ArbitraryScalePairedDataset({**section, **roots, 'io_backend': {'type': backend}})
            assert len(made[backend]) == len(made['gt']) == 2
            for index in range(2):
                for key in ('lq', 'gt', 'scale', 'size'):
                    assert np.array_equal(made[backend][index][key], made['gt'][index][key]), (backend, key)
    assert not list(tmp_path.rglob(f'{STAGING}*'))


def pixels(folder: Path, kind: str) -> dict[str, np.ndarray]:
    return {file.name: cv2.imread(str(file)) for file in sorted((folder / kind).iterdir())}


def test_degraded_benchmarks_are_reproducible(gt: Path, tmp_path: Path) -> None:
    """Whatever else is made, in whichever order and by however many processes: seed, name and scale determine LR."""
    command = ['benchmark', '--gt', gt, '--degradation', 'light', '--out']
    assert prepare(*command, tmp_path / 'one', '--scales', 2, 3) == 0
    assert main([*map(str, ['prepare', *command, tmp_path / 'two', '--scales', 3, '--workers', 2])]) == 0
    assert prepare('benchmark', '--gt', gt, '--out', tmp_path / 'plain', '--scales', 3) == 0
    assert prepare(*command, tmp_path / 'other', '--scales', 3, '--seed', 1) == 0
    one, two, plain, other = (tmp_path / name / 'photos' / 'x3' for name in ('one', 'two', 'plain', 'other'))
    for name in ('cat.png', 'astronaut.png'):
        lq = pixels(one, 'LR')[name]
        assert np.array_equal(lq, pixels(two, 'LR')[name])
        assert not np.array_equal(lq, pixels(other, 'LR')[name])
        assert lq.shape == pixels(plain, 'LR')[name].shape
        change = np.abs(lq.astype(int) - pixels(plain, 'LR')[name]).mean()
        assert 0.5 < change < 20  # levels: degraded, and the same picture
        assert np.array_equal(pixels(one, 'GT')[name], pixels(plain, 'GT')[name])
        enlarged = to_8_bit(resize_bicubic(to_float(lq), pixels(one, 'GT')[name].shape[:2]))
        assert np.array_equal(pixels(one, 'Bicubic')[name], enlarged)
    key = (0, int.from_bytes(hashlib.sha256(b'cat x3').digest(), 'big'))  # the same in every process and version
    light = Degradation(DegradationOptions.of('light'))
    whole = to_float(pixels(one, 'GT')['cat.png'][..., ::-1])
    _, expected = degraded_image(light, np.random.default_rng(key), whole, (31, 43))
    assert np.array_equal(pixels(one, 'LR')['cat.png'][..., ::-1], to_8_bit(expected))
    made = times(one)
    assert prepare(*command, tmp_path / 'one', '--scales', 2, 3) == 0 and times(one) == made


def test_what_degrades_is_any_of_the_options(gt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything off but sharpening: GT is Real-ESRGAN's, LR its reduction. And LMDBs hold the same pixels."""
    off = ', '.join(
        f'{name}: 0' for name in ('blur_prob', 'second_blur_prob', 'noise_prob', 'noise_prob2', 'jpeg_prob')
    )
    others = 'jpeg_prob2: 0, resize_modes: [antialiased_bicubic], resize_prob: [0, 0, 1]'
    text = f'{{preset: light, gt_usm: true, {off}, {others}}}'
    command = ['benchmark', '--gt', gt, '--scales', 2, '--degradation', text]
    assert prepare(*command, '--out', tmp_path / 'out') == 0
    assert prepare(*command, '--out', tmp_path / 'db', '--lmdb') == 0
    folder = tmp_path / 'out' / 'photos' / 'x2'
    gt_image = to_8_bit(usm_sharp(to_float(cv2.imread(str(gt / 'cat.png')))[:94, :130]))
    assert np.abs(pixels(folder, 'GT')['cat.png'].astype(int) - gt_image).max() <= 1
    expected = to_8_bit(resize_bicubic(to_float(gt_image), (47, 65)))
    assert np.abs(pixels(folder, 'LR')['cat.png'].astype(int) - expected).max() <= 1
    for kind in jobs.BENCHMARK_KINDS:
        packed = list_images(str(tmp_path / 'db' / 'photos' / 'x2' / f'{kind}.lmdb'), 'lmdb')
        for image in packed:
            assert np.array_equal(read_image(image)[..., ::-1], pixels(folder, kind)[f'{image.stem}.png'])


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('ligth', "--degradation: preset: given 'ligth'; did you mean 'light'?"),
        ('{preset: light, jpeg_rang: [1, 2]}', "--degradation: unknown option 'jpeg_rang'; did you mean 'jpeg_range'?"),
        ('{preset: light', '--degradation: '),
        ('[light]', "--degradation: preset: given ['light']"),
    ],
)
def test_no_degradation_is_named(
    gt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    assert prepare('benchmark', '--gt', gt, '--degradation', text, '--out', tmp_path / 'out') == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_images_of_two_degradations_are_not_mixed(gt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ['benchmark', '--gt', gt, '--scales', 2, '--out']
    assert prepare(*command, tmp_path / 'plain') == 0
    assert prepare(*command, tmp_path / 'plain', '--degradation', 'light') == 2
    assert 'has images made without --degradation' in capsys.readouterr().err
    assert prepare(*command, tmp_path / 'light', '--degradation', 'light') == 0
    for other in ([], ['--degradation', 'real_esrgan'], ['--degradation', 'light', '--seed', '1']):
        assert prepare(*command, tmp_path / 'light', *other) == 2
        assert "has images made with {'degradation': 'light', 'seed': 0}" in capsys.readouterr().err
    assert prepare(*command, tmp_path / 'light', '--degradation', 'light') == 0


@pytest.mark.parametrize('lmdb', [False, True])
def test_nothing_is_made_twice_and_what_is_missing_is_made(gt: Path, tmp_path: Path, lmdb: bool) -> None:
    out = tmp_path / 'out'
    command = ['benchmark', '--gt', gt, '--scales', 2, 3, '--out', out, *['--lmdb'] * lmdb]
    assert prepare(*command) == 0
    first = times(out)
    assert prepare(*command) == 0
    assert times(out) == first
    if lmdb:
        shutil.rmtree(out / 'photos' / 'x3' / 'LR.lmdb')
        changed = {path for path in first if '/x3/' in path}
    else:
        (out / 'photos' / 'x3' / 'LR' / 'cat.png').unlink()
        changed = {f'photos/x3/{kind}/cat.png' for kind in jobs.BENCHMARK_KINDS}
    assert prepare(*command) == 0
    second = times(out)
    assert {path for path in second if second[path] != first.get(path)} == changed
    assert set(second) == set(first)

    os.utime(gt / 'cat.png')  # a newer GT image
    assert prepare(*command) == 0
    assert sum(made != second[path] for path, made in times(out).items()) == (len(second) if lmdb else 6)


def test_an_interrupted_command_leaves_whole_files_and_goes_on(
    gt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / 'out'
    command = ['benchmark', '--gt', gt, '--scales', 2, '--out', out]
    encoded, calls = runner.encoded, []

    def interrupted(image: np.ndarray) -> bytes:
        calls.append(1)
        if len(calls) == 5:  # the second of the second image's three
            raise KeyboardInterrupt
        return encoded(image)

    monkeypatch.setattr(runner, 'encoded', interrupted)
    assert prepare(*command) == 130
    assert len([path for path in out.rglob('*') if path.is_file()]) == 4
    assert all(cv2.imread(str(path)) is not None for path in out.rglob('*.png'))
    assert prepare(*command) == 0
    assert len(calls) == 5 + 3  # the second image's three
    assert len(list(out.rglob('*.png'))) == 6


def test_two_workers_make_the_same(gt: Path, tmp_path: Path) -> None:
    for name, workers in (('one', 1), ('two', 2)):
        arguments = ['--gt', str(gt), '--scales', '2', '--out', str(tmp_path / name), '--workers', str(workers)]
        assert main(['prepare', 'benchmark', *arguments]) == 0
    files = sorted(path.relative_to(tmp_path / 'one') for path in (tmp_path / 'one').rglob('*.png'))
    assert len(files) == 6
    for file in files:
        assert (tmp_path / 'one' / file).read_bytes() == (tmp_path / 'two' / file).read_bytes()


def test_a_damaged_image_is_named_and_the_others_are_made(
    gt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (gt / 'cat.png').read_bytes()
    (gt / 'cut.png').write_bytes(content[:100])  # its header can be read
    assert prepare('benchmark', '--gt', gt, '--scales', 2, '--out', tmp_path / 'out') == 1
    assert 'cut.png' in capsys.readouterr().err
    assert len(list((tmp_path / 'out').rglob('*.png'))) == 6


@pytest.mark.parametrize('lmdb', [False, True])
def test_sub_images_cover_the_image(gt: Path, tmp_path: Path, lmdb: bool) -> None:
    command = ['train', '--gt', gt, '--size', 64, '--step', 40, '--out', tmp_path / 'sub', *['--lmdb'] * lmdb]
    assert prepare(*command) == 0
    made = list_images(str(tmp_path / ('sub.lmdb' if lmdb else 'sub')), 'lmdb' if lmdb else 'disk')
    cat = cv2.imread(str(gt / 'cat.png'))[..., ::-1]  # 95 x 130
    corners = [(top, left) for top in (0, 31) for left in (0, 40, 66)]
    assert [image.stem for image in made if image.stem.startswith('cat')] == [f'cat_s00{i}' for i in range(1, 7)]
    for image, (top, left) in zip([image for image in made if image.stem.startswith('cat')], corners):
        assert np.array_equal(read_image(image), cat[top : top + 64, left : left + 64])
    assert prepare(*command) == 0
    assert prepare(*command[:3], '--size', 32, *command[5:]) == 2  # other options in the same place


def test_sub_images_of_reduced_images(gt: Path, tmp_path: Path) -> None:
    command = ['train', '--gt', gt, '--size', 64, '--step', 64, '--out', tmp_path / 'sub', '--reduce']
    assert prepare(*command, 1, 1.5) == 0
    cats = {path.name: cv2.imread(str(path)) for path in (tmp_path / 'sub').glob('cat*.png')}
    assert len([name for name in cats if not name.startswith('cat_r')]) == 6
    original = cv2.imread(str(gt / 'cat.png'))  # 95 x 130, reduced 63 x 87
    expected = to_8_bit(resize_bicubic(to_float(original), (63, 87)))
    assert np.array_equal(cats['cat_r1.5_s001.png'], expected[:, :64])
    assert np.array_equal(cats['cat_r1.5_s002.png'], expected[:, 23:])
    assert prepare(*command, 1) == 2  # other reductions in the same place
    for wrong in ('0.5', 'inf', 'half'):
        with pytest.raises(SystemExit, match='2'):
            prepare(*command, wrong)


@pytest.mark.parametrize('lmdb', [False, True])
def test_sub_images_with_detail_are_listed(gt: Path, tmp_path: Path, lmdb: bool) -> None:
    """As the host's bicubic and PSNR find them, for a limit that none is near."""
    command = ['train', '--gt', gt, '--size', 64, '--step', 40, '--out', tmp_path / 'sub', *['--lmdb'] * lmdb]
    cv2.imwrite(str(gt / 'flat.png'), np.full((64, 64, 3), 90, np.uint8))
    assert prepare(*command) == 0
    assert prepare(*command, '--detail', 33.5) == 0  # of what is cut already, too
    listed = (tmp_path / 'sub_detailed.txt').read_text().split()
    made = list_images(str(tmp_path / ('sub.lmdb' if lmdb else 'sub')), 'lmdb' if lmdb else 'disk')
    expected, distances = [], []
    for image in made:
        pixels = to_float(read_image(image))
        error = ((imresize(imresize(pixels, 0.5), 2) - pixels) ** 2).mean()
        psnr = -10 * np.log10(max(error, 1e-20))
        distances.append(abs(psnr - 33.5))
        if psnr < 33.5:
            expected.append(f'{image.stem}.png')
    assert min(distances) > 0.01
    assert listed == expected and 0 < len(listed) < len(made) - 1
    assert 'flat_s001.png' not in listed
    chosen = list_images(made[0].root, made[0].backend, str(tmp_path / 'sub_detailed.txt'))
    assert [image.stem for image in chosen] == [name.removesuffix('.png') for name in listed]


def test_a_database_is_what_basicsr_makes_of_the_folder(gt: Path, tmp_path: Path) -> None:
    """Keys, sizes and pixels, sub-folders included; made once, by any number of processes, and anew after a change."""
    names = ['astronaut.png', 'cat.png', 'more/cat.png', 'more/deep.er/grey.png']
    for name in names[2:]:
        (gt / name).parent.mkdir()
        imwrite(skimage.data.camera()[:40, :50] if 'grey' in name else skimage.data.coffee()[:31, :44], str(gt / name))
    (gt / 'Thumbs.db').write_bytes(b'no image')
    theirs = tmp_path / 'theirs.lmdb'
    make_lmdb_from_imgs(str(gt), str(theirs), names, [name[:-4] for name in names], map_size=1 << 24)
    assert main(['prepare', 'lmdb', f'{gt}/', '--workers', '2']) == 0
    ours = gt.with_name('GT.lmdb')
    assert prepare('lmdb', gt, '--out', tmp_path / 'one.lmdb') == 0
    images = {root: list_images(str(root), 'lmdb') for root in (theirs, ours, tmp_path / 'one.lmdb')}
    for made in zip(*images.values(), strict=True):
        assert len({(image.path, image.recorded_size) for image in made}) == 1
        pixels = [cv2.imdecode(np.frombuffer(read_bytes(image), np.uint8), cv2.IMREAD_COLOR) for image in made]
        assert np.array_equal(pixels[0], pixels[1]) and np.array_equal(pixels[0], pixels[2])
    assert [image.path for image in images[ours]] == sorted(name[:-4] for name in names)

    before = times(ours)
    assert prepare('lmdb', gt) == 0 and times(ours) == before
    os.utime(gt / 'cat.png')
    assert prepare('lmdb', gt) == 0 and times(ours) != before
    assert not list(tmp_path.rglob(f'{STAGING}*'))
    kept = times(theirs)
    assert prepare('lmdb', gt, '--out', theirs) == 2 and times(theirs) == kept  # not ours to replace


def test_a_database_is_whole_or_absent(
    gt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A damaged image is named, what was read before it is not read again."""
    (gt / 'bad.png').write_bytes((gt / 'cat.png').read_bytes()[:100])
    assert prepare('lmdb', gt) == 1
    assert re.search(r'failed: \S+bad\.png', capsys.readouterr().err)
    assert not gt.with_name('GT.lmdb').exists()
    (gt / 'bad.png').unlink()
    encoded, calls = runner.encoded, []
    monkeypatch.setattr(runner, 'encoded', lambda image: calls.append(1) or encoded(image))
    assert prepare('lmdb', gt) == 0 and not calls
    assert [image.path for image in list_images(str(gt.with_name('GT.lmdb')), 'lmdb')] == ['astronaut', 'cat']


def test_small_images_are_kept_whole(tmp_path: Path) -> None:
    (tmp_path / 'gt').mkdir()
    imwrite(skimage.data.chelsea()[:40, :100], str(tmp_path / 'gt' / 'cat.png'))
    assert prepare('train', '--gt', tmp_path / 'gt', '--size', 64, '--out', tmp_path / 'sub') == 0
    shapes = [cv2.imread(str(path)).shape[:2] for path in sorted((tmp_path / 'sub').glob('*.png'))]
    assert shapes == [(40, 64), (40, 64), (40, 64)]


def test_crops_of_the_cost_protocol(gt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare('cost', '--gt', gt, '--size', 97, '--out', tmp_path / 'cost') == 0
    assert 'left out' in capsys.readouterr().err  # the cat has 95 rows
    made = cv2.imread(str(tmp_path / 'cost' / 'astronaut.png'))
    assert np.array_equal(made, cv2.imread(str(gt / 'astronaut.png'))[7:104, 0:97])
    assert [path.name for path in (tmp_path / 'cost').glob('*.png')] == ['astronaut.png']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['benchmark', '--gt', 'nowhere', '--out', 'out'], "--gt: dataroot 'nowhere' is not a folder"),
        (['benchmark', '--gt', 'GT', 'GT', '--out', 'out'], '--gt: two sets have the name'),
        (['benchmark', '--gt', 'broken', '--out', 'out'], r'--gt: not readable as images: broken/a\.png'),
        (['train', '--gt', 'foreign', '--lmdb', '--out', 'out'], '--lmdb: .* names in ASCII: rename foreign/ä.png'),
        (['benchmark', '--gt', 'GT', '--scales', '96', '--out', 'out'], r'--scales: too large .*cat.png \(x96\)'),
        (['train', '--gt', 'GT', '--size', '8', '--step', '9', '--out', 'out'], '--step: 9 leaves gaps'),
        (['cost', '--gt', 'GT', '--out', 'out'], r'no image of GT has 720 x 720'),
        (['lmdb', 'none'], 'FOLDER: none is no folder of images'),
        (['lmdb', 'foreign'], 'FOLDER: .*names in ASCII: rename .*ä'),
        (['lmdb', 'GT', '--out', 'out'], '--out: out is no name of an LMDB'),
        (['lmdb', 'twice'], r'FOLDER: .*a\.png and .*a\.jpg would be written to the same file'),
    ],
)
def test_wrong_arguments_are_named(
    gt: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:

    monkeypatch.chdir(gt.parent)
    cat = (gt / 'cat.png').read_bytes()
    for name, content in (
        ('broken/a.png', b'no image'),
        ('foreign/ä.png', cat),
        ('twice/a.png', cat),
        ('twice/a.jpg', cat),
    ):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(content)
    assert prepare(*arguments) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (gt.parent / 'out').exists()
