"""The files that the host writes when it saves, there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from gsasr_plugin.run_errors import RunError
from gsasr_plugin.whole_file import STAGING, is_whole_archive


@contextmanager
def host_files_whole(paths: MutableMapping[str, str], keys: Sequence[str]) -> Iterator[None]:
    """Lets the host write into staging folders, and moves what it wrote into place when all of it is on the disk.

    The host goes on in silence when it cannot write a file, so each is read again first.

    Args:
        paths: the host's `opt['path']`; while inside, its `keys` name staging folders. One process at a time.
        keys: folders, in the order in which their files appear. The last one's complete the set.

    Raises:
        RunError: a file could not be written whole. The files of before are untouched.
    """
    targets = {key: paths[key] for key in keys}
    staging: dict[str, str] = {}
    try:
        for key, target in targets.items():
            os.makedirs(target, exist_ok=True)
            for left_over in Path(target).glob(f'{STAGING}*'):  # of a process that was killed
                shutil.rmtree(left_over, ignore_errors=True)
            staging[key] = tempfile.mkdtemp(prefix=STAGING, dir=target)
            paths[key] = staging[key]
        try:
            yield
        except (OSError, RuntimeError) as error:  # torch.save raises either when a disk is full
            raise _not_whole(targets[keys[-1]], str(error)) from error
        written = [(key, name) for key in keys for name in sorted(os.listdir(staging[key]))]
        for key, name in written:
            with open(os.path.join(staging[key], name), 'rb') as file:
                os.fsync(file.fileno())
                if not is_whole_archive(file):
                    raise _not_whole(os.path.join(targets[key], name), 'is the disk full?')
        for key, name in written:
            os.replace(os.path.join(staging[key], name), os.path.join(targets[key], name))
        for target in targets.values():
            _sync_folder(target)
    finally:
        paths.update(targets)
        for folder in staging.values():
            shutil.rmtree(folder, ignore_errors=True)


def _not_whole(path: str, reason: str) -> RunError:
    return RunError(f'{path}: a checkpoint could not be written whole: {reason} Those written before are untouched.')


def _sync_folder(folder: str) -> None:
    """A crash of the machine keeps the new names too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
