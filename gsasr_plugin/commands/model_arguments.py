"""The arguments of every subcommand that runs a network, and the network that they choose."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gsasr_plugin.checkpoints.packaged import DEFAULT_MODEL
from gsasr_plugin.commands.errors import CommandError
from gsasr_plugin.commands.option_files import network_section
from gsasr_plugin.precision import DTYPES
from gsasr_plugin.upscaling.hardware import AUTO, DEVICES

if TYPE_CHECKING:
    from gsasr_plugin.upscaling.upscaler import Upscaler


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('the network')
    group.add_argument(
        '--model',
        action='append',
        metavar='MODEL',
        help='name of a packaged model, official/NAME, a converted file, a folder with the encoder.pth and decoder.pth '
        'of the authors (or twice: --model encoder.pth --model decoder.pth), or a checkpoint of a training of ours, '
        f'with --opt (default: {DEFAULT_MODEL})',
    )
    group.add_argument('--opt', metavar='FILE', help="option file of the checkpoint's training")
    add_device_arguments(group)
    group.add_argument(
        '--tile',
        default=AUTO,
        metavar='N',
        help='side in pixels of the tiles in which the network sees large pictures, none for whole pictures; '
        'auto: tiles as large as the memory allows, where it does not hold the whole (default: auto)',
    )
    group.add_argument('--tile-overlap', type=int, metavar='N', help='pixels that neighbouring tiles share at least')
    group.add_argument(
        '--memory', type=float, metavar='GIB', help='what --tile auto lets the network take (default: half of the rest)'
    )


def add_device_arguments(parser: argparse._ActionsContainer, dtype: str = AUTO) -> None:
    """--device and --dtype, with the type that is the default."""
    parser.add_argument('--device', default=AUTO, metavar='DEVICE', help=f'{DEVICES} (default: {AUTO})')
    parser.add_argument(
        '--dtype',
        default=dtype,
        choices=[AUTO, *DTYPES],
        help='of encoder and decoder; fp16 is for CUDA devices; auto is bf16 where the hardware has instructions for '
        f'it, else float32 (default: {dtype})',
    )


def load_upscaler(arguments: argparse.Namespace, *, self_ensemble: bool = False) -> Upscaler:
    """The network of the arguments, ready to work.

    Raises:
        CommandError: an argument or a file is wrong.
    """
    if arguments.memory is not None and not arguments.memory > 0:
        raise CommandError(f'--memory is a number of GiB above 0, got {arguments.memory:g}')
    tile = _tile(arguments.tile)
    from gsasr_plugin.checkpoints.loading import load
    from gsasr_plugin.upscaling.upscaler import Upscaler

    models = arguments.model
    source = None if models is None else models[0] if len(models) == 1 else models
    options = None if arguments.opt is None else network_section(arguments.opt)
    try:
        net = load(source, options)
    except (FileNotFoundError, ValueError) as error:
        raise CommandError(f'--model: {error}') from error
    try:
        return Upscaler(
            net,
            device=arguments.device,
            dtype=arguments.dtype,
            self_ensemble=self_ensemble,
            tile=tile,
            tile_overlap=arguments.tile_overlap,
            memory_budget=arguments.memory,
        )
    except ValueError as error:
        raise CommandError(str(error)) from error


def _tile(text: str) -> int | str | None:
    if text in (AUTO, 'none'):
        return None if text == 'none' else text
    if not text.isdecimal():
        raise CommandError(f'--tile is a number of pixels, {AUTO} or none; got {text!r}')
    return int(text)
