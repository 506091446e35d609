"""Finding pictures: files, folders, patterns, and the standard input."""

import glob
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gsasr_plugin.upscaling.pictures.formats import SUFFIXES

STANDARD_STREAM = '-'


@dataclass(frozen=True)
class Source:
    """Where a picture is.

    Attributes:
        path: the file; None for the standard input.
        name: a relative path that tells it from the others: below the folder that was named, else the file's name.
        problem: why there is nothing to read, for messages; None where there is.
    """

    path: Path | None
    name: Path
    problem: str | None = None

    def __str__(self) -> str:
        return 'standard input' if self.path is None else str(self.path)

    def content(self) -> Path | bytes:
        """What `read_picture` takes: the file, or all of the standard input, which can be read once."""
        return sys.stdin.buffer.read() if self.path is None else self.path


def find_sources(
    given: Iterable[str], *, leave_out: Path | None = None, skipped: list[Path] | None = None
) -> list[Source]:
    """The pictures that command-line arguments stand for, each once, in their order.

    A folder stands for all files in it and in its folders that end like pictures, hidden ones aside.

    Args:
        given: files, folders, patterns with `*`, `?`, `[...]` and `**`, or '-' for the standard input.
        leave_out: a folder whose files are not taken from the folders above it (that of the results).
        skipped: gets the files in folders that do not end like pictures, hidden ones aside.
    """
    found: dict[Path | None, Source] = {}
    skipped = [] if skipped is None else skipped
    for argument in given:
        for source in _sources(argument, leave_out, skipped):
            key = None if source.path is None else source.path.absolute()
            found.setdefault(key, source)
    return list(found.values())


def _sources(argument: str, leave_out: Path | None, skipped: list[Path]) -> list[Source]:
    if argument == STANDARD_STREAM:
        return [Source(None, Path('stdin'))]
    path = Path(argument).expanduser()
    if path.is_dir():
        return _in_folder(path, leave_out, skipped) or [
            Source(path, Path(path.name), f'the folder holds no pictures (accepted: {", ".join(SUFFIXES)})')
        ]
    if path.exists() or not glob.has_magic(argument):
        problem = None if path.exists() else f'there is no such file (looked from {os.getcwd()})'
        return [Source(path, Path(path.name), problem)]
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    files = [Source(match, Path(match.name)) for match in matches if match.is_file()]
    return files or [Source(path, Path('pattern'), f'no file fits the pattern (looked from {os.getcwd()})')]


def _in_folder(folder: Path, leave_out: Path | None, skipped: list[Path]) -> list[Source]:
    sources = []
    for path in sorted(folder.rglob('*')):
        name = path.relative_to(folder)
        hidden = any(part.startswith('.') for part in name.parts)
        result = leave_out is not None and leave_out.resolve() in path.resolve().parents
        is_below = leave_out is not None and folder.resolve() in leave_out.resolve().parents
        if path.is_file() and not hidden and not (result and is_below):
            if path.suffix.lower() in SUFFIXES:
                sources.append(Source(path, name))
            else:
                skipped.append(path)
    return sources
