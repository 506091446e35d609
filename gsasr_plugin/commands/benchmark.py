"""`gsasr benchmark cost`: time and memory of networks by the paper's protocol."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gsasr_plugin.commands.errors import CommandError
from gsasr_plugin.commands.help_text import examples_of
from gsasr_plugin.commands.image_arguments import add_scales_argument, listed_images, positive_number
from gsasr_plugin.commands.model_arguments import add_device_arguments
from gsasr_plugin.precision import FLOAT32, name_of
from gsasr_plugin.sizes import Scale, Size, format_scale, protocol_sizes
from gsasr_plugin.upscaling.hardware import choose_device, choose_dtype
from gsasr_plugin.upscaling.visuals.plotting import PlotsMissing

if TYPE_CHECKING:
    import torch

    from gsasr_plugin.benchmarking.cost.contestants import Contestant
    from gsasr_plugin.benchmarking.cost.measure import Cost
    from gsasr_plugin.data.image_files import ImageFile

DESCRIPTION = """\
Measures encoder, decoder and rendering of networks on whole images, at several scales: the mean over the images after
two that warm up, and the peak of memory (of CUDA's allocator; on a CPU, of the process). Writes cost.md, cost.json and,
where matplotlib is installed, cost.png."""
EXAMPLES = """\
  gsasr benchmark cost --gt datasets/cost --network options/train_gsasr_rdn.yml options/train_gsasr_edsr.yml --out cost
  gsasr benchmark cost --gt datasets/cost --network rdn.safetensors --scales 2 3.7 --images 10 --out cost"""

OPTION_SUFFIXES = ('.yml', '.yaml')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(dest='what', required=True, metavar='{cost}')
    cost = what.add_parser('cost', help='time and memory', description=DESCRIPTION, **examples_of(EXAMPLES))
    cost.add_argument(
        '--gt', required=True, metavar='FOLDER', help="images of the results' size, from 'gsasr prepare cost'"
    )
    cost.add_argument(
        '--network',
        nargs='+',
        required=True,
        metavar='FILE',
        help='option files (weights of path.pretrain_network_g if that file is there, else random ones; any network of '
        "the host's, at the scale that it has) and files or folders of models",
    )
    cost.add_argument('--out', required=True, type=Path, metavar='FOLDER', help='where to write')
    add_scales_argument(cost)
    cost.add_argument('--images', type=positive_number, default=100, metavar='N', help='at most (default: 100)')
    cost.add_argument('--warmup', type=int, default=2, metavar='N', help='images that do not count (default: 2)')
    add_device_arguments(cost, dtype=FLOAT32)


def run(arguments: argparse.Namespace) -> int:
    try:
        device = choose_device(arguments.device)
        dtype = choose_dtype(arguments.dtype, device)
    except ValueError as error:
        raise CommandError(f'--device, --dtype: {error}') from None
    files = listed_images(arguments.gt)[: arguments.images]
    if not 0 <= arguments.warmup < len(files):
        raise CommandError(f'--warmup: {arguments.warmup} of {len(files)} images warm up; one at least must count')
    from gsasr_plugin.benchmarking.cost.contestants import bicubic
    from gsasr_plugin.benchmarking.cost.report import markdown, write_chart, write_tables

    contestants = [bicubic(), *map(_contestant, arguments.network)]
    arguments.out.mkdir(parents=True, exist_ok=True)
    costs = _measured(contestants, files, arguments.scales, device, dtype, arguments.warmup)
    rows = {contestant.name: contestant.paper_row for contestant in contestants}
    conditions = _conditions(device, dtype, files, arguments.warmup)
    write_tables(arguments.out, costs, conditions, rows)
    print(markdown(costs, rows), end='')
    try:
        write_chart(arguments.out / 'cost.png', costs, conditions)
    except PlotsMissing as error:
        print(f'gsasr benchmark: no chart: {error}', file=sys.stderr)
    return 0


def _measured(
    contestants: Sequence[Contestant],
    files: Sequence[ImageFile],
    scales: Sequence[Scale],
    device: torch.device,
    dtype: torch.dtype,
    warmup: int,
) -> list[Cost]:
    import torch
    from tqdm import tqdm

    from gsasr_plugin.benchmarking.cost.measure import measure

    costs = []
    with tqdm(total=len(contestants) * len(scales) * len(files), unit='image') as bar:
        for contestant in contestants:
            if contestant.network is not None:
                contestant.network.to(device)
            for scale in scales:
                bar.set_description(f'{contestant.name} x{format_scale(scale)}')
                cost = measure(
                    contestant,
                    [_lq(file, scale) for file in files],
                    scale,
                    device,
                    dtype,
                    warmup=warmup,
                    progress=bar.update,
                )
                if cost is not None:
                    costs.append(cost)
            if contestant.network is not None:
                contestant.network.cpu()
                if device.type == 'cuda':
                    torch.cuda.empty_cache()
    return costs


def _lq(file: ImageFile, scale: Scale) -> tuple[torch.Tensor, Size]:
    """The LR image of a GT image, as in the protocol, and the size of the result."""
    import torch

    from gsasr_plugin.data.bicubic import resize_bicubic
    from gsasr_plugin.data.eight_bit import to_8_bit, to_float
    from gsasr_plugin.data.image_files import read_image

    gt = read_image(file)
    lq_size, size = protocol_sizes(gt.shape[:2], scale)
    if 0 in lq_size:
        raise CommandError(f'--scales: {format_scale(scale)} is too large for {file}')
    lq = to_float(to_8_bit(resize_bicubic(to_float(gt[: size[0], : size[1]]), lq_size)))
    return torch.from_numpy(lq).permute(2, 0, 1)[None].contiguous(), size


def _contestant(given: str) -> Contestant:
    from gsasr_plugin.benchmarking.cost.contestants import from_network, from_options
    from gsasr_plugin.checkpoints.loading import load
    from gsasr_plugin.host.option_check import OptionError, read_option_file

    path = Path(given)
    try:
        if path.suffix not in OPTION_SUFFIXES:
            return from_network(path.stem, load(given))
        options = read_option_file(given).options
        section = options.get('network_g')
        if not isinstance(section, dict):
            raise CommandError(f'--network: {given} has no section network_g')
        weights = (options.get('path') or {}).get('pretrain_network_g')
        return from_options(str(options.get('name', path.stem)), section, weights)
    except OptionError as error:
        raise CommandError(f'--network: {error}') from None
    except CommandError:
        raise
    except (KeyError, TypeError, ValueError, FileNotFoundError) as error:
        raise CommandError(f'--network: {given}: no network can be made of it: {error}') from error


def _conditions(device: torch.device, dtype: torch.dtype, files: Sequence[ImageFile], warmup: int) -> str:
    import torch

    from gsasr_plugin.data.image_files import read_image

    height, width = read_image(files[0]).shape[:2]
    if device.type == 'cuda':
        machine = torch.cuda.get_device_name(device)
    else:
        machine = f'CPU {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads'
    return (
        f'{machine}, torch {torch.__version__}, {name_of(dtype)}; {len(files)} images of {height} x {width} '
        f'(the first one), the first {warmup} dropped, whole images at once.'
    )
