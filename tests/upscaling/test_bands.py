"""Results that are drawn and written in bands of rows: the pixels of one piece, in less memory, whole or absent."""

from __future__ import annotations

import dataclasses
import io
import itertools
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gsasr_plugin import upscale
from gsasr_plugin.archs import GSASR, completion
from gsasr_plugin.archs.rendering import render_bands
from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.upscaling.pictures import writing
from gsasr_plugin.upscaling.pictures.formats import FORMATS
from gsasr_plugin.upscaling.pictures.picture import Picture
from gsasr_plugin.upscaling.pictures.reading import read_picture
from gsasr_plugin.upscaling.pictures.writing import encode_picture, to_pillow, write_bands, write_picture
from gsasr_plugin.upscaling.upscaler import Upscaler
from tests.archs.test_completion import make_net
from tests.forked import TIMEOUT_S

LQ_SIZE = (23, 17)
SIZES = [(23, 17), (30, 22), (92, 68), (276, 204), (200, 40), (40, 300)]
# Products of matrices of other heights may differ in the last bits; a level of 16 bits is 1.5e-5.
TOLERANCE = 3e-6


@pytest.fixture
def low_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bands of 64 rows, whatever the width: the least."""
    monkeypatch.setattr(completion, 'BAND_PIXELS', 1)


def lq() -> torch.Tensor:
    return torch.rand(1, 3, *LQ_SIZE, generator=torch.Generator().manual_seed(0))


def drawn(net: GSASR, size: tuple[int, int]) -> tuple[list[torch.Tensor], torch.Tensor]:
    """In bands, and whole."""
    h, w = LQ_SIZE
    with torch.inference_mode():
        gaussians = net.gaussians(lq(), [(size[0] / h, size[1] / w)])
        whole = net.render(gaussians, size)
        assert isinstance(whole, torch.Tensor)
        drawing = {'support': net.support, 'raster_ratio': net.raster_ratio}
        return list(render_bands(gaussians, size, **drawing)), whole


@pytest.mark.parametrize(
    'options',
    [
        {'bicubic_skip': False},
        {'bicubic_skip': True},
        {'consistency': 1},
        {'consistency': 3},
        {'consistency': 2, 'bicubic_skip': False, 'raster_ratio': 0.3},
    ],
)
@pytest.mark.parametrize('size', SIZES)
def test_bands_are_the_whole_drawing(options: dict[str, Any], size: tuple[int, int], low_bands: None) -> None:
    bands, whole = drawn(make_net(**options), size)
    assert all(band.shape[2] <= 64 for band in bands) and len(bands) >= size[0] // 64
    assert torch.equal(torch.cat(bands, 2), whole)


@pytest.mark.parametrize('size', SIZES)
def test_bands_draw_what_one_piece_draws(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    net = make_net(consistency=3)
    (piece,), _ = drawn(net, size)
    monkeypatch.setattr(completion, 'BAND_PIXELS', 1)
    bands, _ = drawn(net, size)
    torch.testing.assert_close(torch.cat(bands, 2), piece, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize('self_ensemble', [False, True])
@pytest.mark.parametrize('channels', [1, 3])
def test_pixels_of_pictures(channels: int, self_ensemble: bool, low_bands: None) -> None:
    rng = np.random.default_rng(1)
    color, alpha = rng.random((*LQ_SIZE, channels), np.float32), rng.random(LQ_SIZE, np.float32)
    sizes = [(276, 204), (130, 70)]
    upscaler = Upscaler(make_net(consistency=2), device='cpu', dtype='float32', self_ensemble=self_ensemble)
    results = upscaler.pixels(color, alpha, sizes)
    for bands, (large, large_alpha), size in zip(upscaler.pixel_bands(color, alpha, sizes), results, sizes):
        parts = list(bands)
        assert len(parts) > 1
        np.testing.assert_array_equal(np.concatenate([part for part, _ in parts]), large)
        np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), large_alpha)
        expected = resize_bicubic(alpha.astype(np.float64), size).clip(0, 1).astype(np.float32)
        np.testing.assert_allclose(large_alpha, expected, rtol=0, atol=1e-7)


def pixels(channels: int, *, alpha: bool) -> Picture:
    rng = np.random.default_rng(2)
    return Picture(rng.random((75, 41, channels), np.float32), rng.random((75, 41), np.float32) if alpha else None)


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('alpha', [False, True])
@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('format', FORMATS)
def test_files_are_the_same_bytes(format: str, channels: int, alpha: bool, bits: int, tmp_path: Path) -> None:
    if alpha and not FORMATS[format].alpha:
        pytest.skip('the format holds no alpha channel')
    whole = dataclasses.replace(pixels(channels, alpha=alpha), format=format, bits=bits)
    cuts = itertools.pairwise([0, 1, 33, 34, 75])
    bands = ((whole.color[a:b], None if whole.alpha is None else whole.alpha[a:b]) for a, b in cuts)
    kind = dataclasses.replace(whole, color=whole.color[:2], alpha=None if whole.alpha is None else whole.alpha[:2])
    write_bands(kind, whole.size, bands, tmp_path / 'bands')
    assert (tmp_path / 'bands').read_bytes() == encode_picture(whole)
    assert [path.name for path in tmp_path.iterdir()] == ['bands']


@pytest.mark.parametrize('lossless', [False, True])
@pytest.mark.parametrize(('largest', 'methods'), [(75 * 41 - 1, (2, 0)), (75 * 41, (4, 4))])
def test_large_webp_files_take_less_of_the_encoder(
    largest: int, methods: tuple[int, int], lossless: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, 'WEBP_LARGE', largest)
    picture = dataclasses.replace(pixels(3, alpha=True), format='WEBP', lossless=lossless)
    options = {'lossless': True, 'exact': True, 'quality': 80} if lossless else {'quality': 95}
    expected = io.BytesIO()
    to_pillow(picture).save(expected, 'WEBP', method=methods[lossless], **options)
    assert encode_picture(picture) == expected.getvalue()


def test_a_command_writes_what_upscale_gives(tmp_path: Path, low_bands: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from gsasr_plugin.commands import main

    small = (np.random.default_rng(3).random((40, 30, 3)) * 255).astype(np.uint8)
    write_picture(Picture(small / np.float32(255)), tmp_path / 'small.png')
    monkeypatch.chdir(tmp_path)
    assert main(['upscale', 'small.png', '-o', 'large.png', '--scale', '5', '--device', 'cpu']) == 0
    found = read_picture(tmp_path / 'large.png').color * 255
    np.testing.assert_array_equal(np.rint(found), upscale(small, scale=5, device='cpu'))


def test_what_fails_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    def bands():
        yield np.zeros((32, 40, 3), np.float32), None
        raise RuntimeError('drawing fails')

    for format in FORMATS:
        with pytest.raises(RuntimeError, match='drawing fails'):
            write_bands(Picture(np.zeros((1, 1, 3), np.float32), format=format), (64, 40), bands(), tmp_path / 'a')
        assert not list(tmp_path.iterdir())


SLOW_WRITER = """
import sys, time
from pathlib import Path
import numpy as np
from gsasr_plugin.upscaling.pictures.picture import Picture
from gsasr_plugin.upscaling.pictures.writing import write_bands

def bands():
    for _ in range(9):
        yield np.random.default_rng(0).random((64, 900, 3), np.float32), None
    print('half', flush=True)
    time.sleep(100)

write_bands(Picture(np.zeros((1, 1, 3), np.float32), format=sys.argv[2]), (640, 900), bands(), Path(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='files without names are known to Linux')
@pytest.mark.parametrize('format', ['PNG', 'TIFF', 'JPEG'])
def test_a_killed_process_leaves_nothing(format: str, tmp_path: Path) -> None:
    command = [sys.executable, '-c', SLOW_WRITER, str(tmp_path / 'large'), format]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b'half\n'
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    assert not list(tmp_path.iterdir())


LARGE = """
import resource, sys
from pathlib import Path
import torch
from gsasr_plugin.archs.completion import Completion
from gsasr_plugin.archs.gaussians import Gaussians
from gsasr_plugin.upscaling.gaussian_file import StoredGaussians
from gsasr_plugin.upscaling.pictures.picture import Picture
from gsasr_plugin.upscaling.pictures.writing import write_bands

torch.set_num_threads(1)

def write(side, name):
    h = side // 12
    y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(h) + 0.5, indexing='ij')
    means = torch.stack((x, y), -1).view(1, -1, 2)
    one = torch.ones(1, h * h)
    lq = torch.rand(1, 3, h, h)
    gaussians = Gaussians(means, 0.3 * torch.ones_like(means), 0 * one, one, lq.flatten(2).transpose(1, 2), (h, h),
                          Completion(lq, False, 3, True))
    bands = ((band.permute(1, 2, 0).numpy(), None) for band in StoredGaussians(gaussians, (12, 12)).bands((side, side)))
    write_bands(Picture(torch.zeros(1, 1, 3).numpy(), bits=16, format=sys.argv[2]), (side, side), bands, Path(name))

write(3600, sys.argv[1] + '_small')
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write(6600, sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize('format', ['PNG', 'TIFF'])
def test_memory_is_that_of_bands(format: str, tmp_path: Path) -> None:
    """31 million pixels more take less than their levels, of which 6 bytes per pixel would be there, and far less than
    a result that is whole, of which 120 would. The smaller picture has bands as large as the larger one's."""
    command = [sys.executable, '-c', LARGE, str(tmp_path / 'large'), format]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=4 * TIMEOUT_S)
    assert int(done.stdout) * 1024 < 5 * (6600**2 - 3600**2)
