"""`gsasr visualize`: the sheet and its panels; what is in them is checked against NumPy."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.gaussians import Gaussians
from gsasr_plugin.archs.gsasr_arch import render
from gsasr_plugin.checkpoints.model_file import save_model
from gsasr_plugin.commands import main
from gsasr_plugin.upscaling.visuals import layers, sheet

PHOTO = skimage.data.astronaut()[:96, 150:246]
NAMES = {'lr', 'sr', 'positions', 'highlighted', 'close_up', 'density'}


def random_gaussians(count: int, lq_size: tuple[int, int] = (10, 14)) -> Gaussians:
    generator = torch.Generator().manual_seed(1)

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(1, count, *shape, generator=generator)

    h, w = lq_size
    means = rand(2) * torch.tensor([w + 4.0, h + 4.0]) - 2
    return Gaussians(means, 0.1 + 0.6 * rand(2), 1.8 * rand() - 0.9, 0.1 + 0.4 * rand(), rand(3), lq_size)


def test_a_cropped_image_is_a_crop_of_the_image() -> None:
    gaussians = random_gaussians(200)
    whole = layers.draw(gaussians, (40, 56))
    region = layers.Region(x=3, y=2, width=7, height=5)
    part = layers.crop_gaussians(gaussians, region, 4.5)
    assert part.means.shape[1] < 200
    # Both leave out what lies beyond 4.5 standard deviations, up to 4e-5 of a Gaussian's peak each.
    np.testing.assert_allclose(layers.draw(part, (20, 28)), whole[8:28, 12:40], atol=1e-4)


def test_ellipses_are_contours_of_one_standard_deviation() -> None:
    gaussians = random_gaussians(50)
    centres, axes, angles = layers.ellipses(gaussians, np.arange(50))
    sigma, rho = gaussians.sigmas[0].double().numpy(), gaussians.rhos[0].double().numpy()
    turn = np.radians(angles)
    for phase in np.linspace(0, 2 * np.pi, 7):
        along, across = axes[:, 0] / 2 * np.cos(phase), axes[:, 1] / 2 * np.sin(phase)
        x = along * np.cos(turn) - across * np.sin(turn)
        y = along * np.sin(turn) + across * np.cos(turn)
        u, v = x / sigma[:, 0], y / sigma[:, 1]
        q = (u * u - 2 * rho * u * v + v * v) / (1 - rho * rho)
        np.testing.assert_allclose(q, 1, rtol=1e-9)
    np.testing.assert_array_equal(centres, gaussians.means[0].double().numpy())
    assert (axes[:, 0] >= axes[:, 1]).all()


def test_density_counts_gaussians_per_pixel() -> None:
    regular = random_gaussians(10 * 14 * 4)
    y, x = np.mgrid[0:20, 0:28] / 2 + 0.25
    means = torch.from_numpy(np.stack([x.ravel(), y.ravel()], 1)).float()[None]
    even = layers.density_map(Gaussians(means, *list(vars(regular).values())[1:5], (10, 14)), (40, 56))
    # Spread by as much as their spacing, the ripple is 4 exp(-2 pi^2) = 1e-8; at the border a sum replaces an integral.
    np.testing.assert_allclose(even, 4, rtol=0.03)
    np.testing.assert_allclose(even[12:-12, 12:-12], 4, rtol=1e-3)


def test_density_shows_where_gaussians_cluster() -> None:
    gaussians = random_gaussians(500)
    crowd = layers.density_map(gaussians, (60, 84))
    centres = gaussians.means[0].double().numpy()
    centres = centres[((centres > 0) & (centres < (14, 10))).all(1)]
    y, x = (np.arange(n) + 0.5 for n in (60, 84))
    sigma = layers.DENSITY_BLUR
    squares = (x[None, :, None] / 6 - centres[:, 0]) ** 2 + (y[:, None, None] / 6 - centres[:, 1]) ** 2
    expected = (np.exp(-squares / 2 / sigma**2) / (2 * np.pi * sigma**2)).sum(2)
    inner = (slice(15, -15), slice(15, -15))  # 2.5 pixels, 5 sigma, from the border
    # The rasterizer leaves out what lies beyond 4.5 standard deviations.
    np.testing.assert_allclose(crowd[inner], expected[inner], atol=1e-3)


def test_the_chosen_are_inside_and_red() -> None:
    gaussians = random_gaussians(100)
    chosen = layers.choose(gaussians, 20, seed=3)
    means = gaussians.means[0].numpy()[chosen]
    assert len(set(chosen)) == 20 and (means > 0).all() and (means < (14, 10)).all()
    red = layers.with_red(gaussians, chosen)
    assert (red.colors[0, chosen] == torch.tensor([1.0, 0, 0])).all()
    others = np.setdiff1d(np.arange(100), chosen)
    assert torch.equal(red.colors[0, others], gaussians.colors[0, others])


def test_positions_are_dots_of_one_size() -> None:
    gaussians = random_gaussians(1)
    one = Gaussians(torch.tensor([[[7.0, 5.0]]]), *list(vars(gaussians).values())[1:5], (10, 14))
    dots = layers.positions(one, (100, 140), density=4)
    y, x = (np.arange(n) + 0.5 for n in (100, 140))
    sigma = 10 / 2 / 4  # a quarter of the grid's spacing, at 10 pixels per LR pixel
    expected = np.exp(-((x[None] - 70) ** 2 + (y[:, None] - 50) ** 2) / 2 / sigma**2)
    np.testing.assert_allclose(dots[..., 0], expected, atol=1e-4)


def test_the_most_detailed_square_is_found() -> None:
    image = np.zeros((40, 60, 3))
    image[20:32:2, 44:56] = 1  # LR pixels: rows 5..8, columns 11..14
    found = layers.most_detailed(image, (10, 15), 3)
    assert found.y == 5 and found.x == 11


def test_parts_are_drawn_with_the_cutoff_of_the_whole() -> None:
    """The network's raster ratio is of the whole image, in parts of every shape."""
    gaussians = random_gaussians(200)
    cutoff = layers.Cutoff(6.0, 0.15, (10, 14))
    # Without a crop it is the network's own drawing, to the bit.
    whole = render(gaussians, (40, 56), support=6.0, raster_ratio=0.15)
    np.testing.assert_array_equal(layers.draw(gaussians, (40, 56), cutoff), whole[0].permute(1, 2, 0).clamp(0, 1))
    assert np.abs(layers.draw(gaussians, (40, 56)) - layers.draw(gaussians, (40, 56), cutoff)).max() > 0.05
    # Half-widths of 0.75 and 1.05 LR pixels are 3 and 4.2 output pixels: of regions with sides in proportion to the
    # whole's the window is exact; of others it may be a half pixel off along one axis.
    region = layers.Region(x=3, y=2, width=7, height=5)
    part = layers.draw(layers.crop_gaussians(gaussians, region, 6.0), (20, 28), cutoff)
    np.testing.assert_allclose(part, layers.draw(gaussians, (40, 56), cutoff)[8:28, 12:40], atol=1e-5)
    for region in (layers.Region(3, 2, 9, 2), layers.Region(5, 1, 2, 8), layers.Region(0, 0, 14, 3)):
        x, y, w, h = region
        part = layers.draw(layers.crop_gaussians(gaussians, region, 6.0), (32 * h, 32 * w), cutoff)
        expected = layers.draw(gaussians, (320, 448), cutoff)[32 * y : 32 * (y + h), 32 * x : 32 * (x + w)]
        assert part.shape == expected.shape
        # Where a cut moves by a pixel, one line of a Gaussian's pixels changes: few of all.
        assert np.mean(np.abs(part - expected) > 1e-4) < 0.05


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
