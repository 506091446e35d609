"""Which pictures become which files, settled before any work is done."""

import mimetypes
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from gsasr_plugin.sizes import Size
from gsasr_plugin.upscaling.names import NameTemplate
from gsasr_plugin.upscaling.pictures.formats import FORMATS, Format, format_of_path
from gsasr_plugin.upscaling.pictures.picture import PictureError
from gsasr_plugin.upscaling.pictures.reading import picture_header, read_picture
from gsasr_plugin.upscaling.pictures.sources import STANDARD_STREAM, Source
from gsasr_plugin.upscaling.pictures.writing import cannot_hold
from gsasr_plugin.upscaling.target import Target
from gsasr_plugin.whole_file import existing_folder

TRIAL_BYTES = 1 << 16


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
        frames: how many pictures of the file are enlarged.
        max_pixels: of each, see `read_picture`.
        level_bytes: of a pixel of the results, at least, before it is compressed.
        lossless: whether WebP files of it are without loss.
    """

    source: Source
    content: Path | bytes
    lq_size: Size
    format: str
    outputs: tuple[Output, ...]
    frames: int = 1
    max_pixels: float | None = None
    level_bytes: int = 1
    lossless: bool = False

    @property
    def pixels(self) -> int:
        """Of all its pictures, which may be of several sizes, as if they were of one."""
        return self.lq_size[0] * self.lq_size[1] * self.frames

    @property
    def results(self) -> list[tuple[Size, str]]:
        """Size and format of each output."""
        return [(output.size, self.format) for output in self.outputs]


@dataclass
class Plan:
    """All jobs; the files that exist and are kept; and, by name, what cannot be done and why, and remarks."""

    jobs: list[PictureJob] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[tuple[str, str]] = field(default_factory=list)


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

    def file_of(self, name: Path, format: Format) -> Path | None:
        """The file of a result of that name, below the folder and without its ending; None for the standard output."""
        if self.path is None or not self.is_folder:
            return self.path
        return self.path / name.with_name(name.name + format.suffixes[0])


def destination(out: str, results: int, format_name: str | None) -> Destination:
    """What `-o OUT` and `--format` mean for that many results.

    Raises:
        ValueError: several results for one file, or an ending that is not accepted or not that of the format.
    """
    format = FORMATS[format_name] if format_name else None
    if out == STANDARD_STREAM:
        if sys.stdout is None:
            raise ValueError('the standard output is closed')
        if results > 1:
            raise ValueError(f'the standard output takes one result, not {results}: name a folder')
        return Destination(None, False, format)
    if not out:
        raise ValueError('the name is empty; the current folder is ./')
    path = Path(out).expanduser()
    named = format_of_path(path)
    if path.is_dir() or out.endswith(('/', '\\')) or (named is None and not _ends_like_a_file(path)):
        return Destination(path, True, format)
    if named is None:
        endings = ', '.join(suffix for known in FORMATS.values() for suffix in known.suffixes)
        raise ValueError(f'{out} ends in {path.suffix}; accepted: {endings}, or the name of a folder, such as {out}/')
    if results > 1:
        raise ValueError(f'{out} is one file, and there are {results} results: name a folder')
    if format is not None and format != named:
        raise ValueError(f'{out} is the name of a {named.name} file, and the format {format.name} was chosen')
    return Destination(path, False, named)


def _ends_like_a_file(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in Image.registered_extensions() or suffix in mimetypes.MimeTypes().types_map[True]


def check_target(plan: Plan) -> None:
    """Writes where the results go to, and leaves nothing there: what cannot be written should not be computed first.

    Raises:
        ValueError: it fails, because of rights or a full disk; the message names the folder.
    """
    paths = [output.path for job in plan.jobs for output in job.outputs if output.path is not None]
    for folder in dict.fromkeys(existing_folder(path.parent) for path in paths):
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(TRIAL_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ValueError(f'no file can be written to {folder}: {error.strerror or error}') from None


def make_plan(
    sources: Sequence[Source],
    targets: Sequence[Target],
    destination: Destination,
    *,
    overwrite: bool,
    max_pixels: float | None = None,
    names: NameTemplate | None = None,
    background: bool = False,
    all_frames: bool = False,
    lossless: bool | None = None,
) -> Plan:
    """Reads the headers of the pictures, and settles sizes and names.

    Args:
        max_pixels: see `read_picture`.
        names: of results in a folder.
        background: whether there is one for pictures whose format holds no alpha.
        all_frames: of animations and pages all pictures, not the first.
        lossless: whether WebP files are without loss; None: as those are that are read.

    Raises:
        ValueError: several results of one picture would have one name.
    """
    plan, names = Plan(), names or NameTemplate()
    sources = _without_results(sources, destination, names, plan)
    pictures = {source.path.resolve(): source for source in sources if source.path is not None}
    taken: dict[Path, Source] = {}  # by whom
    for number, source in enumerate(sources, 1):
        try:
            if source.problem is not None:
                raise PictureError(source.problem)
            content = source.content()
            header = picture_header(content, max_pixels=max_pixels)
            sizes = [(target, target.size_for(header.size)) for target in targets]
        except Exception as error:  # whatever one picture raises, the others are done
            plan.failures.append((str(source), told(error)))
            continue
        frames = header.frames if all_frames else 1
        format = destination.format or FORMATS[header.frames_format if frames > 1 else header.format]
        levels = header.level_bytes(format)
        alpha = header.alpha and not background and not (format.alpha or _is_opaque(content, max_pixels))
        outputs = []
        for target, size in sizes:
            name = names.of(source.name.stem, target, size, header.size, number)
            path = destination.file_of(source.name.with_name(name), format)
            complaint = None if path is None else _complaint(path, source, taken, pictures, overwrite)
            complaint = complaint or cannot_hold(size, format.name, alpha=alpha, frames=frames, level_bytes=levels)
            if path is not None and not complaint:
                taken[path] = source
            if complaint:
                plan.failures.append((str(source), complaint))
            elif path is not None and path.exists() and not overwrite:
                plan.kept.append(path)
            else:
                outputs.append(Output(size, path, target))
        if outputs:
            about = (header.size, format.name, tuple(outputs), frames, max_pixels, levels)
            plan.jobs.append(PictureJob(source, content, *about, header.lossless if lossless is None else lossless))
    return plan


def _without_results(
    sources: Sequence[Source], destination: Destination, names: NameTemplate, plan: Plan
) -> list[Source]:
    """Leaves out, with a remark, what looks like the result of another picture beside it, if results go there again.

    Pictures that the user named one by one stay.
    """
    results = names.results_among(sources) if destination.is_folder else {}
    left = []
    for source in sources:
        original = results.get(source)
        place = None if destination.path is None else destination.path / source.name
        here = place is not None and source.path is not None and place.resolve() == source.path.resolve()
        if original is None or source.named or not here:
            left.append(source)
        else:
            plan.remarks.append((str(source), f'left out, as the result of {original}; by its own name it is enlarged'))
    return left


def _is_opaque(content: Path | bytes, max_pixels: float | None) -> bool:
    """Whether the alpha channel of a picture says nothing, which its pixels tell; False where they cannot be read."""
    try:
        alpha = read_picture(content, max_pixels=max_pixels).alpha
    except Exception:
        return False
    return alpha is None or not (alpha < 1).any()


def told(error: Exception) -> str:
    """An error of one picture, for messages."""
    if isinstance(error, PictureError) or type(error) is ValueError:
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f'{type(error).__name__}: {str(error).partition(chr(10))[0]}'


def _complaint(
    path: Path, source: Source, taken: dict[Path, Source], pictures: dict[Path, Source], overwrite: bool
) -> str | None:
    """Why a result of a picture cannot have that path, None where it can."""
    if taken.get(path) is source:
        raise ValueError(
            f'two results of {source} would have one name, {path}: {{label}} or {{scale}} tells them apart'
        )
    if path in taken:
        return f'its result would have the name of that of {taken[path]}: {path}'
    if source.path is not None and path.resolve() == source.path.resolve():
        return 'its result would replace the picture itself'
    if path.is_dir():
        return f'its result would have the name of a folder: {path}'
    if overwrite and path.resolve() in pictures:
        return f'its result would replace another picture of the same command: {pictures[path.resolve()]}'
    return None
