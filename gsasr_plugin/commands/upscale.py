"""`gsasr upscale`: enlarges pictures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from gsasr_plugin.commands.errors import CommandError
from gsasr_plugin.commands.model_arguments import add_model_arguments, load_upscaler
from gsasr_plugin.pictures import FORMATS, STANDARD_STREAM, find_sources
from gsasr_plugin.pictures.writing import DEFAULT_QUALITY
from gsasr_plugin.upscaling import Target, Upscaler
from gsasr_plugin.upscaling.batch import Report, run_jobs
from gsasr_plugin.upscaling.estimate import measure_cost
from gsasr_plugin.upscaling.plan import Destination, Job, Plan, destination, make_plan
from gsasr_plugin.upscaling.target import parse_pixels, parse_scale, parse_size

DESCRIPTION = """\
Enlarge pictures by any factor: PNG, JPEG, WebP, TIFF and BMP files of 8 or 16 bits, grey or in colour, with alpha
(enlarged by bicubic interpolation). They are turned upright; profile, EXIF and other metadata are kept. A file that
cannot be read does not stop the others. Existing files are kept. Exit status: 0 all done, 1 something failed (a summary
says what), 2 wrong arguments."""
EXAMPLES = """\
  gsasr upscale photo.jpg -o large.png --scale 3.14
  gsasr upscale holiday/ 'scans/**/*.tif' -o large/ --scale 2 --scale 4 --one-encoding
  gsasr upscale photo.png -o wide.png --scale 2 3.5
  gsasr upscale photo.png -o screen.png --size 1920x1080
  gsasr upscale *.webp -o large/ --width 2000 --max-pixels 8M --format png
  curl -s URL | gsasr upscale - -o - --scale 2 --format png > large.png
"""
PROGRESS_DELAY_S = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('inputs', nargs='*', metavar='IN', help="files, folders, patterns, or '-' for standard input")
    parser.add_argument(
        '-o',
        '--output',
        required=True,
        metavar='OUT',
        help="a file, a folder (results are named NAME_x3.14.png), or '-' for standard output",
    )
    add_target_arguments(parser)
    group = parser.add_argument_group('the results')
    group.add_argument('--format', choices=[name.lower() for name in FORMATS], help="default: OUT's or each picture's")
    group.add_argument('--quality', type=int, default=DEFAULT_QUALITY, help='of JPEG and WebP, 1 to 100 (default: 95)')
    group.add_argument('--overwrite', action='store_true', help='replace existing files')
    group.add_argument('--dry-run', action='store_true', help='show the plan, with an estimate of time and memory')
    add_model_arguments(parser)
    parser.add_argument(
        '--self-ensemble',
        action='store_true',
        help='average over the 8 flips and rotations: 8 times the work',
    )
    parser.add_argument(
        '--one-encoding',
        action='store_true',
        help='of several sizes, predict the Gaussians for the largest only and draw all from them: faster',
    )


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


def run(arguments: argparse.Namespace) -> int:
    take_swallowed_inputs(arguments)
    targets = targets_of(arguments)
    if not 1 <= arguments.quality <= 100:
        raise CommandError(f'--quality is 1 to 100, got {arguments.quality}')
    if not arguments.inputs:
        raise CommandError("no pictures are given: name files, folders or patterns, or '-' for the standard input")
    out = arguments.output
    sources = find_sources(arguments.inputs, leave_out=None if out == STANDARD_STREAM else Path(out).expanduser())
    try:
        goal = destination(out, len(sources) * len(targets), arguments.format and arguments.format.upper())
    except ValueError as error:
        raise CommandError(f'-o: {error}') from error
    plan = make_plan(sources, targets, goal, overwrite=arguments.overwrite)

    report = Report()
    if plan.jobs:
        upscaler = load_upscaler(arguments, self_ensemble=arguments.self_ensemble)
        if arguments.dry_run:
            _show_plan(plan, upscaler, goal, one_encoding=arguments.one_encoding)
        else:
            report = _work(plan.jobs, upscaler, one_encoding=arguments.one_encoding, quality=arguments.quality)
    return _summary(plan, report, dry_run=arguments.dry_run)


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
    return targets


def _work(jobs: list[Job], upscaler: Upscaler, *, one_encoding: bool, quality: int) -> Report:
    total = sum(
        job.lq_size[0] * job.lq_size[1] * upscaler.passes(len(job.outputs), one_encoding=one_encoding) for job in jobs
    )
    with tqdm(
        total=total / 1e6,
        unit='MP',
        delay=PROGRESS_DELAY_S,
        bar_format='{desc}{percentage:.0f}%|{bar}| {elapsed}, {remaining} left, {rate_fmt}',
    ) as bar:
        return run_jobs(
            upscaler,
            jobs,
            one_encoding=one_encoding,
            quality=quality,
            progress=lambda pixels: bar.update(pixels / 1e6) and None,
            begin=lambda job: bar.set_description(job.source.name.name),
        )


def _show_plan(plan: Plan, upscaler: Upscaler, goal: Destination, *, one_encoding: bool) -> None:
    cost = measure_cost(upscaler)
    seconds, peak = 0.0, 0.0
    for job in plan.jobs:
        sizes = [output.size for output in job.outputs]
        encodings = upscaler.passes(len(sizes), one_encoding=one_encoding)
        drawings = upscaler.passes(len(sizes), one_encoding=False)
        seconds += cost.seconds(job.lq_size, sizes, encodings=encodings, drawings=drawings)
        peak = max(peak, cost.bytes(job.lq_size, sizes) or 0)
        for output in job.outputs:
            target = 'standard output' if output.path is None else output.path
            h, w = job.lq_size
            H, W = output.size
            print(f'{job.source} ({w} x {h}) -> {target} ({W} x {H}, {job.format})', file=sys.stderr)
    dtype = str(upscaler.dtype).removeprefix('torch.')
    memory = f'{peak / 2**30:.2f} GiB beside the network' if peak else 'unknown on this system'
    print(
        f'on {upscaler.device} in {dtype}: about {_duration(seconds)} and {memory} at most, from a measured sample',
        file=sys.stderr,
    )


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f'{seconds:.1f} s'
    minutes = round(seconds / 60)
    return f'{minutes} min' if minutes < 120 else f'{minutes / 60:.1f} h'


def _summary(plan: Plan, report: Report, *, dry_run: bool) -> int:
    failures = plan.failures + report.failures
    for name, remark in report.remarks:
        print(f'{name}: {remark}', file=sys.stderr)
    for name, problem in failures:
        print(f'{name}: failed: {problem}', file=sys.stderr)
    planned = sum(len(job.outputs) for job in plan.jobs)
    counts = [f'{planned} to write' if dry_run else f'{len(report.written)} written']
    if plan.kept:
        counts.append(f'{len(plan.kept)} kept (they exist; --overwrite replaces them)')
    if failures:
        counts.append(f'{len(failures)} failed')
    print(f'gsasr upscale: {", ".join(counts)}', file=sys.stderr)
    return 1 if failures else 0
