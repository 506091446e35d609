"""`gsasr visualize`: the sheet and its panels."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from gsasr_plugin.archs import GSASR
from gsasr_plugin.checkpoints.model_file import save_model
from gsasr_plugin.commands import main
from gsasr_plugin.upscaling.visuals import sheet

PHOTO = skimage.data.astronaut()[:96, 150:246]
NAMES = {'lr', 'sr', 'positions', 'highlighted', 'close_up', 'density'}


@pytest.fixture
def model(model_file: Path) -> list[str]:
    return ['--model', str(model_file), '--device', 'cpu']


@pytest.fixture
def cut_model(net: GSASR, tmp_path: Path) -> list[str]:
    """The tiny network with a cut that shows."""
    cut = GSASR(**{**net.options, 'raster_ratio': 0.02})
    cut.load_state_dict(net.state_dict())
    save_model(cut, tmp_path / 'cut.safetensors')
    return ['--model', str(tmp_path / 'cut.safetensors'), '--device', 'cpu', '--dtype', 'float32']


@pytest.mark.slow
@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'LA'])
def test_the_sr_panel_is_what_upscale_writes(
    tmp_path: Path, cut_model: list[str], model: list[str], monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """With the raster ratio, a region, and alpha on white."""
    pytest.importorskip('matplotlib')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sheet, 'write_sheet', lambda *_: None)  # the slow part
    alpha = np.zeros((30, 40), np.uint8)
    alpha[4:26, 8:36] = np.arange(100, 240, 5)
    picture = Image.fromarray(np.dstack([PHOTO[:30, :40], alpha])).convert(mode)
    picture.save('in.png')
    assert main(['upscale', 'in.png', '-o', 'large.png', '--scale', '3', *cut_model]) == 0
    assert main(['visualize', 'in.png', '-o', 'x.png', '--scale', '3', '--crop', '4,2,30,20', *cut_model]) == 0
    page = Image.new('RGBA', (120, 90), 'white')
    large = Image.open('large.png').convert('RGBA')
    expected = np.asarray(Image.alpha_composite(page, large).convert('RGB').crop((12, 6, 102, 66)), np.float64)
    # The panel is larger, and has the frame of the close-up.
    shown = np.asarray(Image.open('x_sr.png').convert('RGB').resize((90, 60), Image.Resampling.BOX), np.float64)
    assert np.abs(shown - expected).mean() < 2
    if mode == 'RGB':
        assert main(['upscale', 'in.png', '-o', 'uncut.png', '--scale', '3', *model]) == 0
        uncut = np.asarray(Image.open('uncut.png').crop((12, 6, 102, 66)), np.float64)
        assert np.abs(uncut - expected).mean() > 20  # what ignoring the ratio would show


@pytest.mark.slow
def test_sheet_and_panels_of_a_region_with_ground_truth(
    tmp_path: Path, model: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('matplotlib')
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PHOTO).save('gt.png')
    Image.fromarray(PHOTO).resize((32, 32), Image.Resampling.BICUBIC).save('lr.png')
    assert main(['visualize', 'lr.png', '-o', 'sheet.png', '--gt', 'gt.png', '--crop', '4,8,20,16', *model]) == 0
    panels = {path.stem.removeprefix('sheet_') for path in Path().glob('sheet_*.png')}
    assert panels == NAMES | {'gt', 'error'}
    gt = np.asarray(Image.open('sheet_gt.png').convert('RGB'))
    assert gt.shape[1] / gt.shape[0] == pytest.approx(20 / 16, rel=0.01)
    small = np.asarray(Image.fromarray(gt).resize((60, 48), Image.Resampling.BOX), np.float64)
    assert np.abs(small - PHOTO[24:72, 12:72]).mean() < 4  # the region, enlarged without a frame
    width, height = Image.open('sheet.png').size
    assert width > 2000 and height > 800
    assert main(['visualize', 'lr.png', '-o', 'sheet.png', *model]) == 2  # it exists


def test_wrong_arguments_are_named(
    tmp_path: Path, model: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PHOTO).save('photo.png')
    Image.fromarray(PHOTO[:10, :10]).save('small.png')
    for arguments, message in (
        (['-o', 'sheet.jpg'], 'must end in .png'),
        (['-o', 'x.png', '--crop', '1,2,3'], 'X,Y,WIDTH,HEIGHT'),
        (['-o', 'x.png', '--highlight', '-5'], '--highlight and --seed are 0 or more, got -5'),
        (['-o', 'x.png', '--scale', '50000'], '4800000 x 4800000 pixels: it does not fit into memory'),
        (['-o', 'x.png', '--seed', '-1'], '--highlight and --seed are 0 or more, got -1'),
        (['-o', 'x.png', '--crop', '90,0,20,5'], 'the picture has 96 x 96 pixels'),
        (['-o', 'x.png', '--gt', 'small.png'], 'smaller than the picture'),
        (['-o', 'x.png', '--gt', 'photo.png', '--scale', '2'], 'give one of --scale and --gt'),
    ):
        assert main(['visualize', 'photo.png', *arguments, *model]) == 2
        assert message in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)  # as if it were not installed
    assert main(['visualize', 'small.png', '-o', 'x.png', *model]) == 2
    assert "pip install 'gsasr-plugin[plots]'" in capsys.readouterr().err
