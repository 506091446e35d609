"""`gsasr upscale` as a user calls it."""

from __future__ import annotations

import errno
import io
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import skimage.data
import torch
import yaml
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from gsasr_plugin import GSASR
from gsasr_plugin.archs.completion import BAND_PIXELS
from gsasr_plugin.commands import main
from gsasr_plugin.upscaling import batch, estimate, plan
from gsasr_plugin.upscaling.images import upscale
from gsasr_plugin.upscaling.upscaler import Upscaler

PHOTO = skimage.data.astronaut()[100:112, 200:218]  # (12, 18, 3)
# Results that no machine holds: of WIDE one band of 64 rows is more than the memory (10 TiB), of TALL, whose bands are
# small, all rows are more than the disk (117 TiB).
WIDE, TALL = '900000000x1000', '20000x2147483647'


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a picture of each kind and a file that is none, made the current one."""
    folder = tmp_path / 'in'
    (folder / 'deep').mkdir(parents=True)
    photo = Image.fromarray(PHOTO)
    photo.save(folder / 'a.png')
    photo.save(folder / 'b.jpg', quality=100)
    photo.convert('L').save(folder / 'deep' / 'c.webp', lossless=True)
    cv2.imwrite(str(folder / 'd.tif'), PHOTO[..., ::-1].astype(np.uint16) * 257)
    (folder / 'broken.png').write_bytes((folder / 'a.png').read_bytes()[:100])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def gsasr(model_file: Path) -> Callable[..., int]:
    def run(*arguments: str) -> int:
        return main(['upscale', *arguments, '--model', str(model_file), '--device', 'cpu', '--dtype', 'float32'])

    return run


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file())


def test_a_folder_with_a_broken_file(pictures: Path, gsasr, net: GSASR, capsys: pytest.CaptureFixture[str]) -> None:
    assert gsasr('in', '-o', 'out', '--scale', '2.5') == 1
    assert files(pictures / 'out') == ['a_x2.5.png', 'b_x2.5.jpg', 'd_x2.5.tif', 'deep/c_x2.5.webp']
    told = capsys.readouterr().err
    assert 'broken.png: failed: ' in told and '4 written, 1 failed' in told
    expected = upscale(PHOTO, scale=2.5, model=net, dtype='float32')
    np.testing.assert_array_equal(np.asarray(Image.open(pictures / 'out' / 'a_x2.5.png')), expected)
    deep = cv2.imread(str(pictures / 'out' / 'd_x2.5.tif'), cv2.IMREAD_UNCHANGED)
    assert deep.dtype == np.uint16 and np.abs(deep[..., ::-1] / 257 - expected).max() <= 0.51


def test_exif_survives_in_tiff_files_of_16_bits(pictures: Path, gsasr) -> None:
    """All of its directories, of a file that another program wrote."""
    data = Image.Exif()
    data[Base.Artist], data[Base.Orientation] = 'A. Painter', 6
    data.get_ifd(IFD.Exif).update({Base.ExposureTime: 0.008, Base.ExifImageWidth: 18})
    data.get_ifd(IFD.GPSInfo)[GPS.GPSLatitudeRef] = 'N'
    head = data.tobytes().removeprefix(b'Exif\0\0')
    pixels = (PHOTO.astype(np.uint16) * 257).astype('<u2' if head[:2] == b'II' else '>u2').tobytes()
    storage = {256: 18, 257: 12, 258: (16, 16, 16), 259: 1, 262: 2, 273: 0, 277: 3, 278: 12, 279: len(pixels)}
    for tag, value in storage.items():
        data[tag] = value
    (pictures / 'camera.tif').write_bytes(data.tobytes().removeprefix(b'Exif\0\0') + pixels)
    assert gsasr('camera.tif', '-o', 'large.tif', '--scale', '2') == 0
    large = cv2.imread('large.tif', cv2.IMREAD_UNCHANGED)
    assert large.dtype == np.uint16 and large.shape == (36, 24, 3)  # upright
    found = Image.open(pictures / 'large.tif').getexif()
    assert found[Base.Artist] == 'A. Painter' and Base.Orientation not in found
    details = found.get_ifd(IFD.Exif)
    assert float(details[Base.ExposureTime]) == 0.008 and details[Base.ExifImageWidth] == 24
    assert found.get_ifd(IFD.GPSInfo)[GPS.GPSLatitudeRef] == 'N'


def test_existing_files_are_kept_unless_told_otherwise(
    pictures: Path, gsasr, capsys: pytest.CaptureFixture[str]
) -> None:
    out = pictures / 'large.png'
    out.write_bytes(b'precious')
    assert gsasr('in/a.png', '-o', 'large.png', '--scale', '2') == 0
    assert out.read_bytes() == b'precious'
    assert '0 written, 1 kept' in capsys.readouterr().err
    assert gsasr('in/a.png', '-o', 'large.png', '--scale', '2', '--overwrite') == 0
    assert Image.open(out).size == (36, 24)
    before = (pictures / 'in' / 'a.png').read_bytes()
    assert gsasr('in/a.png', '-o', 'in/a.png', '--scale', '2', '--overwrite') == 1
    assert (pictures / 'in' / 'a.png').read_bytes() == before
    assert 'would replace the picture itself' in capsys.readouterr().err


def test_several_sizes_and_other_formats(pictures: Path, gsasr) -> None:
    arguments = ['-o', 'out/', '--scale', '2', '3.5', '--scale', '4', '--size', '50x40', '--one-encoding']
    assert gsasr('in/*.jpg', *arguments, '--format', 'webp') == 0
    assert files(pictures / 'out') == ['b_50x40.webp', 'b_x2x3.5.webp', 'b_x4.webp']
    assert Image.open(pictures / 'out' / 'b_x2x3.5.webp').size == (63, 24)
    assert Image.open(pictures / 'out' / 'b_50x40.webp').size == (50, 40)


def test_pictures_may_follow_the_scale(pictures: Path, gsasr) -> None:
    assert gsasr('--scale', '2', 'in/a.png', '-o', 'large.tif') == 0
    assert Image.open(pictures / 'large.tif').size == (36, 24)


def test_standard_input_and_output(pictures: Path, gsasr, monkeypatch: pytest.MonkeyPatch) -> None:
    out = SimpleNamespace(buffer=io.BytesIO(), write=lambda text: len(text), flush=lambda: None)
    monkeypatch.setattr('sys.stdin', SimpleNamespace(buffer=io.BytesIO((pictures / 'in' / 'a.png').read_bytes())))
    monkeypatch.setattr('sys.stdout', out)
    assert gsasr('-', '-o', '-', '--width', '40') == 0
    assert Image.open(io.BytesIO(out.buffer.getvalue())).size == (40, 27)


def test_a_dry_run_writes_nothing(pictures: Path, gsasr, capsys: pytest.CaptureFixture[str]) -> None:
    assert gsasr('in/a.png', 'in/b.jpg', '-o', 'out', '--max-pixels', '10k', '--dry-run') == 0
    told = capsys.readouterr().err
    assert 'in/a.png (18 x 12) -> out/a_122x81.png (122 x 81, PNG)' in told
    assert '2 to write' in told and re.search(
        r'on cpu in float32: about \d+\.\d\d GiB at most, beside the network', told
    )
    assert not (pictures / 'out').exists()
    assert gsasr('in/a.png', '-o', 'out', '--scale', '2', '--dry-run', '--tile', '8', '--tile-overlap', '4') == 0
    assert 'in/a.png (18 x 12, in 8 tiles) -> ' in capsys.readouterr().err


def test_results_of_one_name_and_formats_that_cannot_hold_a_picture(
    pictures: Path, gsasr, capsys: pytest.CaptureFixture[str]
) -> None:
    transparent = np.dstack([PHOTO, PHOTO[..., 0]])
    Image.fromarray(transparent).save(pictures / 'a.png')
    assert gsasr('in/a.png', 'a.png', 'in/d.tif', '-o', 'out', '--scale', '2', '--format', 'jpeg') == 1
    told = capsys.readouterr().err
    assert 'a.png: failed: its result would have the name of that of in/a.png' in told
    assert 'in/d.tif: its 16 bits become 8' in told
    assert gsasr('a.png', '-o', 'b.jpg', '--scale', '2') == 1
    assert 'JPEG files hold no alpha channel' in capsys.readouterr().err
    assert files(pictures / 'out') == ['a_x2.jpg', 'd_x2.jpg']


def test_transparent_pictures_are_laid_on_a_background(
    pictures: Path, gsasr, capsys: pytest.CaptureFixture[str]
) -> None:
    """As Pillow lays the result of a format with alpha; in a format that holds it, nothing changes."""
    alpha = np.broadcast_to(np.linspace(0, 255, 18).astype(np.uint8), (12, 18))
    Image.fromarray(np.dstack([PHOTO, alpha])).save(pictures / 'a.png')
    Image.fromarray(np.dstack([PHOTO[..., 0], alpha])).save(pictures / 'grey.png')
    for name, color in (('a', 'Orange'), ('grey', '#fff'), ('grey', 'red')):
        both = [f'{name}.png', '--scale', '2', '--background', color, '--overwrite']
        assert gsasr(*both, '-o', 'x.png') == 0 and gsasr(*both, '-o', 'x.bmp') == 0
        seen, found = Image.open(pictures / 'x.png'), Image.open(pictures / 'x.bmp')
        assert seen.mode == {'a': 'RGBA', 'grey': 'LA'}[name]
        expected = Image.new('RGBA', seen.size, color)
        expected.alpha_composite(seen.convert('RGBA'))
        assert found.mode == ('L' if color == '#fff' else 'RGB')
        difference = np.asarray(found.convert('RGB'), int) - np.asarray(expected.convert('RGB'), int)
        assert np.abs(difference).max() <= 1  # Pillow rounds twice
    capsys.readouterr()
    for wrong, why in (('nocolor', 'unknown color'), ('#10203040', 'is a colour that is opaque')):
        assert gsasr('a.png', '--scale', '2', '-o', 'y.jpg', '--background', wrong) == 2
        assert why in capsys.readouterr().err
    assert not (pictures / 'y.jpg').exists()


def test_all_frames_of_an_animation(pictures: Path, gsasr, capsys: pytest.CaptureFixture[str]) -> None:
    """Each as if it were a picture of its own."""
    frames = [Image.fromarray(np.roll(PHOTO, 3 * k, 1)) for k in range(3)]
    frames[0].save(pictures / 'a.webp', save_all=True, append_images=frames[1:], duration=[40, 50, 60], lossless=True)
    frames[0].save(pictures / 'a.tif', save_all=True, append_images=frames[1:])
    for k, frame in enumerate(frames):
        frame.save(pictures / f'{k}.png')
    scale = ['--scale', '2']
    assert gsasr('a.webp', *scale, '-o', 'first.webp') == 0
    assert 'only the first of its 3 pictures is used' in capsys.readouterr().err
    assert getattr(Image.open(pictures / 'first.webp'), 'n_frames', 1) == 1
    assert gsasr('a.webp', *scale, '-o', 'x.jpg', '--frames', 'all') == 1
    assert 'it has 3: choose one of PNG, WEBP, TIFF, GIF' in capsys.readouterr().err
    assert gsasr('a.webp', 'a.tif', *scale, '-o', 'o/', '--frames', 'all', '--dry-run') == 0
    assert '(18 x 12) -> o/a_x2.webp (36 x 24, WEBP), 3 pictures' in capsys.readouterr().err
    assert gsasr('a.webp', 'a.tif', '0.png', '1.png', '2.png', *scale, '-o', 'o/', '--frames', 'all') == 0
    assert capsys.readouterr().err == 'gsasr upscale: 5 written\n'
    for name in ('a_x2.webp', 'a_x2.tif'):
        image = Image.open(pictures / 'o' / name)
        for k in range(image.n_frames):
            image.seek(k)
            image.load()
            assert name.endswith('tif') or image.info['duration'] == [40, 50, 60][k]
            np.testing.assert_array_equal(image, Image.open(pictures / 'o' / f'{k}_x2.png'))
        assert k == 2


def test_alpha_that_is_wholly_opaque_needs_no_background(
    pictures: Path, gsasr, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.dstack([PHOTO, np.full((12, 18), 255, np.uint8)])).save(pictures / 'a.png')
    assert gsasr('a.png', '--scale', '2', '-o', 'x.jpg') == 0
    assert capsys.readouterr().err == 'gsasr upscale: 1 written\n'
    assert Image.open(pictures / 'x.jpg').mode == 'RGB'


def is_the_png(color: np.ndarray) -> bool:
    """And not the JPEG file, whichever of them comes first."""
    return np.array_equal(np.rint(color * 255), PHOTO)


def test_what_does_not_fit_into_memory_does_not_stop_the_others(
    pictures: Path, gsasr, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = Upscaler.pixel_bands

    def pixels(self: Upscaler, color: np.ndarray, *arguments, **options):
        if is_the_png(color):
            raise torch.OutOfMemoryError('CUDA out of memory')
        return real(self, color, *arguments, **options)

    monkeypatch.setattr(Upscaler, 'pixel_bands', pixels)
    assert gsasr('in/a.png', 'in/b.jpg', '-o', 'out', '--scale', '2') == 1
    assert files(pictures / 'out') == ['b_x2.jpg']
    assert 'in/a.png: failed: it does not fit into memory' in capsys.readouterr().err


def test_what_the_network_raises_at_one_picture_does_not_stop_the_others(
    pictures: Path, gsasr, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = Upscaler.pixel_bands

    def pixels(self: Upscaler, color: np.ndarray, *arguments, **options):
        calls.append(color)
        if always or is_the_png(color):
            raise RuntimeError('no such kernel\nfurther lines')
        return real(self, color, *arguments, **options)

    monkeypatch.setattr(Upscaler, 'pixel_bands', pixels)
    calls: list[np.ndarray] = []
    always = False
    assert gsasr('in/a.png', 'in/b.jpg', '-o', 'out', '--scale', '2') == 1
    assert files(pictures / 'out') == ['b_x2.jpg']
    told = capsys.readouterr().err
    assert 'in/a.png: failed: RuntimeError: no such kernel\n' in told and '1 written, 1 failed' in told
    calls, always = [], True
    with pytest.raises(RuntimeError, match='no such kernel'):
        gsasr('in/a.png', 'in/b.jpg', '-o', 'other', '--scale', '2')
    assert len(calls) == 2


def test_what_cannot_be_written_is_known_before_the_work(
    pictures: Path, gsasr, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Upscaler, 'pixel_bands', lambda *_, **__: pytest.fail('work was done'))
    Image.fromarray(np.dstack([PHOTO, PHOTO[..., 0]])).save('alpha.png')
    for arguments, message in (
        (['in/a.png', '-o', 'x.webp', '--scale', '1000'], 'WEBP files hold at most 16383 pixels per side'),
        (['alpha.png', '-o', 'x.jpg', '--scale', '2'], 'JPEG files hold no alpha channel'),
        (['alpha.png', '-o', '-', '--format', 'bmp', '--scale', '2'], 'BMP files hold no alpha channel'),
        (
            ['in/a.png', '-o', 'x.png', '--size', WIDE],
            'does not fit into memory: picture and result take .* GiB are free',
        ),
        (
            ['in/a.png', '-o', 'x.png', '--size', TALL],
            'does not fit onto the disk: its rows take 120000.0 GiB in .* GiB are free',
        ),
    ):
        assert gsasr(*arguments) == 1
        assert re.search(message, capsys.readouterr().err)
    assert not list(pictures.glob('x.*'))


def test_a_size_asked_for_twice_is_made_once(pictures: Path, gsasr, capsys: pytest.CaptureFixture[str]) -> None:
    assert gsasr('in/a.png', '-o', 'out/', '--scale', '2', '--scale', '2.0', '--scale', '2', '2') == 0
    assert files(pictures / 'out') == ['a_x2.png'] and '1 written' in capsys.readouterr().err


def test_a_checkpoint_needs_its_option_file(pictures: Path, net: GSASR, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({'params_ema': net.state_dict()}, pictures / 'net_g_5.pth')
    arguments = ['upscale', 'in/a.png', '-o', 'x.png', '--scale', '2', '--model', 'net_g_5.pth', '--device', 'cpu']
    assert main(arguments) == 2
    assert 'network_g of its options is needed' in capsys.readouterr().err
    (pictures / 'train.yml').write_text(yaml.safe_dump({'network_g': {'type': 'GSASR', **net.options}}))
    assert main([*arguments, '--opt', 'train.yml']) == 0
    (pictures / 'other.yml').write_text('name: x')
    assert main([*arguments, '--overwrite', '--opt', 'other.yml']) == 2
    assert 'there is no section network_g' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['in/a.png', '-o', 'x.png'], 'how large?'),
        (['-o', 'x.png', '--scale', '2'], 'no pictures are given'),
        (['in/a.png', '-o', 'x.png', '--scale', '0.5'], 'from 1 on'),
        (['in/a.png', '-o', 'x.png', '--scale', '2', '--width', '50'], 'give one of'),
        (['in/a.png', '-o', 'x.jp2', '--scale', '2'], r'ends in \.jp2; accepted: \.png'),
        (['in/a.png', '-o', 'x.png', '--scale', '2', '--format', 'webp'], 'the name of a PNG file'),
        (['in/a.png', 'in/b.jpg', '-o', 'x.png', '--scale', '2'], 'there are 2 results'),
        (['in/a.png', '-o', '-', '--scale', '2', '--scale', '3'], 'takes one result'),
        (['in/a.png', '-o', 'x.png', '--scale', '2', '--quality', '0'], 'quality is 1 to 100'),
        (['in/a.png', '-o', 'x.png', '--width', '0'], 'at least 1'),
        (
            ['in/a.png', '-o', 'x.png', '--scale', '2', '--tile', 'big'],
            '--tile is a number of pixels from 1 on, auto or none',
        ),
        (['in/a.png', '-o', 'x.png', '--scale', '2', '--tile', '0'], "--tile is a number of pixels .* got '0'"),
        (['in/a.png', '-o', 'x.png', '--scale', '2', '--tile-overlap', '-1'], 'tile_overlap: given -1; accepted: '),
        (
            ['in/a.png', '-o', 'x.png', '--scale', '2', '--tile', '8', '--tile-overlap', '9'],
            'tile_overlap must be less',
        ),
        (['in/a.png', '-o', 'x.png', '--scale', '2', '--memory', '0'], '--memory is a number of GiB above 0'),
        (['in/a.png', '-o', '', '--scale', '2'], 'the name is empty'),
        (['in/a.png', '-o', 'result.txt', '--scale', '2'], r'ends in \.txt; .* a folder, such as result\.txt/'),
        (['in/a.png', '-o', 'x.png', '--scale', '2', '--name', '{stem}'], '--name is for results in a folder'),
        (['in/a.png', '-o', 'x/', '--scale', '2', '--name', '{oops}'], r"--name '\{oops\}': there is no field"),
        (
            ['in/a.png', '-o', 'x/', '--scale', '2', '--scale', '3', '--name', '{stem}'],
            'two results of in/a.png would have one name, x/a.png',
        ),
        (['in/a.png', '-o', 'x/', '--scale', '2', '--overwrite', '--skip-existing'], 'give one of'),
        (['in/a.png', '-o', 'x.jpg', '--scale', '2', '--lossless'], '--lossless: JPEG files are not without loss'),
        (['in/a.png', '-o', 'x/', '--scale', '2', '--lossless', '--format', 'avif'], 'AVIF files are not without'),
        (['in/a.png', '-o', '/proc/none/', '--scale', '2'], 'no file can be written to /proc: '),
        (['in/a.png', '-o', 'in/a.png/x/', '--scale', '2'], 'no file can be written to in/a.png: '),
    ],
)
def test_wrong_arguments_are_named(
    pictures: Path, gsasr, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gsasr(*arguments) == 2
    assert re.search(message, capsys.readouterr().err)


def test_whatever_one_picture_raises_the_others_are_written(
    pictures: Path, gsasr, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ('header.png', 'read.png', 'write.png'):
        Image.fromarray(PHOTO).save(name)

    def failing(function, name: str):
        def run(first, *rest, **named):
            if name in str(first) or any(name == getattr(argument, 'name', None) for argument in rest):
                raise KeyError('a tag')
            return function(first, *rest, **named)

        return run

    monkeypatch.setattr(plan, 'picture_header', failing(plan.picture_header, 'header.png'))
    monkeypatch.setattr(batch, 'read_picture', failing(batch.read_picture, 'read.png'))
    monkeypatch.setattr(batch, 'write_bands', failing(batch.write_bands, 'write_x2.png'))
    assert gsasr('header.png', 'read.png', 'write.png', 'in/a.png', '-o', 'out/', '--scale', '2') == 1
    assert [path.name for path in (pictures / 'out').iterdir()] == ['a_x2.png']
    said = capsys.readouterr().err
    for name in ('header.png', 'read.png', 'write.png'):
        assert re.search(f"{name}: failed: .*KeyError: 'a tag'", said)
    assert '1 written, 3 failed' in said


def test_a_result_never_replaces_another_picture(pictures: Path, gsasr, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(PHOTO).save('a.png')
    Image.new('RGB', (9, 5)).save('a_x2.png')
    assert gsasr('a.png', 'a_x2.png', '-o', './', '--scale', '2', '--overwrite') == 1
    assert Image.open('a_x2.png').size == (9, 5) and Image.open('a_x2_x2.png').size == (18, 10)
    assert 'would replace another picture of the same command: a_x2.png' in capsys.readouterr().err


def test_names_may_be_as_long_as_file_systems_allow(pictures: Path, gsasr) -> None:
    Image.fromarray(PHOTO).save('n' * 248 + '.png')
    assert gsasr('n' * 248 + '.png', '-o', 'out/', '--scale', '2') == 0
    assert (pictures / 'out' / ('n' * 248 + '_x2.png')).exists()


def test_a_dry_run_refuses_what_the_run_would(pictures: Path, gsasr, capsys: pytest.CaptureFixture[str]) -> None:
    for size, problem in ((WIDE, 'does not fit into memory'), (TALL, 'does not fit onto the disk')):
        assert gsasr('in/a.png', '-o', 'big.png', '--size', size, '--dry-run') == 1
        assert problem in (said := capsys.readouterr().err) and '0 to write, 1 failed' in said
    assert gsasr('in/a.png', '-o', 'x.png', '--scale', '2', '--max-input-pixels', '100', '--dry-run') == 1
    assert 'holds 18 x 12 = 216 pixels, and 100 pixels are allowed (--max-input-pixels)' in capsys.readouterr().err


def test_webp_files_without_loss_are_known_to_take_more(
    pictures: Path, gsasr, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the option, or as the picture is; not with a quality. 8000 x 8000 pixels hold 14 or 40 bytes each."""
    Image.fromarray(PHOTO).save('exact.webp', lossless=True)
    monkeypatch.setattr(estimate, 'free_bytes', lambda _: (27 * 8000**2) + 250 * BAND_PIXELS + (1 << 26))
    for words, status in (
        (['in/a.png'], 0),
        (['in/a.png', '--lossless'], 1),
        (['exact.webp'], 1),
        (['exact.webp', '--quality', '90'], 0),
    ):
        assert gsasr(*words, '-o', 'big.webp', '--size', '8000x8000', '--dry-run') == status
        said = capsys.readouterr().err
        assert ('8000 x 8000' in said, 'does not fit into memory' in said) == (not status, bool(status))


def test_colors_under_transparency_are_kept_if_asked_for(pictures: Path, gsasr) -> None:
    """Hidden red beside visible blue: filled it is blue, kept it is red."""
    pixels = np.zeros((12, 24, 4), np.uint8)
    pixels[:, :12] = (255, 0, 0, 0)
    pixels[:, 12:] = (0, 0, 255, 255)
    Image.fromarray(pixels).save('texture.png')
    for words, red in (([], 0), (['--alpha', 'keep'], 255)):
        assert gsasr('texture.png', '-o', 'out.png', '--scale', '2', '--overwrite', *words) == 0
        found = np.asarray(Image.open('out.png'))[:, :16].reshape(-1, 4).mean(0)
        assert abs(found[0] - red) < 40 and abs(found[2] - (255 - red)) < 40 and found[3] == 0


def test_metadata_are_left_out_if_asked_for(pictures: Path, gsasr) -> None:
    data = Image.Exif()
    data[Base.Artist] = 'A. Painter'
    Image.fromarray(PHOTO).save('photo.jpg', exif=data, comment='x', icc_profile=b'p' * 200)
    for words, kept in (([], True), (['--strip'], False)):
        assert gsasr('photo.jpg', '-o', 'out.jpg', '--scale', '2', '--overwrite', *words) == 0
        found = Image.open('out.jpg')
        assert (Base.Artist in found.getexif()) == ('comment' in found.info) == kept
        assert found.info['icc_profile'] == b'p' * 200


def test_what_a_folder_holds_beside_pictures_is_named(
    pictures: Path, gsasr, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / 'in' / 'broken.png').unlink()
    (pictures / 'in' / 'notes.txt').touch()
    assert gsasr('in', '-o', 'out/', '--scale', '2') == 0
    assert '1 files skipped, which do not end like pictures: in/notes.txt' in capsys.readouterr().err


def test_several_pictures_at_once_give_the_same_bytes_and_the_same_summary(
    pictures: Path, gsasr, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first pictures meet in the network: they are there at the same time. The last one of seven is alone."""
    names = ['one.png', 'two.png', 'three.png', 'four.png', 'five.png', 'six.png']
    for number, name in enumerate(names):
        Image.fromarray(np.roll(PHOTO, number, 1)).save(name)
    Path('two.png').write_bytes(Path('two.png').read_bytes()[:60])
    threads = torch.get_num_threads()
    told, seen = [], []
    try:
        assert gsasr(*names, 'in/d.tif', '-o', 'one/', '--scale', '2', '--format', 'jpeg', '--threads', '1') == 1
        told.append(capsys.readouterr().err)
        real, meeting = Upscaler.gaussians, threading.Barrier(2)

        def gaussians(self: Upscaler, *arguments, **options):
            seen.append(torch.get_num_threads())
            if len(seen) <= 2:
                meeting.wait(timeout=60)
            return real(self, *arguments, **options)

        monkeypatch.setattr(Upscaler, 'gaussians', gaussians)
        assert gsasr(*names, 'in/d.tif', '-o', 'two/', '--scale', '2', '--format', 'jpeg', '--threads', '2') == 1
        told.append(capsys.readouterr().err)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert sorted(seen) == [1, 1, 1, 1, 1, 2] and told[0] == told[1]
    assert re.search('d.tif: its 16 bits become 8.*\n.*two.png: failed: .*\n.*6 written, 1 failed', told[0])
    assert files(pictures / 'one') == files(pictures / 'two') and len(files(pictures / 'one')) == 6
    for name in files(pictures / 'one'):
        assert (pictures / 'one' / name).read_bytes() == (pictures / 'two' / name).read_bytes()


def test_what_is_lossy_in_a_folder_is_named(pictures: Path, gsasr, capsys: pytest.CaptureFixture[str]) -> None:
    assert gsasr('in/a.png', 'in/b.jpg', '-o', 'out/', '--scale', '2', '--lossless') == 0
    said = capsys.readouterr().err
    assert 'in/b.jpg: JPEG files are not without loss' in said and 'in/a.png' not in said


def test_names_of_results(pictures: Path, gsasr) -> None:
    (pictures / 'in' / 'broken.png').unlink()
    assert gsasr('in', '-o', 'out/', '--scale', '2', '--name', '{number:02}_{stem}_x{scale}', '--format', 'png') == 0
    assert files(pictures / 'out') == ['01_a_x2.png', '02_b_x2.png', '03_d_x2.png', 'deep/04_c_x2.png']


def test_results_beside_their_pictures_are_not_enlarged_again(
    pictures: Path, gsasr, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / 'in' / 'broken.png').unlink()
    assert gsasr('in', '-o', 'in', '--scale', '2') == 0
    there = files(pictures / 'in')
    assert 'a_x2.png' in there and 'deep/c_x2.webp' in there
    capsys.readouterr()
    assert gsasr('in', '-o', 'in', '--scale', '3', '--no-recursive') == 0
    assert files(pictures / 'in') == sorted([*there, 'a_x3.png', 'b_x3.jpg', 'd_x3.tif'])
    said = capsys.readouterr().err
    assert 'in/a_x2.png: left out, as the result of in/a.png' in said and 'in/deep/' not in said
    assert gsasr('in/a_x2.png', '-o', 'in', '--scale', '2') == 0  # asked for by name
    assert (pictures / 'in' / 'a_x2_x2.png').exists()


@pytest.mark.parametrize('threads', ['1', '2'])
def test_a_disk_that_becomes_full_ends_the_run(
    pictures: Path, gsasr, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], threads: str
) -> None:
    def full(picture: object, size: object, bands: Iterator[object], *_: object, **__: object) -> None:
        next(bands)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    names = [f'{number}.png' for number in range(30)]
    for name in names:
        Image.fromarray(PHOTO).save(name)
    real, seen = Upscaler.gaussians, []
    monkeypatch.setattr(Upscaler, 'gaussians', lambda *given, **named: seen.append(1) or real(*given, **named))
    monkeypatch.setattr(batch, 'write_bands', full)
    monkeypatch.setattr(torch, 'set_num_threads', lambda _: None)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: int(threads))
    assert gsasr(*names, '-o', 'out/', '--scale', '2') == 1
    said = capsys.readouterr().err
    assert 'the result cannot be written: No space left on device' in said and '0 written, ' in said
    assert re.search(r'\d+ of 30 pictures not done', said) and 1 <= len(seen) <= 6


def test_only_failures_are_told_if_asked_for(pictures: Path, gsasr, capsys: pytest.CaptureFixture[str]) -> None:
    assert gsasr('in/d.tif', 'in/broken.png', '-o', 'out/', '--scale', '2', '--format', 'jpeg', '--quiet') == 1
    assert re.fullmatch('in/broken.png: failed: .*\n', capsys.readouterr().err)


def test_standard_streams_that_are_closed_are_named(
    pictures: Path, gsasr, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr('sys.stdin', None)
    assert gsasr('-', '-o', 'x.png', '--scale', '2') == 1
    assert 'standard input: failed: it is closed' in capsys.readouterr().err
    monkeypatch.setattr('sys.stdout', None)
    assert gsasr('in/a.png', '-o', '-', '--scale', '2') == 2
    assert '-o: the standard output is closed' in capsys.readouterr().err
