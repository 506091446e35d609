"""The work itself: picture after picture, where the failure of one does not stop the others."""

import dataclasses
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from gsasr_plugin.free_memory import give_back
from gsasr_plugin.upscaling.estimate import OUT_OF_MEMORY, beyond_memory, completes
from gsasr_plugin.upscaling.pictures.picture import Picture
from gsasr_plugin.upscaling.pictures.reading import read_picture
from gsasr_plugin.upscaling.pictures.writing import losses, write_picture
from gsasr_plugin.upscaling.plan import Output, PictureJob, Plan, told
from gsasr_plugin.upscaling.upscaler import PixelsDone, Upscaler, no_progress


@dataclass
class Outcome:
    """What became of the pictures: files written, failures and remarks by the picture's name."""

    written: list[Path | None] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class BatchOptions:
    """How all pictures are read, enlarged and written.

    Attributes:
        one_encoding: see `Upscaler.tensors`.
        quality: see `encode_picture`.
        lossless: whether WebP files are written without loss.
        fill_hidden: see `Upscaler.pixels`.
        strip: whether results get no metadata but what their colours depend on.
        max_pixels: see `read_picture`.
    """

    one_encoding: bool = False
    quality: int | None = None
    lossless: bool = False
    fill_hidden: bool = True
    strip: bool = False
    max_pixels: float | None = None


def refuse_beyond_memory(plan: Plan, upscaler: Upscaler, max_pixels: float | None = None) -> None:
    """Moves to the failures what does not fit into memory: the same before a run and in its stead."""
    jobs, plan.jobs = plan.jobs, []
    for job in jobs:
        problem = beyond_memory(
            [output.size for output in job.outputs],
            lq_size=job.lq_size if max_pixels is None else (0, 0),
            completed=completes(upscaler),
        )
        if problem:
            plan.failures.append((str(job.source), problem))
        else:
            plan.jobs.append(job)


def upscale_pictures(
    upscaler: Upscaler,
    jobs: list[PictureJob],
    options: BatchOptions,
    *,
    progress: PixelsDone = no_progress,
    begin: Callable[[PictureJob], None] = lambda job: None,
) -> Outcome:
    """Upscales pictures; each file appears whole or not at all. What one picture raises does not stop the others.

    Args:
        progress: see `Upscaler.gaussians`.
        begin: called with each job when its turn comes.

    Raises:
        RuntimeError: what the network raised at every picture, the first of them: that is no picture's fault.
    """
    outcome = Outcome()
    unexpected: list[RuntimeError] = []
    for job in jobs:
        begin(job)
        try:
            _upscale_picture(upscaler, job, options, outcome, progress)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not _is_out_of_memory(error):
                traceback.clear_frames(error.__traceback__)  # which hold the picture's tensors
                unexpected.append(error)
                outcome.failures.append((str(job.source), told(error)))
            else:
                outcome.failures.append((str(job.source), OUT_OF_MEMORY))
                give_back(upscaler.device)
    if unexpected and len(unexpected) == len(jobs) and not outcome.written:
        raise unexpected[0]
    return outcome


def _upscale_picture(
    upscaler: Upscaler, job: PictureJob, options: BatchOptions, outcome: Outcome, progress: PixelsDone
) -> None:
    try:
        picture = read_picture(job.content, max_pixels=options.max_pixels)
        outputs = _asked_of(picture, job)
    except MemoryError:
        raise
    except Exception as error:
        outcome.failures.append((str(job.source), told(error)))
        return
    outcome.remarks += [(str(job.source), remark) for remark in picture.remarks]
    results = upscaler.pixels(
        picture.color,
        picture.alpha,
        [output.size for output in outputs],
        one_encoding=options.one_encoding,
        progress=progress,
        fill_hidden=options.fill_hidden,
    )
    metadata = picture.metadata.stripped() if options.strip else picture.metadata
    for number, (output, (color, alpha)) in enumerate(zip(outputs, results)):
        try:
            large = dataclasses.replace(
                picture,
                color=color,
                alpha=alpha,
                format=job.format,
                metadata=metadata.of_size(output.size),
                lossless=picture.lossless or options.lossless,
            )
            outcome.remarks += [(str(job.source), loss) for loss in losses(large) if number == 0]
            write_picture(large, output.path, quality=options.quality)
            outcome.written.append(output.path)
        except MemoryError:
            raise
        except Exception as error:  # each of the encoders has its own
            outcome.failures.append((str(job.source), f'the result cannot be written: {told(error)}'))


def _asked_of(picture: Picture, job: PictureJob) -> list[Output]:
    """The files to make, for the size of the picture as it was read: a header may promise another."""
    if picture.size == job.lq_size:
        return list(job.outputs)
    return [dataclasses.replace(output, size=output.target.size_for(picture.size)) for output in job.outputs]


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
