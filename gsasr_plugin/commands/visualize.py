"""`gsasr visualize`: shows the Gaussians of a picture."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gsasr_plugin.commands.arguments import (
    add_model_arguments,
    add_one_picture_arguments,
    load_upscaler,
    new_file,
    one_input,
    one_scale,
    read_input,
)
from gsasr_plugin.run_errors import CommandError
from gsasr_plugin.sizes import Size, enlarged_size

if TYPE_CHECKING:
    import numpy as np

    from gsasr_plugin.upscaling.pictures.picture import Picture
    from gsasr_plugin.upscaling.visuals.layers import Region
    from gsasr_plugin.upscaling.visuals.sheet import Subject

DESCRIPTION = """\
Show the Gaussians of a picture, as the paper's Figures 6 and 9 do: the SR image; the distribution of positions, with
sigma, rho and colour fixed; a random part of the Gaussians in red, with their ellipses; a close-up; the density; and,
if the ground truth is given, the error. OUT.png is a labelled sheet; OUT_sr.png, OUT_positions.png, ... are its panels.
The SR image is the one that 'gsasr upscale' writes; LR, SR and GT with an alpha channel are shown on white, while the
Gaussians themselves know colours only.
Needs matplotlib: pip install 'gsasr-plugin[plots]'."""
EXAMPLES = """\
  gsasr visualize photo.png -o sheet.png
  gsasr visualize photo.png -o window.png --crop 120,80,48,32 --scale 8
  gsasr visualize small.png -o sheet.png --gt original.png
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_one_picture_arguments(parser, '.png', 'of the SR image; that of GT where it is given')
    parser.add_argument('--gt', metavar='FILE', help='the ground truth, at least as large as IN')
    parser.add_argument('--crop', metavar='X,Y,WIDTH,HEIGHT', help='show this region only, in pixels of IN')
    parser.add_argument('--highlight', type=int, default=200, metavar='N', help='Gaussians in red (default: 200)')
    parser.add_argument('--seed', type=int, default=0, help='which ones (default: 0)')
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    source = one_input(arguments)
    if min(arguments.highlight, arguments.seed) < 0:
        raise CommandError(f'--highlight and --seed are 0 or more, got {min(arguments.highlight, arguments.seed)}')
    path = new_file(arguments, '.png')
    from gsasr_plugin.upscaling.estimate import RESULT_BYTES, beyond_memory
    from gsasr_plugin.upscaling.visuals.sheet import make_panels, panel_png, write_sheet
    from gsasr_plugin.whole_file import write_whole

    picture = read_input(source)
    reference = read_input(arguments.gt) if arguments.gt else None
    gt = None if reference is None else _on_white(reference.color, reference.alpha)
    region = _region(arguments.crop, picture.size)
    size = _size(arguments, picture.size, gt)
    problem = beyond_memory([(size, 'PNG')], whole=2 * RESULT_BYTES)  # the sheet holds copies
    if problem:
        raise CommandError(f'{size[1]} x {size[0]} pixels: {problem}')
    subject = _subject(arguments, Path(source).name, picture, region, size, gt)
    panels = make_panels(subject)
    path.parent.mkdir(parents=True, exist_ok=True)
    for name, panel in panels.items():
        write_whole(path.with_name(f'{path.stem}_{name}.png'), panel_png(panel))
    write_sheet(subject, panels, path)
    print(f'gsasr visualize: {path} and {len(panels)} panels written', file=sys.stderr)
    return 0


def _subject(
    arguments: argparse.Namespace, name: str, picture: Picture, region: Region, size: Size, gt: np.ndarray | None
) -> Subject:
    """What the sheet shows: all of the picture goes through the network, and a region of the result is cut out."""
    from gsasr_plugin.upscaling.upscaler import lq_tensor, result_pixels
    from gsasr_plugin.upscaling.visuals.layers import Cutoff, crop_gaussians
    from gsasr_plugin.upscaling.visuals.sheet import Subject

    upscaler = load_upscaler(arguments)
    gaussians = upscaler.gaussians(lq_tensor(picture.color, picture.alpha), size)
    # All of it, as it would be written: what a region shows does not depend on the region.
    sr = _on_white(*result_pixels(upscaler.draw(gaussians, size), picture.color, picture.alpha))
    cutoff = Cutoff.of(upscaler.net, picture.size)
    rows, columns = size[0] / picture.size[0], size[1] / picture.size[1]
    y, x = slice(region.y, region.y + region.height), slice(region.x, region.x + region.width)
    # The region in pixels of the result.
    Y, X = slice(round(y.start * rows), round(y.stop * rows)), slice(round(x.start * columns), round(x.stop * columns))
    return Subject(
        name=name + (f', region {arguments.crop}' if arguments.crop else ''),
        gaussians=crop_gaussians(gaussians, region, cutoff.support),
        cutoff=cutoff,
        lq=_on_white(picture.color, picture.alpha)[y, x],
        sr=sr[Y, X],
        density=upscaler.net.density_per_axis**2,
        gt=None if gt is None else gt[Y, X],
        highlighted=arguments.highlight,
        seed=arguments.seed,
    )


def _on_white(color: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """A picture as a white page shows it: (H, W, 3), 0..1."""
    color = color.repeat(3 // color.shape[2], axis=2).clip(0, 1)
    return color if alpha is None else color * alpha[..., None] + (1 - alpha[..., None])


def _region(text: str | None, lq_size: Size) -> Region:
    from gsasr_plugin.upscaling.visuals.layers import Region

    h, w = lq_size
    if text is None:
        return Region(0, 0, w, h)
    try:
        region = Region(*(int(word) for word in text.split(',')))
    except (TypeError, ValueError):
        raise CommandError(f'--crop is X,Y,WIDTH,HEIGHT in pixels of IN, such as 120,80,48,32; got {text!r}') from None
    x, y, width, height = region
    if x < 0 or y < 0 or width < 1 or height < 1 or x + width > w or y + height > h:
        raise CommandError(f'--crop {text}: the picture has {w} x {h} pixels')
    return region


def _size(arguments: argparse.Namespace, lq_size: Size, gt: np.ndarray | None) -> Size:
    """(H, W) of the whole result."""
    if gt is not None:
        if arguments.scale:
            raise CommandError('give one of --scale and --gt, which has the size of the result')
        if gt.shape[0] < lq_size[0] or gt.shape[1] < lq_size[1]:
            raise CommandError(f'--gt {arguments.gt} is smaller than the picture')
        return gt.shape[0], gt.shape[1]
    return enlarged_size(lq_size, one_scale(arguments))
