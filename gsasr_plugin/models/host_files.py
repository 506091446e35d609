"""The files that the host writes when it saves, there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from gsasr_plugin.whole_file import STAGING


@contextmanager
def host_files_whole(paths: MutableMapping[str, str], keys: Sequence[str]) -> Iterator[None]:
    """Lets the host write into staging folders, and moves what it wrote into place when all of it is on the disk.

    The host goes on in silence when it cannot write a file, so each is read again first.

    Args:
        paths: the host's `opt['path']`; while inside, its `keys` name staging folders. One process at a time.
        keys: folders, in the order in which their files appear. The last one's complete the set.

    Raises:
        OSError: a file could not be written whole. The files of before are untouched.
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
        yield
        written = [(key, name) for key in keys for name in sorted(os.listdir(staging[key]))]
        for key, name in written:
            with open(os.path.join(staging[key], name), 'rb') as file:
                os.fsync(file.fileno())
                if not _is_whole(file):
                    raise OSError(
                        f'{os.path.join(targets[key], name)} could not be written whole: is the disk full? '
                        'Checkpoints written before are untouched.'
                    )
        for key, name in written:
            os.replace(os.path.join(staging[key], name), os.path.join(targets[key], name))
    finally:
        paths.update(targets)
        for folder in staging.values():
            shutil.rmtree(folder, ignore_errors=True)


def _is_whole(file: BinaryIO) -> bool:
    """Whether a file of torch.save, an archive with checksums, is complete."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    except zipfile.BadZipFile:
        return False
