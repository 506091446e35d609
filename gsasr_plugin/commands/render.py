"""`gsasr render`: draws Gaussians from a file."""

import argparse
import sys
from pathlib import Path

from gsasr_plugin.commands.arguments import (
    add_result_arguments,
    add_target_arguments,
    checked_quality,
    destination_of,
    one_input,
    targets_of,
)
from gsasr_plugin.run_errors import CommandError, told_as_command_error
from gsasr_plugin.upscaling.pictures.formats import FORMATS

DESCRIPTION = """\
Draw the Gaussians that 'gsasr gaussians' has written, at any size: no network is needed. Sizes refer to the picture
from which they were predicted."""
EXAMPLES = """\
  gsasr render photo.npz -o large.png --scale 3.14
  gsasr render photo.npz -o screen.png --size 1920x1080
  gsasr render photo.npz -o sizes/ --scale 2 --scale 4 --scale 12
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('inputs', nargs='*', metavar='FILE', help="an archive of 'gsasr gaussians'")
    add_target_arguments(parser)
    group = add_result_arguments(parser)
    group.add_argument('--bits', type=int, choices=[8, 16], default=8, help='per channel (PNG and TIFF; default: 8)')


def run(arguments: argparse.Namespace) -> int:
    source = one_input(arguments)
    targets = targets_of(arguments)
    quality = checked_quality(arguments)
    goal = destination_of(arguments, len(targets))
    format = goal.format or FORMATS['PNG']
    if arguments.bits == 16 and not format.deep:
        deep = ', '.join(known.name for known in FORMATS.values() if known.deep)
        raise CommandError(f'--bits 16: {format.name} files hold 8 bits; choose one of {deep}')
    import numpy as np

    from gsasr_plugin.upscaling.disk_room import DiskRoom
    from gsasr_plugin.upscaling.estimate import beyond_memory
    from gsasr_plugin.upscaling.gaussian_file import read_gaussians
    from gsasr_plugin.upscaling.pictures.picture import Picture, PictureError
    from gsasr_plugin.upscaling.pictures.writing import cannot_hold, write_bands

    file = Path(source).expanduser()
    with told_as_command_error('', ValueError):
        stored = read_gaussians(file)
        sizes = [target.size_for(stored.gaussians.lq_size) for target in targets]
    paths = [goal.file_of(Path(f'{file.stem}_{target.label(size)}'), format) for target, size in zip(targets, sizes)]
    room, level_bytes = DiskRoom(), 3 * arguments.bits // 8
    completion = stored.gaussians.completion
    steps = 0 if completion is None else completion.consistency
    for size, path in zip(sizes, paths):  # drawn one after the other
        problem = cannot_hold(size, format.name, alpha=False, level_bytes=level_bytes)
        problem = problem or beyond_memory([(size, format.name)], lq_size=stored.gaussians.lq_size, steps=steps)
        problem = problem or room.refusal(size, format.name, path, level_bytes)
        if problem:
            raise CommandError(f'{size[1]} x {size[0]} pixels: {problem}')
    written = 0
    for size, path in zip(sizes, paths):
        if path is not None and path.exists() and not arguments.overwrite:
            print(f'{path}: kept (it exists; --overwrite replaces it)', file=sys.stderr)
            continue
        picture = Picture(np.empty((0, 0, 3), np.float32), bits=arguments.bits, format=format.name)
        bands = ((band.permute(1, 2, 0).numpy(), None) for band in stored.bands(size))
        with told_as_command_error('', PictureError):
            write_bands(picture, size, bands, path, quality=quality)
        written += 1
    print(f'gsasr render: {written} written', file=sys.stderr)
    return 0
