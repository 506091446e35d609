"""Which pictures become which files, settled before any work is done."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from gsasr_plugin.sizes import Size
from gsasr_plugin.upscaling.pictures.formats import FORMATS, Format, format_of_path
from gsasr_plugin.upscaling.pictures.picture import PictureError
from gsasr_plugin.upscaling.pictures.reading import picture_header
from gsasr_plugin.upscaling.pictures.sources import STANDARD_STREAM, Source
from gsasr_plugin.upscaling.pictures.writing import cannot_hold
from gsasr_plugin.upscaling.target import Target


@dataclass(frozen=True)
class Output:
    """One file to write: (H, W), the path, None for the standard output, and the wish that led to the size."""

    size: Size
    path: Path | None
    target: Target


@dataclass(frozen=True)
class PictureJob:
    """One picture to read, and the files to make of it.

    Attributes:
        content: the file, or what the standard input gave.
        lq_size: (h, w).
        outputs: at least one.
    """

    source: Source
    content: Path | bytes
    lq_size: Size
    format: str
    outputs: tuple[Output, ...]


@dataclass
class Plan:
    """All jobs; the files that exist and are kept; and, by name, what cannot be done and why."""

    jobs: list[PictureJob] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Destination:
    """Where results go: the standard output, one file, or a folder.

    Attributes:
        path: the file or folder, None for the standard output.
        is_folder: whether the results are named after their pictures.
        format: chosen for all results; None for that of the file's name, or else of each picture.
    """

    path: Path | None
    is_folder: bool
    format: Format | None

    def file_of(self, name: Path, label: str, format: Format) -> Path | None:
        """The file of a result of the picture of that name; None for the standard output."""
        if self.path is None or not self.is_folder:
            return self.path
        return self.path / name.with_name(f'{name.stem}_{label}{format.suffixes[0]}')


def destination(out: str, results: int, format_name: str | None) -> Destination:
    """What `-o OUT` and `--format` mean for that many results.

    Raises:
        ValueError: several results for one file, or an ending that is not accepted or not that of the format.
    """
    format = FORMATS[format_name] if format_name else None
    if out == STANDARD_STREAM:
        if results > 1:
            raise ValueError(f'the standard output takes one result, not {results}: name a folder')
        return Destination(None, False, format)
    path = Path(out).expanduser()
    named = format_of_path(path)
    if path.is_dir() or out.endswith(('/', '\\')) or (named is None and not _ends_like_a_picture(path)):
        return Destination(path, True, format)
    if named is None:
        endings = ', '.join(suffix for known in FORMATS.values() for suffix in known.suffixes)
        raise ValueError(f'{out} ends in {path.suffix}; accepted: {endings}, or the name of a folder')
    if results > 1:
        raise ValueError(f'{out} is one file, and there are {results} results: name a folder')
    if format is not None and format != named:
        raise ValueError(f'{out} is the name of a {named.name} file, and the format {format.name} was chosen')
    return Destination(path, False, named)


def _ends_like_a_picture(path: Path) -> bool:
    return path.suffix.lower() in Image.registered_extensions()


def make_plan(
    sources: Sequence[Source],
    targets: Sequence[Target],
    destination: Destination,
    *,
    overwrite: bool,
    max_pixels: float | None = None,
) -> Plan:
    """Reads the headers of the pictures, and settles sizes and names.

    Args:
        max_pixels: see `read_picture`.
    """
    plan = Plan()
    pictures = {source.path.resolve(): source for source in sources if source.path is not None}
    taken: dict[Path, str] = {}  # by whom
    for source in sources:
        if source.problem is not None:
            plan.failures.append((str(source), source.problem))
            continue
        try:
            content = source.content()
            header = picture_header(content, max_pixels=max_pixels)
            sizes = [(target, target.size_for(header.size)) for target in targets]
        except Exception as error:  # whatever one picture raises, the others are done
            plan.failures.append((str(source), told(error)))
            continue
        format = destination.format or FORMATS[header.format]
        outputs = []
        for target, size in sizes:
            path = destination.file_of(source.name, target.label(size), format)
            complaint = None if path is None else _complaint(path, source, taken)
            replaced = pictures.get(path.resolve()) if path is not None and overwrite else None
            if replaced is not None and not complaint:
                complaint = f'its result would replace another picture of the same command: {replaced}'
            complaint = complaint or cannot_hold(size, format.name, alpha=header.alpha)
            if complaint:
                plan.failures.append((str(source), complaint))
                continue
            if path is not None:
                taken[path] = str(source)
            if path is not None and path.exists() and not overwrite:
                plan.kept.append(path)
            else:
                outputs.append(Output(size, path, target))
        if outputs:
            plan.jobs.append(PictureJob(source, content, header.size, format.name, tuple(outputs)))
    return plan


def told(error: Exception) -> str:
    """An error of one picture, for messages."""
    if isinstance(error, PictureError) or type(error) is ValueError:
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f'{type(error).__name__}: {str(error).partition(chr(10))[0]}'


def _complaint(path: Path, source: Source, taken: dict[Path, str]) -> str | None:
    if path in taken:
        return f'its result would have the name of that of {taken[path]}: {path}'
    if source.path is not None and path.resolve() == source.path.resolve():
        return 'its result would replace the picture itself'
    if path.is_dir():
        return f'its result would have the name of a folder: {path}'
    return None
