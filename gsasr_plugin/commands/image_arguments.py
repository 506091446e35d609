"""Arguments that several subcommands have: folders of images, scales, counts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gsasr_plugin.commands.errors import CommandError
from gsasr_plugin.sizes import Scale, Size, as_scale

if TYPE_CHECKING:
    from gsasr_plugin.data.image_files import ImageFile

PAPERS_SCALES = (2, 3, 4, 6, 8, 12)


def listed_images(root: str) -> list[ImageFile]:
    """The images of the argument --gt: of a folder, an LMDB or package:NAME."""
    from gsasr_plugin.data.image_files import list_images

    backend = 'lmdb' if root.rstrip('/').endswith('.lmdb') else 'disk'
    try:
        images = list_images(root, 'lmdb' if backend == 'lmdb' else 'disk')
    except (FileNotFoundError, ValueError) as error:
        raise CommandError(f'--gt: {error}') from None
    by_stem: dict[str, str] = {}
    for image in images:
        if image.stem in by_stem:
            raise CommandError(f'--gt: {image} and {by_stem[image.stem]} would be written to the same file')
        by_stem[image.stem] = str(image)
    return images


def listed_sizes(images: Sequence[ImageFile]) -> list[Size]:
    """The sizes (H, W) of the images of --gt."""
    from gsasr_plugin.data.image_files import image_sizes

    try:
        return image_sizes(list(images))
    except ValueError as error:
        raise CommandError(f'--gt: {error}') from None


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
        numbers = [float(part) for part in text.split('x')]
        return as_scale(numbers[0] if len(numbers) == 1 else numbers)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def positive_number(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'a whole number of at least 1 is needed, given {text!r}')
    return int(text)
