"""`gsasr check-data`: every image decoded before a training meets it."""

import argparse
from pathlib import Path
from typing import Any

from gsasr_plugin.run_errors import CommandError, told_as_command_error

DESCRIPTION = """\
Decodes all images of folders, of LMDBs made by BasicSR, or of the data sets of option files, in parallel, and names
those that cannot be read, are damaged, or differ from the index of their LMDB. Exit status 1 if there are any. The
option check_images of a data set does the same at the start of a training. Pairs, which --lq or an option file names,
are compared too: those that lack a partner, whose sizes fit no scale, or that are shifted against each other by more
than an LR pixel are named."""
EXAMPLES = """\
  gsasr check-data datasets/DIV2K/train_sub datasets/val.lmdb
  gsasr check-data --opt options/train.yml
  gsasr check-data datasets/pairs/GT --lq datasets/pairs/LR --list usable.txt
"""
NOTHING = 'nothing to check: give folders, LMDBs, or option files with --opt'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('root', nargs='*', help='folder of images, with its sub-folders, or an LMDB (NAME.lmdb)')
    parser.add_argument(
        '--opt', nargs='+', default=[], metavar='FILE', help='option files whose data sets are to be checked'
    )
    parser.add_argument('--lq', metavar='ROOT', help='the LR images that belong to the one root of GT images given')
    parser.add_argument(
        '--list', metavar='FILE', help='write the names of the GT images of sound pairs, to be used as meta_info_file'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace the file of --list')


def run(arguments: argparse.Namespace) -> int:
    if not (arguments.root or arguments.opt):
        raise CommandError(NOTHING)
    if arguments.lq is not None and len(arguments.root) != 1:
        raise CommandError(f'--lq goes with one root of GT images, got {len(arguments.root)}')
    if arguments.list is not None and arguments.lq is None:
        raise CommandError('--list goes with --lq')
    if arguments.list is not None:
        _check_new(Path(arguments.list), overwrite=arguments.overwrite)
    from gsasr_plugin.data.image_check import check_images, index_faults
    from gsasr_plugin.data.image_files import backend_of, list_images
    from gsasr_plugin.host.option_check import OptionError, read_option_file

    roots: list[tuple[str, str | None]] = [(root, None) for root in arguments.root]
    roots += [] if arguments.lq is None else [(arguments.lq, None)]
    sections = [] if arguments.lq is None else [_section(arguments.root[0], arguments.lq)]
    with told_as_command_error('', OptionError):
        for file in arguments.opt:
            options = read_option_file(file).options
            roots += _roots(options)
            sections += _paired_sections(options)
    if not roots:
        raise CommandError(NOTHING)
    faults = 0
    for root, meta_info_file in dict.fromkeys(roots):
        backend = backend_of(root)
        try:
            images = list_images(root, backend, meta_info_file, recursive=True)
            found = check_images(images, progress=root)
            stale = index_faults(root) if backend == 'lmdb' else []
        except (ValueError, FileNotFoundError) as error:
            print(f'{root}: {error}')
            faults += 1
            continue
        for line in [*(f'{image}: {fault}' for image, fault in found.items()), *stale]:
            print(line)
        faults += len(found) + len(stale)
        print(f'{root}: {len(images)} images, {len(found)} of them not usable')
    for number, section in enumerate(sections):  # the first is --lq's, if that is given
        faults += _check_pairs(section, None if number else arguments.list)
    return 1 if faults else 0


def _check_new(listing: Path, *, overwrite: bool) -> None:
    """Before the images are read, which takes its time."""
    if not listing.parent.is_dir():
        raise CommandError(f'--list {listing}: there is no folder {listing.parent}')
    if listing.is_dir():
        raise CommandError(f'--list {listing} is a folder; the name of a file is needed')
    if listing.exists() and not overwrite:
        raise CommandError(f'--list {listing} exists; --overwrite replaces it')


def _section(gt: str, lq: str) -> dict[str, Any]:
    """The section of a data set of pairs."""
    from gsasr_plugin.data.image_files import backend_of

    backend = {'type': backend_of(gt)}
    return {'name': gt, 'phase': 'train', 'dataroot_gt': gt, 'dataroot_lq': lq, 'io_backend': backend}


def _paired_sections(options: dict[str, Any]) -> list[dict[str, Any]]:
    """The sections of data sets of pairs."""
    datasets = options.get('datasets')
    return [
        {**section, 'phase': str(key).split('_')[0]}
        for key, section in (datasets if isinstance(datasets, dict) else {}).items()
        if isinstance(section, dict) and all(section.get(root) is not None for root in ('dataroot_gt', 'dataroot_lq'))
    ]


def _check_pairs(section: dict[str, Any], listing: str | None) -> int:
    """Prints what is wrong with the pairs of a data set, and writes the names of the others; returns the faults."""
    from gsasr_plugin.data.arbitrary_scale_paired_options import ArbitraryScalePairedDatasetOptions
    from gsasr_plugin.data.pair_check import check_pairs
    from gsasr_plugin.whole_file import write_whole

    name = section.get('name')
    try:
        sound, faults = check_pairs(ArbitraryScalePairedDatasetOptions.from_opt(section))
    except (ValueError, FileNotFoundError) as error:
        print(f'{name}: {error}')
        return 1
    for fault in faults:
        print(fault)
    print(f'{name}: {len(sound)} sound pairs, {len(faults)} faults')
    if listing is not None:
        write_whole(Path(listing), ''.join(f'{pair.gt.stem}.png\n' for pair in sound))
    return len(faults)


def _roots(options: dict[str, Any]) -> list[tuple[str, str | None]]:
    """The folders and LMDBs of all data sets, each with its meta information file or None."""
    from gsasr_plugin.data.data_roots import named_paths

    found: list[tuple[str, str | None]] = []
    datasets = options.get('datasets')
    for section in (datasets if isinstance(datasets, dict) else {}).values():
        if not isinstance(section, dict):
            continue
        for key in ('dataroot_gt', 'dataroot_lq'):
            roots = named_paths(section.get(key))
            files = named_paths(section.get('meta_info_file')) if key == 'dataroot_gt' else []
            found += zip(roots, files if len(files) == len(roots) else [None] * len(roots), strict=True)
    return found
