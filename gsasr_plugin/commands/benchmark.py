"""`gsasr benchmark cost`: time and memory of networks by the paper's protocol."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gsasr_plugin.commands.arguments import (
    add_device_arguments,
    add_scales_argument,
    examples_of,
    positive_number,
)
from gsasr_plugin.packaged_files import packaged_file
from gsasr_plugin.precision import FLOAT32
from gsasr_plugin.run_errors import CommandError, told_as_command_error

if TYPE_CHECKING:
    from gsasr_plugin.benchmarking.cost.enlargers import Enlarger

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
        "BasicSR's, at the scale that it has) and files or folders of models",
    )
    cost.add_argument('--out', required=True, type=Path, metavar='FOLDER', help='where to write')
    add_scales_argument(cost)
    cost.add_argument('--images', type=positive_number, default=100, metavar='N', help='at most (default: 100)')
    cost.add_argument('--warmup', type=int, default=2, metavar='N', help='images that do not count (default: 2)')
    add_device_arguments(cost, dtype=FLOAT32)


def run(arguments: argparse.Namespace) -> int:
    from gsasr_plugin.benchmarking.cost.enlargers import bicubic
    from gsasr_plugin.benchmarking.cost.measure import conditions_of, measure_all
    from gsasr_plugin.benchmarking.cost.report import markdown, write_chart, write_tables
    from gsasr_plugin.benchmarking.gt_images import check_large_enough, listed_images
    from gsasr_plugin.upscaling.hardware import choose_device, choose_dtype
    from gsasr_plugin.upscaling.visuals.plotting import PlotsMissing

    with told_as_command_error('--device, --dtype: ', ValueError):
        device = choose_device(arguments.device)
        dtype = choose_dtype(arguments.dtype, device)
    files = listed_images(arguments.gt)[: arguments.images]
    if not 0 <= arguments.warmup < len(files):
        raise CommandError(f'--warmup: {arguments.warmup} of {len(files)} images warm up; one at least must count')
    check_large_enough(files, arguments.scales)
    enlargers = [bicubic(), *map(_enlarger, arguments.network)]
    arguments.out.mkdir(parents=True, exist_ok=True)
    costs = measure_all(enlargers, files, arguments.scales, device, dtype, warmup=arguments.warmup, tf32=arguments.tf32)
    conditions = conditions_of(device, dtype, files, arguments.warmup, tf32=arguments.tf32)
    write_tables(arguments.out, costs, conditions)
    print(markdown(costs), end='')
    try:
        write_chart(arguments.out / 'cost.png', costs, conditions)
    except PlotsMissing as error:
        print(f'gsasr benchmark: no chart: {error}', file=sys.stderr)
    return 0


def _enlarger(given: str) -> Enlarger:
    from gsasr_plugin.benchmarking.cost.enlargers import from_network, from_options
    from gsasr_plugin.checkpoints.loading import load
    from gsasr_plugin.host.option_check import OptionError, read_option_file

    path = Path(given)
    unusable = told_as_command_error(
        f'--network: {given}: no network can be made of it: ', KeyError, TypeError, ValueError, FileNotFoundError
    )
    with unusable, told_as_command_error('--network: ', OptionError):
        if path.suffix not in OPTION_SUFFIXES and packaged_file(given) is None:
            return from_network(path.stem, load(given))
        options = read_option_file(given).options
        section = options.get('network_g')
        if not isinstance(section, dict):
            raise CommandError(f'--network: {given} has no section network_g')
        weights = (options.get('path') or {}).get('pretrain_network_g')
        return from_options(str(options.get('name', path.stem)), section, weights)
