"""`gsasr upscale`: enlarges pictures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsasr_plugin.commands.arguments import (
    add_model_arguments,
    add_result_arguments,
    add_target_arguments,
    background_of,
    checked_quality,
    destination_of,
    load_upscaler,
    max_input_pixels,
    take_swallowed_inputs,
    targets_of,
)
from gsasr_plugin.commands.progress import ProgressLine
from gsasr_plugin.run_errors import CommandError, told_as_command_error
from gsasr_plugin.stop_signals import EXIT_INTERRUPTED, left_at_once
from gsasr_plugin.upscaling.names import FIELDS, NameTemplate
from gsasr_plugin.upscaling.pictures.formats import HOLD_FRAMES, LOSSY

if TYPE_CHECKING:
    from gsasr_plugin.upscaling.batch import BatchOptions, Outcome
    from gsasr_plugin.upscaling.pictures.writing import Color
    from gsasr_plugin.upscaling.plan import PictureJob, Plan
    from gsasr_plugin.upscaling.target import Target
    from gsasr_plugin.upscaling.upscaler import Upscaler

DESCRIPTION = """\
Enlarge pictures by any factor: PNG, JPEG, WebP, AVIF, TIFF and BMP files of 8 or 16 bits, grey or in colour, with alpha
(enlarged by bicubic interpolation). GIF, JPEG 2000, PPM, TGA, ICO, PSD and other files are read too, and become PNG, as
HEIC and JPEG XL do with the extras heic and jxl. Animations and pages: see --frames. Pictures are turned upright;
profile, EXIF, XMP, IPTC and texts are kept, and what a format does not hold is named. A file that cannot be read does
not stop the others. Existing files are kept. Exit status: 0 all done, 1 something failed (a summary says what), 2 wrong
arguments, 130 interrupted."""
EXAMPLES = """\
  gsasr upscale photo.jpg -o large.png --scale 3.14
  gsasr upscale holiday/ 'scans/**/*.tif' -o large/ --scale 2 --scale 4 --one-encoding
  gsasr upscale frames/ -o large/ --scale 2 --name '{stem}_x{scale}' --threads 4 --quiet
  gsasr upscale photo.png -o wide.png --scale 2 3.5
  gsasr upscale photo.png -o screen.png --size 1920x1080
  gsasr upscale photo.png -o large.png --scale 4 --blend gsasr-small net_g_latest.pth --alpha 0.7
  gsasr upscale *.webp -o large/ --width 2000 --max-pixels 8M --format png
  gsasr upscale cat.gif -o large/ --scale 3 --frames all --format webp
  gsasr upscale bricks.png -o large.png --scale 4 --tileable
  curl -s URL | gsasr upscale - -o - --scale 2 --format png > large.png
"""
SKIPPED_SHOWN = 10


class _Alpha(argparse.Action):
    """--alpha has two meanings, which its values tell apart: both may be given."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, option: str | None = None
    ) -> None:
        if value in ('fill', 'keep'):
            namespace.alpha = value
            return
        try:
            namespace.share = float(value)
        except ValueError as error:
            accepted = 'choose from fill, keep, or, with --blend, a number'
            raise argparse.ArgumentError(self, f'invalid choice: {value!r} ({accepted})') from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('inputs', nargs='*', metavar='IN', help="files, folders, patterns, or '-' for standard input")
    add_target_arguments(parser)
    _add_result_arguments(parser)
    _add_picture_arguments(parser)
    add_model_arguments(parser)
    _add_network_arguments(parser)


def _add_result_arguments(parser: argparse.ArgumentParser) -> None:
    group = add_result_arguments(parser)
    group.add_argument(
        '--name',
        metavar='TEMPLATE',
        help='what results in a folder are called, without ending (default: {stem}_{label}); fields: '
        + '; '.join(f'{{{field}}}, {meaning}' for field, (meaning, _) in FIELDS.items()),
    )
    group.add_argument(
        '--skip-existing', action='store_true', help='leave files that exist as they are, which is the default'
    )
    group.add_argument('--quiet', action='store_true', help='tell nothing but what fails')
    group.add_argument('--dry-run', action='store_true', help='show the plan: sizes, tiles and memory')
    group.add_argument('--lossless', action='store_true', help='WebP files without loss, as those of such pictures are')
    group.add_argument(
        '--strip', action='store_true', help='no metadata in the results but profiles, on which the colours depend'
    )
    group.add_argument(
        '--background',
        metavar='COLOR',
        help="what transparent pictures are laid on where the format holds no alpha: as in HTML, white or '#102030'",
    )


def _add_picture_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('the pictures')
    group.add_argument(
        '--frames',
        choices=['first', 'all'],
        default='first',
        help='of animations (GIF, APNG, WebP) and of TIFF files with pages: the first picture, or all, with their '
        f'durations, into {", ".join(HOLD_FRAMES)} (default: first)',
    )
    group.add_argument(
        '--recursive',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='take the folders in folders too, which is the default, or not; their names stay in that of the results',
    )
    group.add_argument(
        '--alpha',
        action=_Alpha,
        default='fill',
        metavar='fill|keep|SHARE',
        help='colours that are wholly transparent: fill replaces them by the nearest visible ones, which keeps edges '
        'clean; keep enlarges them, as in textures that store something else in alpha (default: fill). '
        'A number: the share of B in --blend',
    )
    group.add_argument(
        '--max-input-pixels',
        metavar='N',
        help='refuse pictures of more pixels, such as 100M; none: read any (default: what the memory holds)',
    )


def _add_network_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--blend',
        nargs=2,
        metavar=('A', 'B'),
        help='in place of --model: a network between two of one architecture, such as one trained by L1 and the same '
        'after a discriminator; --alpha with a number from 0 to 1 is the share of B (default: 0.5)',
    )
    parser.set_defaults(share=None)
    parser.add_argument(
        '--self-ensemble',
        action='store_true',
        help='average over the 8 flips and rotations: 8 times the work',
    )
    parser.add_argument(
        '--consistent',
        action='store_true',
        help='make the result, reduced, equal to the picture as nearly as can be: keeps brightness with any model, but '
        'believes the picture, so that artefacts of a JPEG come back',
    )
    parser.add_argument(
        '--tileable',
        action='store_true',
        help='textures that repeat: pictures go on at their opposite borders, and so do the results, without seams',
    )
    parser.add_argument(
        '--one-encoding',
        action='store_true',
        help='of several sizes, predict the Gaussians for the largest only and draw all from them: faster',
    )


def run(arguments: argparse.Namespace) -> int:
    take_swallowed_inputs(arguments)
    targets = targets_of(arguments)
    max_pixels = max_input_pixels(arguments)
    quality = checked_quality(arguments)
    if arguments.blend and arguments.model:
        raise CommandError('give one of --model and --blend')
    if arguments.share is not None and not arguments.blend:
        raise CommandError(f'--alpha {arguments.share:g} is the share of B in --blend A B, which is not given')
    if arguments.lossless and quality is not None:
        raise CommandError('give one of --lossless and --quality')
    if arguments.skip_existing and arguments.overwrite:
        raise CommandError('give one of --skip-existing and --overwrite')
    background = background_of(arguments)
    if not arguments.inputs:
        raise CommandError("no pictures are given: name files, folders or patterns, or '-' for the standard input")
    # What takes its time before the first picture, the imports above all, leaves nothing behind.
    with left_at_once('gsasr upscale: interrupted: 0 written'):
        plan, upscaler, skipped = _prepared(arguments, targets, max_pixels)
    from gsasr_plugin.upscaling.batch import Outcome

    outcome = None if arguments.dry_run else Outcome()
    if upscaler is not None and plan.jobs and arguments.dry_run:
        _show_plan(plan, upscaler)
    elif upscaler is not None and plan.jobs:
        outcome = _work(plan.jobs, upscaler, _batch_options(arguments, quality, background), quiet=arguments.quiet)
    return _summary(arguments, plan, outcome, skipped)


def _prepared(
    arguments: argparse.Namespace, targets: list[Target], max_pixels: float | None
) -> tuple[Plan, Upscaler | None, list[Path]]:
    """What is to be done, the network where there is anything, and the files that are left out of folders."""
    from gsasr_plugin.upscaling.batch import refuse_what_does_not_fit
    from gsasr_plugin.upscaling.pictures.sources import STANDARD_STREAM, find_sources
    from gsasr_plugin.upscaling.plan import check_target, make_plan

    out = arguments.output
    skipped: list[Path] = []
    leave_out = None if out == STANDARD_STREAM else Path(out).expanduser()
    with told_as_command_error('--name ', ValueError):
        names = None if arguments.name is None else NameTemplate(arguments.name)
    sources = find_sources(arguments.inputs, leave_out=leave_out, skipped=skipped, recursive=arguments.recursive)
    goal = destination_of(arguments, len(sources) * len(targets))
    if names is not None and not goal.is_folder:
        raise CommandError(f'--name is for results in a folder, and -o {out} is none')
    if arguments.lossless and goal.format is not None and goal.format.name in LOSSY:
        raise CommandError(f'--lossless: {goal.format.name} files are not without loss; PNG, WebP, TIFF and BMP are')
    with told_as_command_error('', ValueError):
        plan = make_plan(
            sources,
            targets,
            goal,
            overwrite=arguments.overwrite,
            max_pixels=max_pixels,
            names=names,
            background=arguments.background is not None,
            all_frames=arguments.frames == 'all',
            lossless=True if arguments.lossless else None if arguments.quality is None else False,
        )
    with told_as_command_error('-o: ', ValueError):
        check_target(plan)
    if not plan.jobs:
        return plan, None, skipped
    ways = {name: getattr(arguments, name) for name in ('self_ensemble', 'consistent', 'tileable')}
    upscaler = load_upscaler(arguments, **ways)
    refuse_what_does_not_fit(plan, upscaler)
    return plan, upscaler, skipped


def _batch_options(arguments: argparse.Namespace, quality: int | None, background: Color | None) -> BatchOptions:
    from gsasr_plugin.upscaling.batch import BatchOptions

    return BatchOptions(
        one_encoding=arguments.one_encoding,
        quality=quality,
        lossless=arguments.lossless,
        fill_hidden=arguments.alpha == 'fill',
        strip=arguments.strip,
        background=background,
    )


def _work(jobs: list[PictureJob], upscaler: Upscaler, options: BatchOptions, *, quiet: bool) -> Outcome:
    from gsasr_plugin.upscaling.batch import upscale_pictures

    total = sum(job.pixels * upscaler.passes(len(job.outputs), one_encoding=options.one_encoding) for job in jobs)
    with ProgressLine(pictures=len(jobs), pixels=total, quiet=quiet) as line:
        return upscale_pictures(upscaler, jobs, options, progress=line.pixels, done=lambda job: line.picture())


def _show_plan(plan: Plan, upscaler: Upscaler) -> None:
    from gsasr_plugin.precision import name_of
    from gsasr_plugin.upscaling.estimate import needed_bytes

    peak = 0
    for job in plan.jobs:
        tiles = upscaler.tiles(job.lq_size)
        needed = needed_bytes(upscaler, job.lq_size, job.results, frames=job.frames, lossless=job.lossless)
        peak = max(peak, needed)
        for output in job.outputs:
            target = 'standard output' if output.path is None else output.path
            h, w = job.lq_size
            H, W = output.size
            frames = f', {job.frames} pictures' if job.frames > 1 else ''
            parts = f', in {len(tiles)} tiles' if len(tiles) > 1 else ''
            print(f'{job.source} ({w} x {h}{parts}) -> {target} ({W} x {H}, {job.format}){frames}', file=sys.stderr)
    print(
        f'on {upscaler.device} in {name_of(upscaler.dtype)}: about {peak / 2**30:.2f} GiB at most, beside the network',
        file=sys.stderr,
    )


def _summary(arguments: argparse.Namespace, plan: Plan, outcome: Outcome | None, skipped: list[Path]) -> int:
    """Says what became of everything, of --quiet what failed only, and returns the exit status."""
    failures = list(plan.failures)
    told = [f'{name}: {remark}' for name, remark in plan.remarks]
    if skipped:
        names = ', '.join(map(str, skipped[:SKIPPED_SHOWN])) + ', ...' * (len(skipped) > SKIPPED_SHOWN)
        told.append(f'{len(skipped)} files skipped, which do not end like pictures: {names}')
    if outcome is not None:
        failures += outcome.failures
        told += [f'{name}: {remark}' for name, remark in outcome.remarks]
    problems = [f'{name}: failed: {problem}' for name, problem in failures]
    interrupted = outcome is not None and outcome.interrupted
    counts = ['interrupted'] if interrupted else []
    planned = sum(len(job.outputs) for job in plan.jobs)
    counts.append(f'{planned} to write' if outcome is None else f'{len(outcome.written)} written')
    if plan.kept:
        counts.append(f'{len(plan.kept)} kept (they exist; --overwrite replaces them)')
    if failures:
        counts.append(f'{len(failures)} failed')
    if outcome is not None and outcome.undone:
        counts.append(f'{outcome.undone} of {len(plan.jobs)} pictures not done')
    summary = [f'gsasr upscale: {", ".join(counts)}']
    for line in problems if arguments.quiet and not interrupted else told + problems + summary:
        print(line, file=sys.stderr)
    return EXIT_INTERRUPTED if interrupted else 1 if failures else 0
