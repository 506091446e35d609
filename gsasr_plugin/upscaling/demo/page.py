"""The page itself, made with gradio."""

import time
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from gsasr_plugin.run_errors import CommandError
from gsasr_plugin.upscaling.demo.region_view import view_region
from gsasr_plugin.upscaling.upscaler import Upscaler
from gsasr_plugin.upscaling.visuals.layers import Region

EXTRA = "pip install 'gsasr-plugin[demo]'"
SCALES = (1.0, 12.0)
SIDES = (16, 128)
# Photographs to begin with, as far as the installed scikit-image has them.
PHOTOGRAPHS = ('astronaut.png', 'coffee.png', 'chelsea.png', 'rocket.jpg')
TITLE = 'GSASR: any scale from one set of Gaussians'
INTRODUCTION = 'Choose a picture, click on a region, drag the scale. The left half of the large view is bicubic.'


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

    def shown(name: str, *chosen: Any) -> tuple:
        *pictures, facts = _shown(upscaler(name), *chosen)
        return *pictures, facts and f'{name}: {facts}'

    def clicked(event: gr.SelectData) -> tuple[float, float]:  # gradio reads the annotation
        return event.index[0], event.index[1]

    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown(f'# {TITLE}\n{INTRODUCTION}')
        point = gr.State(None)
        with gr.Row():
            with gr.Column(scale=1):
                picture = gr.Image(
                    label='Your picture', type='numpy', image_mode='RGB', sources=['upload', 'clipboard']
                )
                model = gr.Radio(list(models), value=next(iter(models)), label='Model', elem_id='model')
                where = gr.Image(label='Click on a region', type='numpy', interactive=False, elem_id='where')
                scale = gr.Slider(*SCALES, value=4, step=0.01, label='Scale', elem_id='scale')
                side = gr.Slider(*SIDES, value=64, step=1, label='Side of the region in pixels', elem_id='side')
                if examples := _photographs():
                    gr.Examples(examples, picture, label='Photographs of scikit-image')
            with gr.Column(scale=2):
                compared = gr.ImageSlider(label='Bicubic | GSASR', type='numpy', format='png', elem_id='compared')
                facts = gr.Markdown(elem_id='facts')
                with gr.Row():
                    positions = gr.Image(label='Positions of the Gaussians', format='png', interactive=False)
                    close_up = gr.Image(
                        label='Their contours (1 sigma) in the middle',
                        format='png',
                        interactive=False,
                        elem_id='close-up',
                    )
        inputs = [model, picture, point, side, scale]
        outputs = [compared, positions, close_up, where, facts]
        # Only the newest wish counts while one is served.
        newest: dict[str, Any] = {'trigger_mode': 'always_last', 'show_progress': 'minimal'}
        picture.change(lambda: None, outputs=point).then(shown, inputs, outputs, **newest)
        where.select(clicked, outputs=point).then(shown, inputs, outputs, **newest)
        for choice in (model, scale, side):
            choice.change(shown, inputs, outputs, **newest)
        page.load(shown, inputs, outputs)
    return page


def _shown(
    upscaler: Upscaler, picture: np.ndarray | None, point: tuple[float, float] | None, side: float, scale: float
) -> tuple:
    """The page's outputs of its inputs."""
    if picture is None:
        return None, None, None, None, ''
    centre = point or (picture.shape[1] / 2, picture.shape[0] / 2)
    start = time.perf_counter()
    view = view_region(upscaler, picture, centre, int(side), float(scale))
    H, W = view.sr.shape[:2]
    text = (
        f'{view.region.width} x {view.region.height} pixels to {W} x {H}, {view.count} Gaussians, '
        f'{time.perf_counter() - start:.2f} s with the drawings'
    )
    return (view.bicubic, view.sr), view.positions, view.close_up, _with_box(picture, view.region), text


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
