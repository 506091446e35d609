"""The arguments of every subcommand that runs a network, and the network that they choose."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from gsasr_plugin.commands.errors import CommandError
from gsasr_plugin.option_check import OptionError, read_option_file
from gsasr_plugin.pretrained import DEFAULT_MODEL, load_pretrained
from gsasr_plugin.upscaling import Upscaler
from gsasr_plugin.upscaling.hardware import AUTO, DEVICES, DTYPES


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
    group.add_argument('--device', default=AUTO, help=f'{DEVICES} (default: {AUTO})')
    group.add_argument(
        '--dtype',
        default=AUTO,
        choices=[AUTO, *DTYPES],
        help='of encoder and decoder; auto is bfloat16 where the hardware has instructions for it (default: auto)',
    )


def load_upscaler(arguments: argparse.Namespace, *, self_ensemble: bool = False) -> Upscaler:
    """The network of the arguments, ready to work.

    Raises:
        CommandError: an argument or a file is wrong.
    """
    models = arguments.model
    source = None if models is None else models[0] if len(models) == 1 else models
    try:
        net = load_pretrained(source, _network_options(arguments.opt))
        return Upscaler(net, device=arguments.device, dtype=arguments.dtype, self_ensemble=self_ensemble)
    except ValueError as error:
        raise CommandError(f'--model: {error}' if 'model' in str(error) else str(error)) from error


def _network_options(file: str | None) -> Mapping[str, Any] | None:
    if file is None:
        return None
    try:
        options = read_option_file(file).options
    except OptionError as error:
        raise CommandError(f'--opt: {error}') from error
    if not isinstance(options.get('network_g'), dict):
        raise CommandError(f'--opt {file}: it has no section network_g')
    return options['network_g']
