"""`gsasr demo`: a page in the browser."""

import argparse
import os
from functools import partial

from gsasr_plugin.checkpoints.packaged import DEFAULT_MODEL, packaged_models
from gsasr_plugin.commands.arguments import add_model_arguments, load_upscaler
from gsasr_plugin.run_errors import told_as_command_error

DESCRIPTION = """\
Open a page in the browser: choose a picture and a model, drag the scale from x1 to x12, compare with bicubic
interpolation under one slider, and see the Gaussians of the region that you click. It is served to this machine only,
unless --host says otherwise. Needs gradio and matplotlib: pip install 'gsasr-plugin[demo]'."""
EXAMPLES = """\
  gsasr demo
  gsasr demo --model experiments/run/models/net_g_latest.pth --opt options/train.yml
  gsasr demo --host 0.0.0.0 --port 8080 --no-browser
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--host', default='127.0.0.1', help='0.0.0.0 serves every machine (default: 127.0.0.1)')
    parser.add_argument('--port', type=int, help='default: the first free one from 7860 on')
    parser.add_argument('--no-browser', action='store_true', help='only print the address')
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    # Before gradio is imported: it reports home otherwise.
    os.environ.setdefault('GRADIO_ANALYTICS_ENABLED', 'False')
    from gsasr_plugin.upscaling.demo.page import build_page, launch

    given = arguments.model or [DEFAULT_MODEL]
    first = load_upscaler(arguments)  # a mistake in the arguments ends the command, not the page
    models = {' + '.join(given): lambda: first}
    for name in packaged_models():
        others = argparse.Namespace(**{**vars(arguments), 'model': [name], 'opt': None})
        models.setdefault(name, partial(load_upscaler, others))
    page = build_page(models)
    with told_as_command_error(f'--host {arguments.host}, --port {arguments.port}: ', OSError):
        launch(page, arguments.host, arguments.port, open_browser=not arguments.no_browser)
    return 0
