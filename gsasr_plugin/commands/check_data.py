"""`gsasr check-data`: every image decoded before a training meets it."""

import argparse
from typing import Any

from gsasr_plugin.run_errors import CommandError, told_as_command_error

DESCRIPTION = """\
Decodes all images of folders, of LMDBs made by BasicSR, or of the data sets of option files, in parallel, and names
those that cannot be read, are damaged, or differ from the index of their LMDB. Exit status 1 if there are any. The
option check_images of a data set does the same at the start of a training."""
EXAMPLES = """\
  gsasr check-data datasets/DIV2K/train_sub datasets/val.lmdb
  gsasr check-data --opt options/train.yml
"""
NOTHING = 'nothing to check: give folders, LMDBs, or option files with --opt'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('root', nargs='*', help='folder of images, with its sub-folders, or an LMDB (NAME.lmdb)')
    parser.add_argument(
        '--opt', nargs='+', default=[], metavar='FILE', help='option files whose data sets are to be checked'
    )


def run(arguments: argparse.Namespace) -> int:
    if not (arguments.root or arguments.opt):
        raise CommandError(NOTHING)
    from gsasr_plugin.data.image_check import check_images, index_faults
    from gsasr_plugin.data.image_files import Backend, list_images
    from gsasr_plugin.host.option_check import OptionError, read_option_file

    roots: list[tuple[str, str | None]] = [(root, None) for root in arguments.root]
    with told_as_command_error('', OptionError):
        for file in arguments.opt:
            roots += _roots(read_option_file(file).options)
    if not roots:
        raise CommandError(NOTHING)
    faults = 0
    for root, meta_info_file in dict.fromkeys(roots):
        backend: Backend = 'lmdb' if root.rstrip('/').endswith('.lmdb') else 'disk'
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
    return 1 if faults else 0


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
