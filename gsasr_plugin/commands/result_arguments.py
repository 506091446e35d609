"""The arguments of every subcommand that draws pictures: how large, into which files."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gsasr_plugin.commands.errors import CommandError
from gsasr_plugin.upscaling.pictures.formats import DEFAULT_QUALITY, FORMATS
from gsasr_plugin.upscaling.target import Target, parse_pixels, parse_scale, parse_size

if TYPE_CHECKING:
    from gsasr_plugin.upscaling.plan import Destination

DEFAULT_SCALE = 4.0


def add_result_arguments(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group('the results')
    group.add_argument(
        '-o',
        '--output',
        required=True,
        metavar='OUT',
        help="a file, a folder (results are named NAME_x3.14.png), or '-' for standard output",
    )
    group.add_argument('--format', choices=[name.lower() for name in FORMATS], help="default: OUT's or each picture's")
    group.add_argument(
        '--quality', type=int, default=DEFAULT_QUALITY, help=f'of JPEG and WebP, 1 to 100 (default: {DEFAULT_QUALITY})'
    )
    group.add_argument('--overwrite', action='store_true', help='replace existing files')
    return group


def checked_quality(arguments: argparse.Namespace) -> int:
    if not 1 <= arguments.quality <= 100:
        raise CommandError(f'--quality is 1 to 100, got {arguments.quality}')
    return arguments.quality


def destination_of(arguments: argparse.Namespace, results: int) -> Destination:
    """Where so many results go.

    Raises:
        CommandError: see `destination`.
    """
    from gsasr_plugin.upscaling.plan import destination

    try:
        return destination(arguments.output, results, arguments.format and arguments.format.upper())
    except ValueError as error:
        raise CommandError(f'-o: {error}') from error


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('how large (repeat --scale and --size for several results of each picture)')
    group.add_argument(
        '--scale', nargs='+', action='append', metavar='S', help='one factor, or those of rows and of columns'
    )
    group.add_argument('--size', action='append', metavar='WIDTHxHEIGHT', help='exactly this size in pixels')
    group.add_argument('--width', type=int, help='this width; alone, proportions are kept')
    group.add_argument('--height', type=int, help='this height; alone, proportions are kept')
    group.add_argument(
        '--max-pixels', metavar='N', help='at most so many pixels, such as 8M; alone, as large as that allows'
    )


def add_one_scale_argument(parser: argparse.ArgumentParser, meaning: str) -> None:
    parser.add_argument(
        '--scale',
        nargs='+',
        action='append',
        metavar='S',
        help=f'{meaning}: one factor, or those of rows and of columns (default: {DEFAULT_SCALE:g})',
    )


def one_scale(arguments: argparse.Namespace) -> tuple[float, float]:
    """The scale (rows, columns) of a subcommand that takes one.

    Raises:
        CommandError: several, or none that is accepted.
    """
    if len(arguments.scale or []) > 1:
        raise CommandError('one --scale is accepted')
    try:
        return parse_scale(arguments.scale[0]) if arguments.scale else (DEFAULT_SCALE, DEFAULT_SCALE)
    except ValueError as error:
        raise CommandError(f'--scale: {error}') from error


def one_input(arguments: argparse.Namespace) -> str:
    """The only input.

    Raises:
        CommandError: there is another number of them.
    """
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


def targets_of(arguments: argparse.Namespace) -> list[Target]:
    """The sizes asked for.

    Raises:
        CommandError: none, contradictory ones, or words that are none.
    """
    lengths = [length for length in (arguments.width, arguments.height) if length is not None]
    if any(length < 1 for length in lengths):
        raise CommandError(f'--width and --height are pixels, at least 1; got {min(lengths)}')
    try:
        bound = parse_pixels(arguments.max_pixels) if arguments.max_pixels is not None else None
        targets = [Target(scale=parse_scale(words), max_pixels=bound) for words in arguments.scale or []]
        for text in arguments.size or []:
            height, width = parse_size(text)
            targets.append(Target(height=height, width=width, max_pixels=bound))
    except ValueError as error:
        raise CommandError(str(error)) from error
    if lengths:
        if targets:
            raise CommandError('give one of --scale, --size, and --width or --height')
        targets.append(Target(height=arguments.height, width=arguments.width, max_pixels=bound))
    if not targets and bound is not None:
        targets.append(Target(max_pixels=bound))
    if not targets:
        raise CommandError('how large? give --scale, --size, --width, --height or --max-pixels')
    return list(dict.fromkeys(targets))
