"""The work itself: picture after picture, where the failure of one does not stop the others."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from gsasr_plugin.free_memory import give_back
from gsasr_plugin.upscaling.estimate import OUT_OF_MEMORY, beyond_memory, completes
from gsasr_plugin.upscaling.pictures.formats import FORMATS
from gsasr_plugin.upscaling.pictures.picture import Picture, PictureError
from gsasr_plugin.upscaling.pictures.reading import read_picture
from gsasr_plugin.upscaling.pictures.writing import write_picture
from gsasr_plugin.upscaling.plan import PictureJob
from gsasr_plugin.upscaling.upscaler import PixelsDone, Upscaler, no_progress


@dataclass
class Outcome:
    """What became of the pictures: files written, failures and remarks by the picture's name."""

    written: list[Path | None] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[tuple[str, str]] = field(default_factory=list)


def upscale_pictures(
    upscaler: Upscaler,
    jobs: list[PictureJob],
    *,
    one_encoding: bool = False,
    quality: int,
    progress: PixelsDone = no_progress,
    begin: Callable[[PictureJob], None] = lambda job: None,
) -> Outcome:
    """Upscales pictures; each file appears whole or not at all.

    Args:
        one_encoding: see `Upscaler.tensors`.
        quality: of JPEG and WebP files.
        progress: see `Upscaler.gaussians`.
        begin: called with each job when its turn comes.
    """
    outcome = Outcome()
    for job in jobs:
        begin(job)
        too_large = beyond_memory([output.size for output in job.outputs], completed=completes(upscaler))
        if too_large:
            outcome.failures.append((str(job.source), too_large))
            continue
        try:
            picture = read_picture(job.content)
            outcome.remarks += [
                (str(job.source), remark) for remark in (*picture.remarks, *_losses(picture, job.format))
            ]
            sizes = [output.size for output in job.outputs]
            results = upscaler.pixels(picture.color, picture.alpha, sizes, one_encoding=one_encoding, progress=progress)
            for output, (color, alpha) in zip(job.outputs, results):
                metadata = picture.metadata.of_size(output.size)
                large = dataclasses.replace(picture, color=color, alpha=alpha, format=job.format, metadata=metadata)
                write_picture(large, output.path, quality=quality)
                outcome.written.append(output.path)
        except PictureError as error:
            outcome.failures.append((str(job.source), str(error)))
        except OSError as error:
            outcome.failures.append((str(job.source), f'the result cannot be written: {error}'))
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            outcome.failures.append((str(job.source), OUT_OF_MEMORY))
            give_back(upscaler.device)
    return outcome


def _losses(picture: Picture, format: str) -> list[str]:
    """What the format does not keep."""
    if picture.bits == 16 and not FORMATS[format].deep:
        return [f'its 16 bits become 8: {format} files hold no more']
    return []


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
