"""`gsasr prepare`: the paper's benchmark images, sub-images for training, crops to measure costs with."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsasr_plugin.commands.errors import CommandError
from gsasr_plugin.commands.help_text import examples_of
from gsasr_plugin.commands.image_arguments import add_scales_argument, listed_images, listed_sizes, positive_number
from gsasr_plugin.sizes import Scale, format_scale, protocol_sizes
from gsasr_plugin.whole_file import replacing

if TYPE_CHECKING:
    from gsasr_plugin.data.image_files import ImageFile

RESUMABLE = """\
What is there already is left out, so that a command that was interrupted goes on when it is given again; each file
appears whole or not at all."""
DESCRIPTION = f'Makes images from GT images.\n{RESUMABLE}'
EXAMPLES = """\
  gsasr prepare benchmark --gt datasets/Set5/GT datasets/Set14/GT --scales 2 3 3.7 4 --out datasets/benchmark
  gsasr prepare train --gt datasets/DIV2K/DIV2K_train_HR --out datasets/DIV2K/DIV2K_train_HR_sub --lmdb
  gsasr prepare train --gt photographs --reduce 2 3 --detail 34 --out photographs_sub
  gsasr prepare cost --gt datasets/DIV2K100/GT --out datasets/cost"""

OPTIONS_FILE = '.prepared.json'
# Folders of these names do not name the set: the folder above does.
_PLAIN_NAMES = ('gt', 'hr', 'original', 'images')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(dest='what', required=True, metavar='{benchmark,train,cost}')
    summaries = {
        'benchmark': 'GT crops, LR and bicubic images of test sets: OUT/SET/x<scale>/{GT,LR,Bicubic}',
        'train': 'overlapping sub-images of training images',
        'cost': "central crops for 'gsasr benchmark cost'",
    }
    benchmark, train, cost = (
        what.add_parser(
            name,
            help=summary,
            description=f'Makes {summary}.\n{RESUMABLE}',
            **examples_of(EXAMPLES, f'prepare {name} '),
        )
        for name, summary in summaries.items()
    )
    add_scales_argument(benchmark)
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
    cost.add_argument('--size', type=positive_number, default=720, metavar='N', help="side (default: the paper's 720)")
    cost.add_argument('--count', type=positive_number, default=100, metavar='N', help='how many images (default: 100)')
    for command in (benchmark, train, cost):
        several = {'nargs': '+', 'metavar': '[NAME=]FOLDER'} if command is benchmark else {'metavar': 'FOLDER'}
        command.add_argument('--gt', required=True, help='GT images: folder, LMDB or package:NAME', **several)
        command.add_argument('--out', required=True, type=Path, metavar='FOLDER', help='where to write')
        command.add_argument(
            '--workers',
            type=positive_number,
            default=os.cpu_count() or 1,
            metavar='N',
            help='processes (default: one for each core)',
        )
        if command is not cost:
            command.add_argument('--lmdb', action='store_true', help="the host's LMDBs instead of folders of PNG files")


def run(arguments: argparse.Namespace) -> int:
    failures = {'benchmark': _benchmark, 'train': _train, 'cost': _cost}[arguments.what](arguments)
    for failure in failures:
        print(f'gsasr prepare: failed: {failure}', file=sys.stderr)
    return 1 if failures else 0


def _benchmark(arguments: argparse.Namespace) -> list[str]:
    from gsasr_plugin.benchmarking.prepare.jobs import BENCHMARK_KINDS, BenchmarkJob
    from gsasr_plugin.benchmarking.prepare.lmdb_folder import is_packed, pack, staging_folder
    from gsasr_plugin.benchmarking.prepare.runner import run_jobs

    sets: dict[str, list[ImageFile]] = {}
    for given in arguments.gt:
        name, root = _name_and_root(given)
        if name in sets:
            raise CommandError(f'--gt: two sets have the name {name!r}; give another as NAME=FOLDER')
        sets[name] = listed_images(root)
        if arguments.lmdb:
            _check_keys(sets[name])
        _check_large_enough(sets[name], arguments.scales)
    failures = []
    for name, images in sets.items():
        for scale in arguments.scales:
            folder = arguments.out / name / f'x{format_scale(scale)}'
            targets = [folder / (f'{kind}.lmdb' if arguments.lmdb else kind) for kind in BENCHMARK_KINDS]
            if arguments.lmdb and all(is_packed(target, images) for target in targets):
                continue
            folders = [staging_folder(target) if arguments.lmdb else target for target in targets]
            jobs = [BenchmarkJob(image, scale, (folders[0], folders[1], folders[2])) for image in images]
            failed = run_jobs(jobs, workers=arguments.workers, description=f'{name} x{format_scale(scale)}')
            failures += failed
            if arguments.lmdb and not failed:
                for index, (staging, target) in enumerate(zip(folders, targets)):
                    pack(staging, [job.outputs()[index] for job in jobs], target, images)
    return failures


def _train(arguments: argparse.Namespace) -> list[str]:
    step = arguments.step or max(1, arguments.size // 2)
    if step > arguments.size:
        raise CommandError(f'--step: {step} leaves gaps between sub-images of {arguments.size}; at most the size')
    from gsasr_plugin.benchmarking.prepare.detail import list_detailed
    from gsasr_plugin.benchmarking.prepare.jobs import SubImageJob
    from gsasr_plugin.benchmarking.prepare.lmdb_folder import is_packed, pack, staging_folder
    from gsasr_plugin.benchmarking.prepare.runner import run_jobs

    images = listed_images(arguments.gt)
    target = arguments.out
    if arguments.lmdb and target.suffix != '.lmdb':
        target = target.with_name(f'{target.name}.lmdb')
    folder = staging_folder(target) if arguments.lmdb else target
    options: dict[str, Any] = {'size': arguments.size, 'step': step}
    reductions = sorted(set(arguments.reduce))
    if reductions != [1]:
        options['reduce'] = reductions
    if arguments.lmdb:
        _check_keys(images)
        _check_options(target, options)
    failures = []
    if not (arguments.lmdb and is_packed(target, images)):
        _note_options(folder, options)
        jobs = [
            SubImageJob(image, size, folder, arguments.size, step, reduction)
            for image, size in zip(images, listed_sizes(images))
            for reduction in reductions
        ]
        failures = run_jobs(jobs, workers=arguments.workers, description='sub-images')
        if arguments.lmdb and not failures:
            pack(folder, [output for job in jobs for output in job.outputs()], target, images)
            _note_options(target, options)
    if arguments.detail is not None and not failures:
        made = listed_images(str(target))
        detailed = target.with_name(f'{target.name.removesuffix(".lmdb")}_detailed.txt')
        count = list_detailed(made, arguments.detail, detailed, workers=arguments.workers)
        print(f'{count} of {len(made)} sub-images have detail: {detailed}')
    return failures


def _cost(arguments: argparse.Namespace) -> list[str]:
    from gsasr_plugin.benchmarking.prepare.jobs import CentreCropJob
    from gsasr_plugin.benchmarking.prepare.runner import run_jobs
    from gsasr_plugin.data.image_files import list_some

    images = listed_images(arguments.gt)
    sizes = listed_sizes(images)
    large = [image for image, size in zip(images, sizes) if min(size) >= arguments.size]
    if not large:
        raise CommandError(f'--gt: no image of {arguments.gt} has {arguments.size} x {arguments.size} pixels')
    small = [str(image) for image in images if image not in large]
    if small:
        print(f'gsasr prepare: smaller than {arguments.size}, left out: {list_some(small)}', file=sys.stderr)
    _note_options(arguments.out, {'size': arguments.size})
    jobs = [CentreCropJob(image, arguments.out, arguments.size) for image in large[: arguments.count]]
    return run_jobs(jobs, workers=arguments.workers, description='crops')


def _reduction(text: str) -> float:
    """A factor of `--reduce`."""
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 1 <= factor < float('inf'):
        raise argparse.ArgumentTypeError(f'must be a number of at least 1, got {text!r}')
    return factor


def _note_options(folder: Path, options: dict[str, Any]) -> None:
    """Writes down how the images of a folder are made."""
    _check_options(folder, options)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / OPTIONS_FILE) as path:
        path.write_text(json.dumps(options))


def _check_options(folder: Path, options: dict[str, Any]) -> None:
    """Images of other options must not be mixed with these."""
    note = folder / OPTIONS_FILE
    before = json.loads(note.read_text()) if note.exists() else options
    if before != options:
        raise CommandError(f'--out: {folder} has images made with {before}, not {options}; give another or delete it')


def _name_and_root(given: str) -> tuple[str, str]:
    """The set's name and its root."""
    name, equals, root = given.partition('=')
    if equals:
        return name, root
    root = given
    parts = [part for part in Path(root.removeprefix('package:')).parts if part not in ('.', '..', os.sep)]
    names = [Path(part).stem if part.endswith('.lmdb') else part for part in parts]
    while len(names) > 1 and names[-1].lower() in _PLAIN_NAMES:
        names.pop()
    return (names[-1] if names else Path(root).resolve().name), root


def _check_keys(images: Sequence[ImageFile]) -> None:
    from gsasr_plugin.data.image_files import list_some

    foreign = [str(image) for image in images if not image.stem.isascii()]
    if foreign:
        raise CommandError(f"--lmdb: the host's databases need names in ASCII: rename {list_some(foreign)}")


def _check_large_enough(images: Sequence[ImageFile], scales: Sequence[Scale]) -> None:
    def small() -> Iterator[str]:
        for image, size in zip(images, listed_sizes(images)):
            for scale in scales:
                if 0 in protocol_sizes(size, scale)[0]:
                    yield f'{image} (x{format_scale(scale)})'

    found = list(small())
    if found:
        from gsasr_plugin.data.image_files import list_some

        raise CommandError(f'--scales: too large for some images: {list_some(found)}')
