"""Image sets made of images: the paper's benchmarks, sub-images for training, databases, crops to measure costs with.

What is there already is left out, so that a command that was interrupted goes on when it is given again. Each function
returns a message for each image that failed, and raises CommandError before any work.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gsasr_plugin.benchmarking.gt_images import check_large_enough, listed_images, listed_sizes
from gsasr_plugin.benchmarking.prepare.detail import list_detailed
from gsasr_plugin.benchmarking.prepare.jobs import BENCHMARK_KINDS, BenchmarkJob, CentreCropJob, CopyJob, SubImageJob
from gsasr_plugin.benchmarking.prepare.lmdb_folder import is_ours, is_packed, pack, staging_folder
from gsasr_plugin.benchmarking.prepare.runner import run_jobs
from gsasr_plugin.data.degradation.options import DegradationOptions
from gsasr_plugin.data.image_files import ImageFile, list_some
from gsasr_plugin.run_errors import CommandError, told_as_command_error
from gsasr_plugin.sizes import Scale, format_scale
from gsasr_plugin.whole_file import write_whole

OPTIONS_FILE = '.prepared.json'
# Folders of these names do not name the set: the folder above does.
_PLAIN_NAMES = ('gt', 'hr', 'original', 'images')


def prepare_benchmarks(
    given: Sequence[str],
    scales: Sequence[Scale],
    out: Path,
    *,
    degradation: str | dict[str, Any] | None = None,
    seed: int = 0,
    lmdb: bool,
    workers: int,
) -> list[str]:
    """GT crops, LR and bicubic images of test sets, OUT/SET/x<scale>/{GT,LR,Bicubic}.

    Args:
        given: `[NAME=]FOLDER` of each set.
        degradation: what an option file says under that name: LR is degraded by it. None: bicubic reductions.
        seed: of the degradation.
        lmdb: whether to make databases of BasicSR instead of folders.
    """
    options = None
    if degradation is not None:
        with told_as_command_error('--', ValueError):
            options = DegradationOptions.of(degradation)
    sets: dict[str, list[ImageFile]] = {}
    for text in given:
        name, root = _name_and_root(text)
        if name in sets:
            raise CommandError(f'--gt: two sets have the name {name!r}; give another as NAME=FOLDER')
        sets[name] = listed_images(root)
        if lmdb:
            _check_keys(sets[name], '--lmdb')
        check_large_enough(sets[name], scales)
    failures = []
    for name, images in sets.items():
        _note_degradation(out / name, degradation, seed)
        for scale in scales:
            folder = out / name / f'x{format_scale(scale)}'
            targets = [folder / (f'{kind}.lmdb' if lmdb else kind) for kind in BENCHMARK_KINDS]
            if lmdb and all(is_packed(target, images) for target in targets):
                continue
            gt, lq, bicubic = (staging_folder(target) if lmdb else target for target in targets)
            jobs = [BenchmarkJob(image, scale, (gt, lq, bicubic), options, seed) for image in images]
            failed = run_jobs(jobs, workers=workers, description=f'{name} x{format_scale(scale)}')
            failures += failed
            if lmdb and not failed:
                for target, files in zip(targets, zip(*(job.outputs() for job in jobs))):
                    pack(staging_folder(target), files, target, images)
    return failures


def prepare_sub_images(
    root: str, target: Path, *, size: int, step: int, reductions: Sequence[float], lmdb: bool, workers: int
) -> list[str]:
    """Overlapping sub-images of training images; see `SubImageJob`.

    Args:
        target: the folder, or the database where its name ends in `.lmdb`.
        size, step, reductions: sides, distances, and factors by which images are made smaller before they are cut.
    """
    if step > size:
        raise CommandError(f'--step: {step} leaves gaps between sub-images of {size}; at most the size')
    images = listed_images(root)
    folder = staging_folder(target) if lmdb else target
    options: dict[str, Any] = {'size': size, 'step': step}
    if list(reductions) != [1]:
        options['reduce'] = list(reductions)
    if lmdb:
        _check_keys(images, '--lmdb')
        _check_options(target, options)
        if is_packed(target, images):
            return []
    _note_options(folder, options)
    jobs = [
        SubImageJob(image, image_size, folder, size, step, reduction)
        for image, image_size in zip(images, listed_sizes(images))
        for reduction in reductions
    ]
    failures = run_jobs(jobs, workers=workers, description='sub-images')
    if lmdb and not failures:
        pack(folder, [output for job in jobs for output in job.outputs()], target, images)
        _note_options(target, options)
    return failures


def note_detailed(target: Path, limit: float, *, workers: int) -> str:
    """Lists the sub-images of a folder or database that have detail beside it, see `list_detailed`, and says so."""
    made = listed_images(str(target))
    detailed = target.with_name(f'{target.name.removesuffix(".lmdb")}_detailed.txt')
    count = list_detailed(made, limit, detailed, workers=workers)
    return f'{count} of {len(made)} sub-images have detail: {detailed}'


def prepare_lmdb(root: str, target: Path, *, workers: int) -> list[str]:
    """A database of the images of a folder and of its sub-folders, as data sets see them.

    Args:
        target: a folder whose name ends in .lmdb. One that `gsasr prepare lmdb` made is made again, if
            images have changed.
    """
    if target.suffix != '.lmdb':
        raise CommandError(f'--out: {target} is no name of an LMDB, which ends in .lmdb')
    if target.exists() and not is_ours(target):
        raise CommandError(f'--out: {target} is there, and was not made by this command; give another or delete it')
    _check_options(target, {})  # a database of sub-images has some
    images = listed_images(root, argument='FOLDER', recursive=True)
    _check_keys(images, 'FOLDER')
    if is_packed(target, images):
        return []
    folder = staging_folder(target)
    jobs = [CopyJob(image, folder) for image in images]
    failures = run_jobs(jobs, workers=workers, description=target.name)
    if not failures:
        pack(folder, [output for job in jobs for output in job.outputs()], target, images)
    return failures


def prepare_crops(root: str, out: Path, *, size: int, count: int, workers: int) -> list[str]:
    """Central crops of so many images that are large enough; smaller ones are named on stderr."""
    images = listed_images(root)
    large = [image for image, sides in zip(images, listed_sizes(images)) if min(sides) >= size]
    if not large:
        raise CommandError(f'--gt: no image of {root} has {size} x {size} pixels')
    small = [str(image) for image in images if image not in large]
    if small:
        print(f'gsasr prepare: smaller than {size}, left out: {list_some(small)}', file=sys.stderr)
    _note_options(out, {'size': size})
    jobs = [CentreCropJob(image, out, size) for image in large[:count]]
    return run_jobs(jobs, workers=workers, description='crops')


def _note_degradation(folder: Path, degradation: str | dict[str, Any] | None, seed: int) -> None:
    """Writes down how the LR images of a set are degraded; without a note they are not."""
    note = folder / OPTIONS_FILE
    if degradation is None and not note.exists():
        return
    if not note.exists() and any(folder.glob('x*')):
        raise CommandError(f'--out: {folder} has images made without --degradation; give another or delete it')
    _note_options(folder, {} if degradation is None else {'degradation': degradation, 'seed': seed})


def _note_options(folder: Path, options: dict[str, Any]) -> None:
    """Writes down how the images of a folder are made."""
    _check_options(folder, options)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / OPTIONS_FILE, json.dumps(options))


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


def _check_keys(images: Sequence[ImageFile], argument: str) -> None:
    foreign = [str(image) for image in images if not image.stem.isascii()]
    if foreign:
        raise CommandError(f"{argument}: BasicSR's databases need names in ASCII: rename {list_some(foreign)}")
