"""Finding pictures: files, folders, patterns, and the standard input."""

import glob
import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gsasr_plugin.upscaling.pictures.formats import SUFFIXES

STANDARD_STREAM = '-'


@dataclass(frozen=True)
class Source:
    """Where a picture is.

    Attributes:
        path: the file; None for the standard input.
        name: a relative path that tells it from the others: below the folder that was named, or the one before the part
            of a pattern that may be several, if that has `**`; else the file's name.
        problem: why there is nothing to read, for messages; None where there is.
        named: whether the user named the very file, not a folder or a pattern.
    """

    path: Path | None
    name: Path
    problem: str | None = None
    named: bool = True

    def __str__(self) -> str:
        return 'standard input' if self.path is None else str(self.path)

    def content(self) -> Path | bytes:
        """What `read_picture` takes: the file, or all of the standard input, which can be read once.

        Raises:
            ValueError: the standard input is closed.
        """
        if self.path is None and sys.stdin is None:
            raise ValueError('it is closed')
        return sys.stdin.buffer.read() if self.path is None else self.path


def find_sources(
    given: Iterable[str],
    *,
    leave_out: Path | None = None,
    skipped: list[Path] | None = None,
    recursive: bool = True,
) -> list[Source]:
    """The pictures that command-line arguments stand for, each once, in their order.

    A folder stands for all files in it and in its folders that end like pictures, hidden ones aside.

    Args:
        given: files, folders, patterns with `*`, `?`, `[...]` and `**`, or '-' for the standard input.
        leave_out: a folder whose files are not taken from the folders above it (that of the results).
        skipped: gets the files in folders that do not end like pictures, hidden ones aside.
        recursive: whether a folder stands for the files in its folders, too.
    """
    found: dict[Path | None, Source] = {}
    skipped = [] if skipped is None else skipped
    for argument in given:
        for source in _sources(argument, leave_out, skipped, recursive):
            key = None if source.path is None else source.path.absolute()
            found.setdefault(key, source)
    return list(found.values())


def _sources(argument: str, leave_out: Path | None, skipped: list[Path], recursive: bool) -> list[Source]:
    if argument == STANDARD_STREAM:
        return [Source(None, Path('stdin'))]
    path = Path(argument).expanduser()
    if path.is_dir():
        return _in_folder(path, leave_out, skipped, recursive) or [
            Source(path, Path(path.name), f'the folder holds no pictures (accepted: {", ".join(SUFFIXES)})')
        ]
    if path.exists() or not glob.has_magic(argument):
        problem = None if path.exists() else f'there is no such file (looked from {os.getcwd()})'
        return [Source(path, Path(path.name), problem)]
    top = _fixed_part(path)
    files = [
        Source(match, match.relative_to(top) if '**' in path.parts else Path(match.name), named=False)
        for match in sorted(_matches(str(path)))
        if match.is_file()
    ]
    return files or [Source(path, Path('pattern'), f'no file fits the pattern (looked from {os.getcwd()})')]


def _fixed_part(pattern: Path) -> Path:
    """The folder before the first part of a pattern that may be several."""
    fixed = itertools.takewhile(lambda part: not glob.has_magic(part), pattern.parts)
    return Path(*fixed)


def _matches(pattern: str) -> set[Path]:
    """The paths that a pattern stands for; `**` stands for each folder once, also where links lead to it again."""
    parts = Path(pattern).parts
    if '**' not in parts:
        return {Path(match) for match in glob.glob(pattern)}
    place = parts.index('**')
    found = set()
    for top in glob.glob(str(Path(*parts[:place]))):
        for folder in _folders(Path(top)):
            rest = parts[place + 1 :] or ('*',)
            found |= _matches(str(Path(glob.escape(str(folder)), *rest)))
    return found


def _folders(top: Path) -> Iterator[Path]:
    """A folder and all below it, hidden ones aside, each once: by its shortest name, and rather not by a link."""
    seen, waiting = set(), [top]
    for folder in waiting:
        if (real := folder.resolve()) in seen:
            continue
        seen.add(real)
        yield folder
        with suppress(OSError):  # it may not be read
            below = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith('.')]
            waiting += sorted(below, key=lambda path: (path.is_symlink(), path))


def _in_folder(folder: Path, leave_out: Path | None, skipped: list[Path], recursive: bool) -> list[Source]:
    sources = []
    for path in sorted(folder.rglob('*') if recursive else folder.iterdir()):
        name = path.relative_to(folder)
        hidden = any(part.startswith('.') for part in name.parts)
        result = leave_out is not None and leave_out.resolve() in path.resolve().parents
        is_below = leave_out is not None and folder.resolve() in leave_out.resolve().parents
        if path.is_file() and not hidden and not (result and is_below):
            if path.suffix.lower() in SUFFIXES:
                sources.append(Source(path, name, named=False))
            else:
                skipped.append(path)
    return sources
