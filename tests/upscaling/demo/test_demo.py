"""The demo: what it computes of a region, and the page in a real browser, without a display."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image

from gsasr_plugin import GSASR, upscale
from gsasr_plugin.checkpoints.model_file import save_model
from gsasr_plugin.checkpoints.packaged import DEFAULT_MODEL
from gsasr_plugin.commands import main
from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.data.eight_bit import to_8_bit
from gsasr_plugin.upscaling import estimate
from gsasr_plugin.upscaling.demo.page import CLICKED_PIXELS
from gsasr_plugin.upscaling.demo.region_view import view_region
from gsasr_plugin.upscaling.demo.whole_view import enlarge_whole, levels, shown_size
from gsasr_plugin.upscaling.pictures.picture import Picture, PictureError
from gsasr_plugin.upscaling.pictures.reading import read_picture
from gsasr_plugin.upscaling.upscaler import Upscaler
from tests.archs.test_gsasr import small_gsasr

PHOTO = skimage.data.astronaut()[:160, 100:300]
ARTEFACTS = Path(__file__).parents[3] / 'artefacts'
TIMEOUT_S = 180


def test_a_region_is_that_of_the_upscaled_picture(net: GSASR) -> None:
    pytest.importorskip('matplotlib')
    view = view_region(Upscaler(net, device='cpu', dtype='float32'), PHOTO, (100.4, 80), 40, 3)
    assert view.region == (80, 60, 40, 40)
    whole = upscale(PHOTO, scale=3, model=net, dtype='float32')[180:300, 240:360]
    # The network sees 24 pixels around the region, not all; most of the difference is none.
    assert view.sr.shape == (120, 120, 3) and np.abs(view.sr.astype(int) - whole).mean() < 0.5
    bicubic = resize_bicubic(PHOTO / np.float32(255), (480, 600))[180:300, 240:360].clip(0, 1)
    assert np.abs(view.bicubic / 255 - bicubic).max() < 1 / 255
    assert view.count >= 4 * 40 * 40 and view.positions.shape == view.close_up.shape


def test_a_region_is_cut_as_the_network_cuts(net: GSASR) -> None:
    """The raster ratio is of the whole picture, not of the region or of what the network sees."""
    pytest.importorskip('matplotlib')
    cut = GSASR(**{**net.options, 'raster_ratio': 0.004}).eval()
    cut.load_state_dict(net.state_dict())
    view = view_region(Upscaler(cut, device='cpu', dtype='float32'), PHOTO, (100.4, 80), 40, 3)
    with_cut, without = (upscale(PHOTO, scale=3, model=m, dtype='float32')[180:300, 240:360] for m in (cut, net))
    assert np.abs(with_cut.astype(int) - without).mean() > 5
    assert np.abs(view.sr.astype(int) - with_cut).mean() < 1


def test_the_border_of_a_region_is_no_border_of_the_picture() -> None:
    pytest.importorskip('matplotlib')
    model = small_gsasr(bicubic_skip=True, consistency=2).eval()
    view = view_region(Upscaler(model, device='cpu', dtype='float32'), PHOTO, (100.4, 80), 40, 3)
    whole = upscale(PHOTO, scale=3, model=model, dtype='float32')[180:300, 240:360]
    assert np.abs(view.sr.astype(int) - whole).max() <= 1  # of colours that are still 0, all comes from the LR image


@pytest.mark.parametrize(('ending', 'bits', 'channels'), [('png', 16, 4), ('tif', 16, 4), ('jpg', 8, 3), ('bmp', 8, 3)])
def test_the_whole_result_is_that_of_upscale(net: GSASR, tmp_path: Path, ending: str, bits: int, channels: int) -> None:
    """In the file all its bits, alpha where the format holds it, else a white background; under the slider both."""
    alpha = (np.arange(50) < 30).astype(np.float32)[None].repeat(40, 0)
    color = PHOTO[:40, :50] / np.float32(255)
    picture = Picture(color=color, alpha=alpha, bits=16)
    upscaler = Upscaler(net, device='cpu', dtype='float32')
    told: list[tuple[float, str]] = []
    view = enlarge_whole(
        upscaler, picture, 2.5, tmp_path / f'x.{ending}', lambda share, desc: told.append((share, desc))
    )
    assert told[-1] == (1, 'Writing') and told == sorted(told, key=lambda step: step[0])
    assert told[0] == (0, 'Enlarging') and told[-2] == (1, 'Drawing')
    ((expected, expected_alpha),) = upscaler.pixels(color, alpha, [(100, 125)])
    expected = expected.clip(0, 1)
    made = read_picture(tmp_path / f'x.{ending}')
    assert made.size == view.size == (100, 125) and made.bits == bits
    assert view.sr.shape == view.bicubic.shape == (100, 125, 4)
    assert np.abs(view.sr[..., 3] / 255 - expected_alpha).max() <= 0.51 / 255
    assert np.abs(view.sr[:, :60, :3] / 255 - expected[:, :60]).max() <= 0.51 / 255
    if channels == 4:
        assert np.abs(made.color - expected).max() <= 0.51 / 65535
        assert np.abs(made.alpha - expected_alpha).max() <= 0.51 / 65535
    else:
        white = expected * expected_alpha[..., None] + 1 - expected_alpha[..., None]
        assert made.alpha is None and any('white background' in remark for remark in view.remarks)
        assert np.abs(made.color - white).mean() <= (0.51 if ending == 'bmp' else 3) / 255


def test_a_result_beyond_the_memory_is_refused_with_numbers(
    net: GSASR, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, 'free_bytes', lambda device: 2**30)
    picture = Picture(color=np.zeros((600, 800, 3), np.float32))
    with pytest.raises(PictureError, match=r'^9600 x 7200 pixels: .*GiB, and 1\.0 GiB are free'):
        enlarge_whole(Upscaler(net, device='cpu'), picture, 12, tmp_path / 'x.png')
    with pytest.raises(PictureError, match='WEBP files hold at most 16383 pixels per side, not 18000 x 12'):
        enlarge_whole(
            Upscaler(net, device='cpu'), Picture(color=np.zeros((1, 1500, 3), np.float32)), 12, tmp_path / 'x.webp'
        )
    assert not list(tmp_path.iterdir())


def test_what_is_shown_has_a_bound() -> None:
    assert shown_size((600, 800)) == (600, 800)
    assert shown_size((12000, 16000)) == (1732, 2309)
    assert shown_size((3000, 4000), CLICKED_PIXELS) == (866, 1154)
    color = np.random.default_rng(0).random((30, 40, 1)).astype(np.float32)
    shown = levels(color, None, (20, 25))
    assert np.array_equal(shown, to_8_bit(resize_bicubic(color, (20, 25))).repeat(3, axis=2))


@pytest.mark.parametrize('centre', [(0, 0), (199, 159), (-5, 1000)])
def test_a_region_stays_in_the_picture(net: GSASR, centre: tuple[int, int]) -> None:
    pytest.importorskip('matplotlib')
    x, y, width, height = view_region(Upscaler(net, device='cpu'), PHOTO, centre, 128, 1).region
    assert 0 <= x <= 200 - width and 0 <= y <= 160 - height and (width, height) == (128, 128)


def test_without_gradio_the_command_says_how_to_get_it(
    model_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, 'gradio', None)  # as if it were not installed
    assert main(['demo', '--model', str(model_file), '--device', 'cpu']) == 2
    assert "pip install 'gsasr-plugin[demo]'" in capsys.readouterr().err


def wait_for(condition, what: str):
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f'no {what} after {TIMEOUT_S} s')


@pytest.fixture
def browser():
    webdriver = pytest.importorskip('selenium.webdriver', reason='selenium is not installed: pip install selenium')
    driver, chromium = shutil.which('chromedriver'), shutil.which('chromium')
    if driver is None or chromium is None:
        pytest.skip('chromium is not installed: apt-get install chromium chromium-driver')
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ('--headless=new', '--no-sandbox', '--disable-dev-shm-usage', '--window-size=1500,1300'):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


class Page:
    """The page in a browser, and what its users do there."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser

    def all(self, selector: str) -> list[Any]:
        return self.browser.find_elements('css selector', selector)

    def one(self, selector: str) -> Any:
        return self.browser.find_element('css selector', selector)

    def facts(self, begin: str, of: str = 'facts') -> str | None:
        return next((element.text for element in self.all(f'#{of}') if begin in element.text), None)

    def upload(self, path: Path) -> None:
        wait_for(lambda: self.all('input[type=file]'), 'upload')[0].send_keys(str(path))

    def remove(self) -> None:
        self.one('button[aria-label="Remove Image"]').click()
        wait_for(lambda: not self.facts('pixels'), 'page without a picture')

    def scale(self, text: str) -> None:
        from selenium.webdriver.common.keys import Keys

        number = self.one('#scale input[type=number]')
        number.send_keys(Keys.CONTROL, 'a')
        number.send_keys(text, Keys.ENTER)

    def whole(self, ending: str, meanwhile: str = '') -> bytes:
        """The file of the whole result, downloaded when it is there, as are the pictures under the slider; `meanwhile`
        is to be read until then.
        """
        self.one(f'#ending input[value="{ending}"]').click()
        self.one('#whole').click()
        if meanwhile:
            seen = "return [...document.querySelectorAll('.progress-level')].map(level => level.textContent).join()"
            wait_for(lambda: meanwhile in self.browser.execute_script(seen), meanwhile)
        link = wait_for(lambda: self.all('#download a'), 'result of the whole')[0]
        with urllib.request.urlopen(link.get_attribute('href')) as file:
            content = file.read()
        shown = {image.get_attribute('src') for image in self.all('#whole-compared img')}
        assert len(shown) == 2  # bicubic and SR under one slider
        return content

    def photograph(self, name: str) -> None:
        """A file in the artefacts."""
        time.sleep(1)  # the images load
        ARTEFACTS.mkdir(exist_ok=True)
        self.browser.save_screenshot(str(ARTEFACTS / name))


@contextmanager
def served(browser: Any, model_file: Path, tmp_path: Path) -> Iterator[Page]:
    """The page of a server of its own."""
    pytest.importorskip('gradio', reason="gradio is not installed: pip install 'gsasr-plugin[demo]'")
    code = 'import sys; from gsasr_plugin.commands import main; sys.exit(main())'
    arguments = ['demo', '--no-browser', '--model', str(model_file), '--device', 'cpu']
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    with (tmp_path / 'log.txt').open('w+') as log:
        server = subprocess.Popen(
            [sys.executable, '-c', code, *arguments], stdout=log, stderr=subprocess.STDOUT, env=environment
        )

        def printed() -> str:
            return (tmp_path / 'log.txt').read_text()

        try:
            wait_for(lambda: 'http://127.0.0.1:' in printed() or server.poll() is not None, 'server')
            assert server.poll() is None, printed()
            browser.get(next(word for word in printed().split() if word.startswith('http://127.0.0.1:')))
            yield Page(browser)
        finally:
            server.terminate()
            server.wait()


@pytest.fixture
def page(browser, model_file: Path, tmp_path: Path) -> Iterator[Page]:
    with served(browser, model_file, tmp_path) as page:
        yield page


@pytest.mark.slow
def test_the_page_in_a_browser(page: Page, model_file: Path, tmp_path: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    Image.fromarray(PHOTO).save(tmp_path / 'photo.png')
    small, opacity = PHOTO[:60, :100], np.full((60, 100), 65535, np.uint16)
    opacity[:, 50:] = 0
    cv2.imwrite(str(tmp_path / 'deep.png'), np.dstack([small[..., ::-1] * np.uint16(257), opacity]))
    Image.fromarray(small).quantize(32).save(tmp_path / 'palette.gif')
    turned = Image.Exif()
    turned[274] = 6
    Image.fromarray(small).save(tmp_path / 'turned.jpg', exif=turned)
    page.upload(tmp_path / 'photo.png')
    wait_for(lambda: page.facts(f'{model_file}: 64 x 64 pixels to 256 x 256'), 'result at x4')
    page.one(f'#model input[value="{DEFAULT_MODEL}"]').click()
    wait_for(lambda: page.facts(f'{DEFAULT_MODEL}: 64 x 64 pixels to 256 x 256'), 'result of another model')
    page.scale('7.5')
    wait_for(lambda: page.facts('to 480 x 480'), 'result at x7.5')
    before = page.one('#close-up img').get_attribute('src')
    ActionChains(page.browser).move_to_element_with_offset(page.one('#where img'), -40, 30).click().perform()
    what = 'Gaussians of the region that was clicked'
    wait_for(lambda: page.one('#close-up img').get_attribute('src') != before, what)
    assert len({image.get_attribute('src') for image in page.all('#compared img')}) == 2
    for name, said, size in (
        ('deep.png', 'The picture: 100 x 60 pixels, 16 bits, with alpha', (80, 133)),
        ('palette.gif', 'The picture: 100 x 60 pixels, 8 bits', (80, 133)),
        ('turned.jpg', 'The picture: 60 x 100 pixels, 8 bits', (133, 80)),
    ):
        page.remove()
        assert not page.all('#download a')  # of the picture before
        page.upload(tmp_path / name)
        wait_for(lambda said=said: page.facts(said), f'{name} as it is in its file')
        page.scale('1.33')
        made, picture = read_picture(page.whole('tif')), read_picture(tmp_path / name)
        assert made.size == size and made.bits == picture.bits
        assert (made.alpha is None) == (picture.alpha is None)
    page.photograph('demo.png')
    assert Image.open(ARTEFACTS / 'demo.png').size[0] == 1500


@pytest.mark.slow
def test_a_photograph_of_12_megapixels_in_a_browser(browser, tmp_path: Path) -> None:
    """As phones take them. The network has no layer more than it needs, and before it has learnt anything it draws a
    bicubic enlargement, which tells what is right.
    """
    options = {'bicubic_skip': True, 'joint_head': True, 'feature_skip': True, 'gaussian_density': 1}
    net = small_gsasr(num_injection_blocks=0, num_interaction_blocks=0, **options)
    save_model(net, tmp_path / 'light.safetensors')
    large = resize_bicubic(skimage.data.astronaut() / np.float32(255), (3000, 4000))
    Image.fromarray(to_8_bit(large)).save(tmp_path / 'large.jpg', quality=90)
    with served(browser, tmp_path / 'light.safetensors', tmp_path) as page:
        page.upload(tmp_path / 'large.jpg')
        wait_for(lambda: page.facts('The picture: 4000 x 3000 pixels, 8 bits'), 'large picture')
        page.scale('1.5')
        made = read_picture(page.whole('jpg', meanwhile='Enlarging'))
        assert page.facts('6000 x 4500 pixels in', 'whole-facts')
        assert page.facts('s, shown at 2309 x 1732', 'whole-facts')
        page.photograph('demo_12_megapixels.png')
    assert made.size == (4500, 6000)
    expected = resize_bicubic(large, (450, 600))
    assert np.abs(resize_bicubic(made.color, (450, 600)) - expected).mean() < 1 / 255
