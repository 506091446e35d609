"""The page itself, made with gradio."""

import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from gsasr_plugin.run_errors import CommandError
from gsasr_plugin.upscaling.demo.region_view import view_region
from gsasr_plugin.upscaling.demo.whole_view import enlarge_whole, levels, shown_size
from gsasr_plugin.upscaling.estimate import OUT_OF_MEMORY
from gsasr_plugin.upscaling.pictures.formats import FORMATS
from gsasr_plugin.upscaling.pictures.picture import Picture, PictureError
from gsasr_plugin.upscaling.pictures.reading import read_picture
from gsasr_plugin.upscaling.upscaler import Upscaler
from gsasr_plugin.upscaling.visuals.layers import Region

EXTRA = "pip install 'gsasr-plugin[demo]'"
SCALES = (1.0, 12.0)
SIDES = (16, 128)
CLICKED_PIXELS = 1_000_000  # of the picture that is clicked on, which is sent anew for each drag of a slider
ENDINGS = tuple(known.suffixes[0][1:] for known in FORMATS.values())
# Photographs to begin with, as far as the installed scikit-image has them.
PHOTOGRAPHS = ('astronaut.png', 'coffee.png', 'chelsea.png', 'rocket.jpg')
TITLE = 'GSASR: any scale from one set of Gaussians'
INTRODUCTION = (
    'Choose a picture, click on a region, drag the scale. The left half of the large view is bicubic. Below, the whole '
    'picture is enlarged, and the result is a file to download.'
)


class DemoMissing(CommandError, ImportError):
    """gradio is not installed; the message says how to install it."""


def build_page(models: Mapping[str, Callable[[], Upscaler]]) -> Any:
    """The page, a `gradio.Blocks`; nothing of what happens on it leaves the machine.

    Args:
        models: name -> what loads it, once, when it is first chosen; the page begins with the first one.

    Raises:
        DemoMissing: gradio is not installed.
    """
    try:
        import gradio as gr
    except ImportError as error:
        raise DemoMissing(f'gradio is needed: {EXTRA} ({error})') from error

    @cache
    def upscaler(name: str) -> Upscaler:
        return models[name]()

    results = tempfile.TemporaryDirectory(prefix='gsasr-demo-')  # it goes with the page

    def shown(name: str, *chosen: Any) -> tuple:
        *pictures, facts = _shown(upscaler(name), *chosen)
        return *pictures, facts and f'{name}: {facts}'

    # gradio finds the progress by its value.
    def enlarged(
        name: str,
        file: str | None,
        scale: float,
        ending: str,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> tuple:
        return _enlarged(upscaler(name), file, scale, ending, folder=Path(results.name), progress=progress)

    def clicked(event: gr.SelectData) -> tuple[float, float]:  # gradio reads the annotation
        return event.index[0], event.index[1]

    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        page.results = results
        gr.Markdown(f'# {TITLE}\n{INTRODUCTION}')
        point = gr.State(None)
        with gr.Row():
            with gr.Column(scale=1):
                picture, model, where, scale, side = _choices(gr, list(models))
            with gr.Column(scale=2):
                compared = gr.ImageSlider(label='Bicubic | GSASR', type='numpy', format='png', elem_id='compared')
                facts = gr.Markdown(elem_id='facts')
                positions, close_up = _drawings(gr)
                ending, whole, of_whole = _whole_components(gr)
        inputs, outputs = [model, picture, point, side, scale], [compared, positions, close_up, where, facts]
        # Only the newest wish counts while one is served.
        newest: dict[str, Any] = {'trigger_mode': 'always_last', 'show_progress': 'minimal'}
        gone = picture.change(lambda: (None, None, None, ''), outputs=[point, *of_whole])
        gone.then(shown, inputs, outputs, **newest)
        where.select(clicked, outputs=point).then(shown, inputs, outputs, **newest)
        for choice in (model, scale, side):
            choice.change(shown, inputs, outputs, **newest)
        whole.click(enlarged, [model, picture, scale, ending], of_whole)
        page.load(shown, inputs, outputs)
    return page


def _choices(gr: Any, models: list[str]) -> tuple[Any, ...]:
    """What is chosen on the page: picture, model, region, scale, and side of the region."""
    # The file as it is: gradio would make 8 bits of RGB of it.
    picture = gr.Image(label='Your picture', type='filepath', image_mode=None, sources=['upload', 'clipboard'])
    model = gr.Radio(models, value=models[0], label='Model', elem_id='model')
    where = gr.Image(label='Click on a region', type='numpy', interactive=False, elem_id='where')
    scale = gr.Slider(*SCALES, value=4, step=0.01, label='Scale', elem_id='scale')
    side = gr.Slider(*SIDES, value=64, step=1, label='Side of the region in pixels', elem_id='side')
    if examples := _photographs():
        gr.Examples(examples, picture, label='Photographs of scikit-image')
    return picture, model, where, scale, side


def _drawings(gr: Any) -> tuple[Any, Any]:
    """Where the page shows the Gaussians of the region: their positions, and some of them from near."""
    fixed = {'format': 'png', 'interactive': False}
    with gr.Row():
        positions = gr.Image(label='Positions of the Gaussians', **fixed)
        close_up = gr.Image(label='Their contours (1 sigma) in the middle', elem_id='close-up', **fixed)
    return positions, close_up


def _whole_components(gr: Any) -> tuple[Any, Any, list[Any]]:
    """What the page has for the whole picture: the choice of a format, the button, and what it fills."""
    with gr.Row():
        ending = gr.Radio(ENDINGS, value=ENDINGS[0], label='Format of the file', elem_id='ending')
        button = gr.Button('Enlarge the whole picture', elem_id='whole')
    facts = gr.Markdown(elem_id='whole-facts')
    compared = gr.ImageSlider(
        label='The whole picture: bicubic | GSASR', type='numpy', format='png', elem_id='whole-compared'
    )
    return ending, button, [compared, gr.File(label='The result', elem_id='download'), facts]


@lru_cache(maxsize=2)
def _read(file: str) -> Picture:
    """gradio gives each file that is uploaded a name of its own."""
    return read_picture(Path(file))


@lru_cache(maxsize=2)
def _levels(file: str) -> tuple[np.ndarray, np.ndarray]:
    """A picture in RGB and 8 bits, as it is and as small as it is shown: made once, not for each drag of a slider."""
    picture = _read(file)
    sizes = picture.size, shown_size(picture.size, CLICKED_PIXELS)
    whole, small = (levels(picture.color, picture.alpha, size) for size in sizes)
    return whole[..., :3], small[..., :3]


def _shown(upscaler: Upscaler, file: str | None, point: tuple[float, float] | None, side: float, scale: float) -> tuple:
    """The page's outputs of its inputs."""
    if file is None:
        return None, None, None, None, ''
    try:
        picture = _read(file)
    except PictureError as error:
        return None, None, None, None, f'{Path(file).name} {error}'
    h, w = picture.size
    whole, small = _levels(file)  # the small one is clicked on
    shrink = small.shape[1] / w
    x, y = (w / 2, h / 2) if point is None else (point[0] / shrink, point[1] * h / small.shape[0])
    start = time.perf_counter()
    view = view_region(upscaler, whole, (x, y), int(side), scale)
    H, W = view.sr.shape[:2]
    text = (
        f'{view.region.width} x {view.region.height} pixels to {W} x {H}, {view.count} Gaussians, '
        f'{time.perf_counter() - start:.2f} s with the drawings. The picture: {w} x {h} pixels, {picture.bits} bits'
        + ('' if picture.alpha is None else ', with alpha')
    )
    box = Region(*(round(length * shrink) for length in view.region))
    return (view.bicubic, view.sr), view.positions, view.close_up, _with_box(small, box), text


def _enlarged(
    upscaler: Upscaler,
    file: str | None,
    scale: float,
    ending: str,
    *,
    folder: Path,
    progress: Callable[..., object],
) -> tuple:
    """The whole result under the slider, its file, and what there is to say; `progress` is told the share done."""
    if file is None:
        return None, None, 'There is no picture yet.'
    start = time.perf_counter()
    target = Path(tempfile.mkdtemp(dir=folder), f'{Path(file).stem}_x{scale:g}.{ending}')
    try:
        view = enlarge_whole(upscaler, _read(file), float(scale), target, progress)
    except (PictureError, MemoryError) as error:
        return None, None, f'{Path(file).name} at x{scale:g}: {error or OUT_OF_MEMORY}'
    smaller = '' if view.sr.shape[:2] == view.size else f', shown at {view.sr.shape[1]} x {view.sr.shape[0]}'
    text = f'{view.size[1]} x {view.size[0]} pixels in {time.perf_counter() - start:.1f} s{smaller}'
    return (view.bicubic, view.sr), str(target), '; '.join([text, *view.remarks])


def launch(page: Any, host: str, port: int | None, *, open_browser: bool, wait: bool = True) -> str:
    """Serves the page, and returns its address.

    Args:
        host: 127.0.0.1 for this machine only.
        port: None for the first that is free, from 7860 on.
        wait: until the process is interrupted.
    """
    _, address, _ = page.launch(
        server_name=host, server_port=port, inbrowser=open_browser, prevent_thread_lock=True, quiet=True, share=False
    )
    print(f'gsasr demo: {address} (Ctrl-C stops it)', flush=True)
    if wait:
        page.block_thread()
    return address


def _photographs() -> list[str]:
    folder = Path(str(resources.files('skimage.data')))
    return [str(folder / name) for name in PHOTOGRAPHS if (folder / name).exists()]


def _with_box(picture: np.ndarray, region: Region) -> np.ndarray:
    image = Image.fromarray(picture)
    x, y, width, height = region
    line = max(1, round(max(image.size) / 250))
    ImageDraw.Draw(image).rectangle((x, y, x + width - 1, y + height - 1), outline=(0, 255, 255), width=line)
    return np.asarray(image)
