"""Files that are there whole or not at all."""

import csv
import os
import secrets
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

STAGING = '.unfinished_'  # what the names of files begin with while they are written
LONGEST_NAME = 200  # bytes, of the rest of such a name


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a name to write to, of the same ending, and renames it to `path` if all went well.

    The name is its own each time: two that write the same file, on one machine or several, do not meet, and the last
    one's stays.
    """
    with replacing_together() as unfinished:
        yield unfinished(path)


@contextmanager
def writing_whole(path: Path) -> Iterator[BinaryIO]:
    """Gives a file to write to, for as long as it takes, which becomes `path` if all went well.

    It has no name until then, where the file system can do that: a process that is killed leaves nothing.
    """
    try:
        descriptor = os.open(path.parent, os.O_TMPFILE | os.O_RDWR, 0o666)
    except (OSError, AttributeError):
        with replacing(path) as unfinished, unfinished.open('w+b') as file:
            yield file
        return
    with open(descriptor, 'w+b') as file:
        yield file
        file.flush()
        with replacing(path) as unfinished:
            try:  # any folder makes Python follow the link
                os.link(f'/proc/self/fd/{descriptor}', unfinished, src_dir_fd=descriptor, follow_symlinks=True)
            except OSError:  # no /proc, or files cannot be named later
                file.seek(0)
                with unfinished.open('wb') as named:
                    shutil.copyfileobj(file, named)


def existing_folder(folder: Path) -> Path:
    """The folder, or the nearest above it that is there: on its disk a new one would be."""
    return folder if folder.exists() else existing_folder(folder.parent)


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file, whole or not at all; text as UTF-8."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a CSV file, whole or not at all."""
    with replacing(path) as unfinished, unfinished.open('w', newline='') as file:
        csv.writer(file, lineterminator='\n').writerows([header, *rows])


@contextmanager
def replacing_together() -> Iterator[Callable[[Path], Path]]:
    """Gives a function that does what `replacing` does for several files: their names change when all are on the disk.

    They appear in the order in which the function was asked for them.
    """
    names: dict[Path, Path] = {}

    def unfinished(path: Path) -> Path:
        return names.setdefault(path, path.with_name(f'{STAGING}{secrets.token_hex(8)}{_ending(path.name)}'))

    try:
        yield unfinished
        for name in names.values():
            with name.open('rb') as file:
                os.fsync(file.fileno())  # a crash of the machine after the rename must not leave an empty file
        for path, name in names.items():
            os.replace(name, path)
        for folder in {path.parent for path in names}:
            _sync_folder(folder)
    finally:
        for name in names.values():
            name.unlink(missing_ok=True)


def _ending(name: str) -> str:
    """The name, as much of its end as leaves room for what stands before it: file systems take 255 bytes."""
    characters = list(name)
    while len(''.join(characters).encode('utf-8', 'surrogateescape')) > LONGEST_NAME:
        del characters[0]
    return '_' + ''.join(characters)


def _sync_folder(folder: Path) -> None:
    """A crash of the machine keeps the new names too, where system and file system can do that for a folder."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_left_overs(folder: Path) -> None:
    """Removes what a process that was killed has left unfinished in a folder, to which nobody else writes now."""
    for left_over in folder.glob(f'{STAGING}*'):
        if left_over.is_dir():  # an older version of this package wrote into folders
            shutil.rmtree(left_over, ignore_errors=True)
        else:
            left_over.unlink(missing_ok=True)


def is_whole_archive(file: Path | BinaryIO) -> bool:
    """Whether a file of torch.save, an archive with checksums, is complete."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, EOFError):
        return False
