"""`gsasr curves`: the curves of training runs in one picture, or as numbers."""

import argparse
from pathlib import Path

from gsasr_plugin.commands.arguments import positive_number
from gsasr_plugin.run_errors import CommandError, told_as_command_error

DESCRIPTION = """\
Draws a value of several training runs over the iterations, such as the loss with and without reference positions (the
paper's Fig. 10), from the files that they wrote for tensorboard."""
EXAMPLES = """\
  gsasr curves tb_logger/train_GSASR_EDSR tb_logger/train_GSASR_EDSR_no_reference --out curves.png
  gsasr curves with=tb_logger/a without=tb_logger/b --tag metrics/Set5_x4/psnr --smooth 1 --out psnr.png
  gsasr curves tb_logger/train_GSASR_EDSR --out losses.csv"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('runs', nargs='+', metavar='[NAME=]FOLDER', help='a folder in tb_logger, for each run')
    parser.add_argument('--tag', default='losses/l_pix', metavar='TAG', help='the value (default: losses/l_pix)')
    parser.add_argument(
        '--smooth', type=positive_number, default=10, metavar='N', help='take the mean of each N values (default: 10)'
    )
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='a picture, .png, or the values, .csv')


def run(arguments: argparse.Namespace) -> int:
    if arguments.out.suffix not in ('.png', '.csv'):
        raise CommandError(f'--out: {arguments.out} does not end in .png or .csv')
    from gsasr_plugin.upscaling.visuals.curves import draw_curves, read_curve, write_curves

    write = draw_curves if arguments.out.suffix == '.png' else write_curves
    curves = []
    for given in arguments.runs:
        name, equals, folder = given.partition('=')
        folder = Path(folder if equals else given)
        with told_as_command_error('--tag: ', ValueError):
            curve = read_curve(name if equals else folder.name, folder, arguments.tag)
        if len(curve.values) < arguments.smooth:
            raise CommandError(f'--smooth: {folder} has {len(curve.values)} values, fewer than {arguments.smooth}')
        curves.append(curve.smoothed(arguments.smooth))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write(arguments.out, curves, arguments.tag)
    for curve in curves:
        print(f'{curve.name}: {curve.values[0]:.4g} at {curve.iterations[0]:.0f}, ', end='')
        print(f'{curve.values[-1]:.4g} at {curve.iterations[-1]:.0f}')
    return 0
