"""`gsasr gaussians` writes what `gsasr render` draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from gsasr_plugin.checkpoints.model_file import save_model
from gsasr_plugin.commands import main
from gsasr_plugin.upscaling.gaussian_file import SHAPES, read_gaussians
from tests.archs.test_completion import make_net

PHOTO = skimage.data.astronaut()[100:112, 200:218]  # (12, 18, 3)


@pytest.fixture
def archive(tmp_path: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PHOTO).save('photo.png')
    arguments = ['photo.png', '-o', 'photo.npz', '--model', str(model_file), '--device', 'cpu', '--dtype', 'float32']
    assert main(['gaussians', '--scale', '3', *arguments]) == 0
    return tmp_path / 'photo.npz'


def sum_at_pixel_centres(archive: Path, size: tuple[int, int]) -> np.ndarray:
    """The formula of the file's description, in float64: (H, W, 3)."""
    held = np.load(archive)
    means, sigmas = held['means'].astype(np.float64), held['sigmas'].astype(np.float64)
    rhos, opacities = held['rhos'].astype(np.float64), held['opacities'].astype(np.float64)
    h, w = held['lq_size']
    y, x = ((np.arange(n) + 0.5) * m / n for n, m in zip(size, (h, w)))
    u = (x[None, :, None] - means[:, 0]) / sigmas[:, 0]
    v = (y[:, None, None] - means[:, 1]) / sigmas[:, 1]
    q = (u * u - 2 * rhos * u * v + v * v) / (1 - rhos * rhos)
    return np.exp(-q / 2) @ (opacities[:, None] * held['colors'])


def test_the_file_is_what_its_description_says(archive: Path) -> None:
    held = np.load(archive)
    assert held['lq_size'].tolist() == [12, 18] and held['scale'].tolist() == [3, 3]
    assert held['means'].shape == (4 * 12 * 20, 2)  # 4 per pixel of the image padded to windows of 4
    assert main(['render', 'photo.npz', '-o', 'drawn.png', '--size', '50x31', '--bits', '16']) == 0
    import cv2

    drawn = cv2.imread('drawn.png', cv2.IMREAD_UNCHANGED)[..., ::-1] / 65535
    # The rasterizer leaves out what lies beyond 4.5 standard deviations: 8e-5; 16 bits round to 8e-6.
    np.testing.assert_allclose(drawn, sum_at_pixel_centres(archive, (31, 50)).clip(0, 1), atol=1e-4)


def test_rendered_is_upscaled(archive: Path, model_file: Path) -> None:
    assert main(['render', 'photo.npz', '-o', 'out/', '--scale', '3', '--scale', '2', '3.5', '--format', 'png']) == 0
    model = ['--model', str(model_file), '--device', 'cpu', '--dtype', 'float32']
    assert main(['upscale', 'photo.png', '-o', 'up.png', '--scale', '3', *model]) == 0
    rendered = Image.open('out/photo_x3.png')
    np.testing.assert_array_equal(np.asarray(rendered), np.asarray(Image.open('up.png')))
    assert Image.open('out/photo_x2x3.5.png').size == (63, 24)


def test_existing_files_are_kept(archive: Path, model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = archive.read_bytes()
    assert main(['gaussians', 'photo.png', '-o', 'photo.npz', '--model', str(model_file)]) == 2
    assert archive.read_bytes() == before
    Path('drawn.png').write_bytes(b'precious')
    assert main(['render', 'photo.npz', '-o', 'drawn.png', '--scale', '2']) == 0
    assert Path('drawn.png').read_bytes() == b'precious'
    assert capsys.readouterr().err.count('--overwrite replaces it') == 2


@pytest.mark.parametrize('damage', ['empty', 'cut', 'missing', 'shape', 'dtype', 'version', 'pickle'])
def test_other_files_are_named(archive: Path, damage: str) -> None:
    held = dict(np.load(archive))
    if damage == 'missing':
        del held['rhos']
    elif damage == 'shape':
        held['means'] = held['means'][:-1]
    elif damage == 'dtype':
        held['colors'] = held['colors'].astype(np.float64)
    elif damage == 'version':
        held['version'] = np.array(3)
    elif damage == 'pickle':
        held['rhos'] = np.array([{}], dtype=object)
    np.savez(archive, **held)
    if damage in ('empty', 'cut'):
        archive.write_bytes(archive.read_bytes()[: 0 if damage == 'empty' else 100])
    with pytest.raises(ValueError, match=r'photo\.npz'):
        read_gaussians(archive)
    assert main(['render', 'photo.npz', '-o', 'x.png', '--scale', '2']) == 2
    assert not Path('x.png').exists()


def test_wrong_arguments_are_named(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['render', 'absent.npz', '-o', 'x.png', '--scale', '2']) == 2
    assert main(['render', '-o', 'x.png', '--scale', '2']) == 2
    assert main(['gaussians', 'photo.png', '-o', 'x.txt']) == 2
    assert main(['gaussians', 'absent.png', '-o', 'x.npz']) == 2
    assert main(['render', 'photo.npz', '-o', 'x.jpg', '--scale', '2', '--bits', '16']) == 2
    assert main(['render', 'photo.npz', '-o', 'x.webp', '--scale', '1000']) == 2
    assert main(['render', 'photo.npz', '-o', 'x.png', '--size', '20000x2147483647']) == 2
    assert main(['render', 'photo.png', '-o', 'x.png', '--scale', '2']) == 2
    assert not list(Path().glob('x.*'))
    told = capsys.readouterr().err
    for message in (
        '--bits 16: JPEG files hold 8 bits; choose one of PNG, TIFF',
        '18000 x 12000 pixels: WEBP files hold at most 16383',
        '20000 x 2147483647 pixels: it does not fit onto the disk: its rows take 120000.0 GiB',
        'photo.png is no archive of Gaussians',
    ):
        assert message in told
    assert 'pickle' not in told
    for message in ('no file absent.npz', 'one input', 'must end in .npz', 'absent.png: there is no such file'):
        assert message in told
    assert set(SHAPES) <= set(np.load(archive).files)


@pytest.fixture
def completed_model(tmp_path: Path) -> Path:
    save_model(make_net(consistency=2, joint_head=True, support=4.5), tmp_path / 'completed.safetensors')
    return tmp_path / 'completed.safetensors'


def test_what_completes_a_drawing_is_written_too(
    completed_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PHOTO).save('photo.png')
    model = ['--model', str(completed_model), '--device', 'cpu', '--dtype', 'float32']
    assert main(['gaussians', 'photo.png', '-o', 'photo.npz', '--scale', '3', *model]) == 0
    held = dict(np.load('photo.npz'))
    assert held['version'] == 2 and held['consistency'] == 2 and held['bicubic_skip']
    np.testing.assert_array_equal(held['lq'], PHOTO.astype(np.float32) / 255)
    assert main(['render', 'photo.npz', '-o', 'drawn.png', '--scale', '3']) == 0
    assert main(['upscale', 'photo.png', '-o', 'up.png', '--scale', '3', *model]) == 0
    np.testing.assert_array_equal(np.asarray(Image.open('drawn.png')), np.asarray(Image.open('up.png')))
    for wrong in ({'lq': held['lq'][1:]}, {'consistency': np.array(-1)}, {'bicubic_skip': np.zeros(2, bool)}):
        np.savez('wrong.npz', **held | wrong)
        with pytest.raises(ValueError, match='wrong.npz: .*' + next(iter(wrong))):
            read_gaussians(Path('wrong.npz'))
    del held['lq']
    np.savez('wrong.npz', **held)
    with pytest.raises(ValueError, match='lacks lq'):
        read_gaussians(Path('wrong.npz'))
