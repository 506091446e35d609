"""The arguments that several subcommands have, and what they stand for; CommandError where they are wrong.

Parsers are built without torch, NumPy or Pillow, whose imports take seconds: what needs them imports them when it runs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsasr_plugin.checkpoints.packaged import DEFAULT_MODEL
from gsasr_plugin.precision import DTYPES
from gsasr_plugin.run_errors import CommandError, told_as_command_error
from gsasr_plugin.sizes import Scale, as_scale
from gsasr_plugin.upscaling.hardware import AUTO, DEVICES
from gsasr_plugin.upscaling.pictures.formats import DEFAULT_QUALITY, FORMATS
from gsasr_plugin.upscaling.target import Target, parse_pixels, parse_scale, parse_size

if TYPE_CHECKING:
    from gsasr_plugin.upscaling.pictures.picture import Picture
    from gsasr_plugin.upscaling.pictures.writing import Color
    from gsasr_plugin.upscaling.plan import Destination
    from gsasr_plugin.upscaling.upscaler import Upscaler

DEFAULT_SCALE = 4.0
SCALE_HELP = 'one factor, or those of rows and of columns'
PAPERS_SCALES = (2, 3, 4, 6, 8, 12)


def examples_of(examples: str, words: str = '') -> dict[str, Any]:
    """Arguments of a parser that end its help with those of the example lines that have the words in them."""
    lines = [line for line in examples.splitlines() if words in line]
    # The formatter keeps the lines of texts.
    return {'epilog': '\n'.join(['examples:', *lines]), 'formatter_class': argparse.RawDescriptionHelpFormatter}


def positive_number(text: str) -> int:
    """A whole number of at least 1, as the type of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'a whole number of at least 1 is needed, given {text!r}')
    return int(text)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """The network and how it works: see `load_upscaler`."""
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
        '--cuda-graph',
        action='store_true',
        help='replay the network for pictures of a size that has come before: less time for small ones on CUDA devices',
    )
    group.add_argument(
        '--tile',
        default=AUTO,
        metavar='N',
        help='side in pixels of the tiles in which the network sees large pictures, none for whole pictures; '
        'auto: tiles as large as the memory allows, where it does not hold the whole (default: auto)',
    )
    group.add_argument('--tile-overlap', type=int, metavar='N', help='pixels that neighbouring tiles share at least')
    group.add_argument(
        '--threads',
        type=positive_number,
        metavar='N',
        help='how many threads compute (default: one for each core); fewer leave cores to other programs',
    )
    group.add_argument(
        '--memory', type=float, metavar='GIB', help='what --tile auto lets the network take (default: half of the rest)'
    )


def add_device_arguments(parser: argparse._ActionsContainer, dtype: str = AUTO) -> None:
    """--device, --dtype, with the type that is the default, and --no-tf32."""
    parser.add_argument('--device', default=AUTO, metavar='DEVICE', help=f'{DEVICES} (default: {AUTO})')
    parser.add_argument(
        '--dtype',
        default=dtype,
        choices=[AUTO, *DTYPES],
        help='of encoder and decoder; fp16 is for CUDA devices; auto is bf16 where the hardware has instructions for '
        f'it, else float32 (default: {dtype})',
    )
    parser.add_argument(
        '--no-tf32',
        dest='tf32',
        action='store_false',
        help='multiply float32 in full on CUDA devices, several times as slow (default: factors rounded to TF32)',
    )


def load_upscaler(arguments: argparse.Namespace, **ways: bool) -> Upscaler:
    """The network of the arguments, ready to work in such ways: see `Upscaler`."""
    import torch

    from gsasr_plugin.checkpoints.blending import blend
    from gsasr_plugin.checkpoints.loading import load
    from gsasr_plugin.upscaling.upscaler import Upscaler

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    models = arguments.model
    source = None if models is None else models[0] if len(models) == 1 else models
    options = None if arguments.opt is None else network_section(arguments.opt)
    blended = getattr(arguments, 'blend', None)
    with told_as_command_error('--model: ' if blended is None else '--blend: ', FileNotFoundError, ValueError):
        net = load(source, options) if blended is None else blend(blended[0], blended[1], arguments.share, options)
    if arguments.memory is not None and not arguments.memory > 0:
        raise CommandError(f'--memory is a number of GiB above 0, got {arguments.memory:g}')
    tile = {AUTO: AUTO, 'none': None}.get(arguments.tile, arguments.tile)
    if tile not in (AUTO, None):
        if not tile.isdecimal() or int(tile) < 1:
            raise CommandError(f'--tile is a number of pixels from 1 on, {AUTO} or none; got {tile!r}')
        tile = int(tile)
    with told_as_command_error('', ValueError):
        return Upscaler(
            net,
            device=arguments.device,
            dtype=arguments.dtype,
            tf32=arguments.tf32,
            cuda_graph=arguments.cuda_graph,
            **ways,
            tile=tile,
            tile_overlap=arguments.tile_overlap,
            memory_budget=arguments.memory,
        )


def network_section(file: str) -> dict[str, Any]:
    """The section network_g of the option file of a checkpoint's training."""
    from gsasr_plugin.host.option_check import OptionError, read_option_file

    with told_as_command_error(f'--opt {file}: ', OptionError):
        section = read_option_file(file).options.get('network_g')
    if not isinstance(section, dict):
        raise CommandError(f'--opt {file}: there is no section network_g')
    return section


def read_input(argument: str) -> Picture:
    """The picture of a subcommand that takes one, by its file or from the standard input."""
    from gsasr_plugin.upscaling.pictures.picture import PictureError
    from gsasr_plugin.upscaling.pictures.reading import read_picture
    from gsasr_plugin.upscaling.pictures.sources import find_sources

    source, *more = find_sources([argument])
    if more:
        raise CommandError(f'{argument}: one picture is accepted, not {len(more) + 1}')
    if source.problem is not None:
        raise CommandError(f'{argument}: {source.problem}')
    with told_as_command_error(f'{argument}: ', PictureError):
        picture = read_picture(source.content())
    for remark in picture.remarks:
        print(f'{argument}: {remark}', file=sys.stderr)
    return picture


def one_input(arguments: argparse.Namespace) -> str:
    """The only input."""
    take_swallowed_inputs(arguments)
    if len(arguments.inputs) != 1:
        raise CommandError(f'one input is accepted, got {len(arguments.inputs)}')
    return arguments.inputs[0]


def take_swallowed_inputs(arguments: argparse.Namespace) -> None:
    """`--scale 2 photo.png`: argparse takes the picture for a second factor."""
    for words in arguments.scale or []:
        while len(words) > 1 and not _is_number(words[-1]):
            arguments.inputs.insert(0, words.pop())


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def add_one_picture_arguments(parser: argparse.ArgumentParser, suffix: str, scale_meaning: str) -> None:
    """A picture, a file of that suffix, and a scale: see `one_input`, `new_file` and `one_scale`."""
    parser.add_argument('inputs', nargs='*', metavar='IN', help="a picture, or '-' for standard input")
    parser.add_argument('-o', '--output', required=True, metavar='OUT', help=f'a name that ends in {suffix}')
    _add_scale_argument(parser, f'{scale_meaning}: {SCALE_HELP} (default: {DEFAULT_SCALE:g})')
    parser.add_argument('--overwrite', action='store_true', help='replace what exists')


def _add_scale_argument(parser: argparse._ActionsContainer, meaning: str) -> None:
    parser.add_argument('--scale', nargs='+', action='append', metavar='S', help=meaning)


def one_scale(arguments: argparse.Namespace) -> Scale:
    """The scale of a subcommand that takes one."""
    if len(arguments.scale or []) > 1:
        raise CommandError('one --scale is accepted')
    with told_as_command_error('--scale: ', ValueError):
        return parse_scale(arguments.scale[0]) if arguments.scale else (DEFAULT_SCALE, DEFAULT_SCALE)


def add_scales_argument(parser: argparse.ArgumentParser) -> None:
    """--scales: a list of pairs (rows, columns), by default the paper's scales."""
    parser.add_argument(
        '--scales',
        nargs='+',
        type=_scale,
        default=[as_scale(scale) for scale in PAPERS_SCALES],
        metavar='S',
        help="factors, 3.7 too, or ROWSxCOLUMNS (default: the paper's, 2 3 4 6 8 12)",
    )


def _scale(text: str) -> Scale:
    try:
        return parse_scale(text.split('x'))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """How large the results are: see `targets_of`."""
    group = parser.add_argument_group('how large (repeat --scale and --size for several results of each picture)')
    _add_scale_argument(group, SCALE_HELP)
    group.add_argument('--size', action='append', metavar='WIDTHxHEIGHT', help='exactly this size in pixels')
    group.add_argument('--width', type=int, help='this width; alone, proportions are kept')
    group.add_argument('--height', type=int, help='this height; alone, proportions are kept')
    group.add_argument(
        '--max-pixels', metavar='N', help='at most so many pixels, such as 8M; alone, as large as that allows'
    )


def targets_of(arguments: argparse.Namespace) -> list[Target]:
    """The sizes asked for, one at least."""
    lengths = [length for length in (arguments.width, arguments.height) if length is not None]
    if any(length < 1 for length in lengths):
        raise CommandError(f'--width and --height are pixels, at least 1; got {min(lengths)}')
    with told_as_command_error('', ValueError):
        bound = parse_pixels(arguments.max_pixels) if arguments.max_pixels is not None else None
        targets = [Target(scale=parse_scale(words), max_pixels=bound) for words in arguments.scale or []]
        for text in arguments.size or []:
            height, width = parse_size(text)
            targets.append(Target(height=height, width=width, max_pixels=bound))
    if lengths:
        if targets:
            raise CommandError('give one of --scale, --size, and --width or --height')
        targets.append(Target(height=arguments.height, width=arguments.width, max_pixels=bound))
    if not targets and bound is not None:
        targets.append(Target(max_pixels=bound))
    if not targets:
        raise CommandError('how large? give --scale, --size, --width, --height or --max-pixels')
    return list(dict.fromkeys(targets))


def add_result_arguments(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Into which files the results go: see `destination_of` and `checked_quality`."""
    group = parser.add_argument_group('the results')
    group.add_argument(
        '-o',
        '--output',
        required=True,
        metavar='OUT',
        help="a file, a folder (results are named NAME_x3.14.png), or '-' for standard output",
    )
    group.add_argument('--format', choices=[name.lower() for name in FORMATS], help="default: OUT's or each picture's")
    group.add_argument('--quality', type=int, help=f'of JPEG, WebP and AVIF, 1 to 100 (default: {DEFAULT_QUALITY})')
    group.add_argument('--overwrite', action='store_true', help='replace existing files')
    return group


def background_of(arguments: argparse.Namespace) -> Color | None:
    """--background: RGB in 0..1, None where it is not given."""
    if arguments.background is None:
        return None
    from PIL import ImageColor

    with told_as_command_error('--background: ', ValueError):
        levels = ImageColor.getrgb(arguments.background)
    if len(levels) == 4 and levels[3] < 255:
        raise CommandError(f'--background is a colour that is opaque, got {arguments.background!r}')
    return levels[0] / 255, levels[1] / 255, levels[2] / 255


def checked_quality(arguments: argparse.Namespace) -> int | None:
    """--quality, 1 to 100, None where it is not given."""
    if arguments.quality is not None and not 1 <= arguments.quality <= 100:
        raise CommandError(f'--quality is 1 to 100, got {arguments.quality}')
    return arguments.quality


def max_input_pixels(arguments: argparse.Namespace) -> float | None:
    """--max-input-pixels: a number, infinity, or None where it is not given."""
    if arguments.max_input_pixels is None:
        return None
    if arguments.max_input_pixels == 'none':
        return float('inf')
    with told_as_command_error('--max-input-pixels: ', ValueError):
        return parse_pixels(arguments.max_input_pixels)


def destination_of(arguments: argparse.Namespace, results: int) -> Destination:
    """Where so many results go."""
    from gsasr_plugin.upscaling.plan import destination

    with told_as_command_error('-o: ', ValueError):
        return destination(arguments.output, results, arguments.format and arguments.format.upper())


def new_file(arguments: argparse.Namespace, suffix: str | None) -> Path:
    """The file that -o names, of that suffix (None: any), which is not there or may be replaced."""
    path = Path(arguments.output).expanduser()
    if suffix is not None and path.suffix.lower() != suffix:
        raise CommandError(f'-o {path}: the name must end in {suffix}')
    if path.exists() and not arguments.overwrite:
        raise CommandError(f'-o {path} exists; --overwrite replaces it')
    return path
