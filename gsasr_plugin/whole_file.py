"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

STAGING = '.unfinished_'  # what the names of files begin with while they are written


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a name to write to, of the same ending, and renames it to `path` if all went well.

    The name is its own each time: two that write the same file, on one machine or several, do not meet, and the last
    one's stays.
    """
    unfinished = path.with_name(f'{STAGING}{secrets.token_hex(8)}_{path.name}')
    try:
        yield unfinished
        with unfinished.open('rb') as file:
            os.fsync(file.fileno())  # a crash of the machine after the rename must not leave an empty file
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def is_whole_archive(file: Path | BinaryIO) -> bool:
    """Whether a file of torch.save, an archive with checksums, is complete."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, EOFError):
        return False
