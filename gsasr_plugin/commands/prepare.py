"""`gsasr prepare`: the paper's benchmark images, sub-images for training, databases, crops to measure costs with."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from gsasr_plugin.commands.arguments import add_scales_argument, examples_of, positive_number
from gsasr_plugin.run_errors import CommandError, told_as_command_error

RESUMABLE = """\
What is there already is left out, so that a command that was interrupted goes on when it is given again; each file
appears whole or not at all."""
DESCRIPTION = f'Makes images from GT images.\n{RESUMABLE}'
EXAMPLES = """\
  gsasr prepare benchmark --gt datasets/Set5/GT datasets/Set14/GT --scales 2 3 3.7 4 --out datasets/benchmark
  gsasr prepare benchmark --gt datasets/Set5/GT --scales 2 4 --degradation light --out datasets/benchmark_light
  gsasr prepare train --gt datasets/DIV2K/DIV2K_train_HR --out datasets/DIV2K/DIV2K_train_HR_sub --lmdb
  gsasr prepare train --gt photographs --reduce 2 3 --detail 34 --out photographs_sub
  gsasr prepare lmdb datasets/DIV2K/DIV2K_train_HR_sub
  gsasr prepare cost --gt datasets/DIV2K100/GT --out datasets/cost"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(dest='what', required=True, metavar='{benchmark,train,lmdb,cost}')
    summaries = {
        'benchmark': 'GT crops, LR and bicubic images of test sets: OUT/SET/x<scale>/{GT,LR,Bicubic}',
        'train': 'overlapping sub-images of training images',
        'lmdb': "one of BasicSR's LMDBs of all images of a folder and its sub-folders",
        'cost': "central crops for 'gsasr benchmark cost'",
    }
    benchmark, train, lmdb, cost = (
        what.add_parser(
            name,
            help=summary,
            description=f'Makes {summary}.\n{RESUMABLE}',
            **examples_of(EXAMPLES, f'prepare {name} '),
        )
        for name, summary in summaries.items()
    )
    add_scales_argument(benchmark)
    benchmark.add_argument(
        '--degradation',
        metavar='PRESET',
        help='make LR by it instead of bicubic: light (photographs from phones and the web), real_esrgan, or options as'
        " under datasets.train.degradation, '{preset: light, jpeg_range2: [75, 75]}'",
    )
    benchmark.add_argument('--seed', type=_seed, default=0, metavar='N', help='of --degradation (default: 0)')
    _add_train_arguments(train)
    cost.add_argument('--size', type=positive_number, default=720, metavar='N', help="side (default: the paper's 720)")
    cost.add_argument('--count', type=positive_number, default=100, metavar='N', help='how many images (default: 100)')
    lmdb.add_argument('folder', metavar='FOLDER', help='images, of which BasicSR can make keys: names in ASCII')
    lmdb.add_argument('--out', type=Path, metavar='FOLDER.lmdb', help='where to write (default: FOLDER.lmdb beside it)')
    for command in (benchmark, train, cost):
        several = {'nargs': '+', 'metavar': '[NAME=]FOLDER'} if command is benchmark else {'metavar': 'FOLDER'}
        command.add_argument('--gt', required=True, help='GT images: folder, LMDB or package:NAME', **several)
        command.add_argument('--out', required=True, type=Path, metavar='FOLDER', help='where to write')
    for command in (benchmark, train):
        command.add_argument('--lmdb', action='store_true', help="BasicSR's LMDBs instead of folders of PNG files")
    for command in (benchmark, train, lmdb, cost):
        command.add_argument(
            '--workers',
            type=positive_number,
            default=os.cpu_count() or 1,
            metavar='N',
            help='processes (default: one for each core)',
        )


def _add_train_arguments(train: argparse.ArgumentParser) -> None:
    train.add_argument('--size', type=positive_number, default=512, metavar='N', help='side in pixels (default: 512)')
    train.add_argument('--step', type=positive_number, metavar='N', help='between them (default: half the size)')
    train.add_argument(
        '--reduce',
        type=_reduction,
        nargs='+',
        default=[1.0],
        metavar='R',
        help='cut each image made smaller by these factors, 1 and above: large photographs have their detail there'
        ' (default: 1, as it is)',
    )
    train.add_argument(
        '--detail',
        type=float,
        metavar='DB',
        help='also list the sub-images that bicubic x2 restores to less than so many dB of PSNR, in'
        ' FOLDER_detailed.txt, for meta_info_file: flat and blurred ones teach little',
    )


def run(arguments: argparse.Namespace) -> int:
    from gsasr_plugin.benchmarking.prepare import sets

    out, workers = arguments.out, arguments.workers
    if arguments.what == 'lmdb':
        failures = sets.prepare_lmdb(arguments.folder, out or _beside(arguments.folder), workers=workers)
    elif arguments.what == 'benchmark':
        failures = sets.prepare_benchmarks(
            arguments.gt,
            arguments.scales,
            out,
            degradation=_degradation(arguments.degradation),
            seed=arguments.seed,
            lmdb=arguments.lmdb,
            workers=workers,
        )
    elif arguments.what == 'cost':
        failures = sets.prepare_crops(arguments.gt, out, size=arguments.size, count=arguments.count, workers=workers)
    else:
        if arguments.lmdb and out.suffix != '.lmdb':
            out = out.with_name(f'{out.name}.lmdb')
        failures = sets.prepare_sub_images(
            arguments.gt,
            out,
            size=arguments.size,
            step=arguments.step or max(1, arguments.size // 2),
            reductions=sorted(set(arguments.reduce)),
            lmdb=arguments.lmdb,
            workers=workers,
        )
        if arguments.detail is not None and not failures:
            print(sets.note_detailed(out, arguments.detail, workers=workers))
    for failure in failures:
        print(f'gsasr prepare: failed: {failure}', file=sys.stderr)
    return 1 if failures else 0


def _beside(folder: str) -> Path:
    """The database of a folder's name."""
    path = Path(folder).expanduser().absolute()
    if not path.is_dir() or path.suffix == '.lmdb':
        raise CommandError(f'FOLDER: {folder} is no folder of images; what lies elsewhere needs --out as well')
    return path.with_name(f'{path.name}.lmdb')


def _degradation(text: str | None) -> Any:
    """What `--degradation` says, as an option file would."""
    if text is None:
        return None
    import yaml

    with told_as_command_error('--degradation: ', yaml.YAMLError):
        return yaml.safe_load(text)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'a whole number of at least 0 is needed, given {text!r}')
    return int(text)


def _reduction(text: str) -> float:
    """A factor of `--reduce`."""
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 1 <= factor < float('inf'):
        raise argparse.ArgumentTypeError(f'must be a number of at least 1, got {text!r}')
    return factor
