"""The work itself: reading, network and writing of several pictures at once.

The failure of one does not stop the others.
"""

import dataclasses
import errno
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from gsasr_plugin.archs.tile_memory import free_budget
from gsasr_plugin.free_memory import give_back, keep_freed_memory
from gsasr_plugin.precision import each_within
from gsasr_plugin.upscaling.animations import upscale_frames
from gsasr_plugin.upscaling.disk_room import DiskRoom
from gsasr_plugin.upscaling.estimate import OUT_OF_MEMORY, needed_bytes, results_beyond_memory
from gsasr_plugin.upscaling.lanes import Gate, in_lanes
from gsasr_plugin.upscaling.pictures.formats import LOSSY
from gsasr_plugin.upscaling.pictures.picture import Picture
from gsasr_plugin.upscaling.pictures.reading import read_picture
from gsasr_plugin.upscaling.pictures.writing import Color, as_result, fit_for_format, losses, write_bands
from gsasr_plugin.upscaling.plan import Output, PictureJob, Plan, told
from gsasr_plugin.upscaling.upscaler import PixelsDone, Upscaler, no_progress

# Of pictures that take turns at the network: one is read and one written meanwhile.
MOST_IN_TURN = 3
# Errors after which no further result needs to be computed.
NO_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class _NoPlaceError(Exception):
    """No further file can be written."""


@dataclass
class Outcome:
    """What became of the pictures.

    Attributes:
        written: files.
        failures: by the picture's name.
        remarks: likewise.
        undone: how many pictures were not done, or not wholly, when the run ended before its time.
        interrupted: whether Ctrl-C ended it.
    """

    written: list[Path | None] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[tuple[str, str]] = field(default_factory=list)
    undone: int = 0
    interrupted: bool = False


@dataclass(frozen=True)
class BatchOptions:
    """How all pictures are read, enlarged and written.

    Attributes:
        one_encoding: see `Upscaler.tensors`.
        quality: see `encode_picture`.
        lossless: whether WebP files are written without loss.
        fill_hidden: see `Upscaler.pixels`.
        strip: whether results get no metadata but what their colours depend on.
        background: see `fit_for_format`.
    """

    one_encoding: bool = False
    quality: int | None = None
    lossless: bool = False
    fill_hidden: bool = True
    strip: bool = False
    background: Color | None = None


def refuse_what_does_not_fit(plan: Plan, upscaler: Upscaler) -> None:
    """Moves to the failures what does not fit into memory, or onto the disk: the same before a run and in its stead."""
    jobs, plan.jobs = plan.jobs, []
    room = DiskRoom()
    for job in jobs:
        read = job.max_pixels is None
        problem = results_beyond_memory(
            upscaler, job.lq_size, job.results, read=read, frames=job.frames, lossless=job.lossless
        )
        for output in job.outputs if job.frames == 1 else ():  # frames are encoded in memory
            problem = problem or room.refusal(output.size, job.format, output.path, job.level_bytes)
        if problem:
            plan.failures.append((str(job.source), problem))
        else:
            plan.jobs.append(job)


def upscale_pictures(
    upscaler: Upscaler,
    jobs: Sequence[PictureJob],
    options: BatchOptions,
    *,
    progress: PixelsDone = no_progress,
    done: Callable[[PictureJob], None] = lambda job: None,
) -> Outcome:
    """Upscales pictures; each file appears whole or not at all. What one picture raises does not stop the others.

    Several are worked on at once, where the memory holds them: see `_Lot`. Ctrl-C and a full disk end all of them, and
    what is known by then is returned.

    Args:
        progress: see `Upscaler.gaussians`; called by one thread at a time, in total with all pixels of each picture
            that is done, failed ones too.
        done: called with each job that is done, likewise.

    Raises:
        RuntimeError: what the network raised at every picture, the first of them: that is no picture's fault.
    """
    run = _Run(upscaler, options, progress, done)
    interrupted = False
    try:
        for lot in _lots(upscaler, list(enumerate(jobs))):
            run.work_off(lot)
    except KeyboardInterrupt:
        interrupted = True
    except _NoPlaceError:
        pass  # which is among the failures
    if len(run.unexpected) == len(jobs) > 0 and not any(outcome.written for outcome in run.outcomes.values()):
        raise run.unexpected[min(run.unexpected)]
    total = Outcome(undone=len(jobs) - run.ended, interrupted=interrupted)
    for _, outcome in sorted(run.outcomes.items()):  # in the order of the pictures, whichever was done first
        total.written += outcome.written
        total.failures += outcome.failures
        total.remarks += outcome.remarks
    return total


@dataclass(frozen=True)
class _Lot:
    """Pictures that are worked on in the same way.

    Attributes:
        jobs: with their numbers.
        lanes: how many pictures are read, enlarged or written at the same time.
        networks: of how many of these the network sees one at the same time.
        threads: with which PyTorch computes for each of them.
        small: whether those that are worked on leave room for others.
    """

    jobs: list[tuple[int, PictureJob]]
    lanes: int
    networks: int
    threads: int
    small: bool


def _lots(upscaler: Upscaler, jobs: list[tuple[int, PictureJob]]) -> list[_Lot]:
    """Small pictures each in one thread, which wait for nobody; large ones, and the odd ones out, in all threads.

    Beside a network that computes, other pictures are read and written. All together keep within half of the free
    memory, where a single picture does.
    """
    threads = torch.get_num_threads()
    budget = free_budget(torch.device('cpu'))
    needed = [
        needed_bytes(upscaler, job.lq_size, job.results, frames=job.frames, lossless=job.lossless) for _, job in jobs
    ]
    small = [i for i in range(len(jobs)) if upscaler.device.type == 'cpu' and (threads + 1) * needed[i] <= budget]
    small = small[: len(small) // threads * threads]
    others = sorted(set(range(len(jobs))) - set(small))
    ahead = budget // max((needed[i] for i in others), default=1)
    lots = [
        _Lot([jobs[i] for i in small], threads + 1, threads, 1, small=True),
        _Lot([jobs[i] for i in others], max(1, min(int(ahead), MOST_IN_TURN)), 1, threads, small=False),
    ]
    return [lot for lot in lots if lot.jobs]


class _Run:
    """What the threads of a run share."""

    def __init__(
        self, upscaler: Upscaler, options: BatchOptions, progress: PixelsDone, done: Callable[[PictureJob], None]
    ) -> None:
        self.upscaler = upscaler
        self.options = options
        self.progress = progress
        self.done = done
        self.lock = threading.Lock()  # of those who watch
        self.network = Gate(1)
        self.ended = 0
        self.outcomes: dict[int, Outcome] = {}  # by number, as are the errors of the network
        self.unexpected: dict[int, RuntimeError] = {}

    def work_off(self, lot: _Lot) -> None:
        before = torch.get_num_threads()
        self.network = Gate(lot.networks)
        if lot.small and len(lot.jobs) > lot.lanes:
            keep_freed_memory()  # for the next picture
        torch.set_num_threads(lot.threads)  # for the threads that are started from now on
        try:
            in_lanes(self.do, lot.jobs, min(lot.lanes, len(lot.jobs)), self.network)
        finally:
            torch.set_num_threads(before)

    def do(self, numbered: tuple[int, PictureJob]) -> None:
        number, job = numbered
        outcome = self.outcomes[number] = Outcome()
        passes = self.upscaler.passes(len(job.outputs), one_encoding=self.options.one_encoding)
        left = float(job.pixels * passes)

        def progress(pixels: float) -> None:
            nonlocal left
            with self.lock:
                self.progress(min(pixels, left))
                left -= min(pixels, left)

        try:
            _upscale_picture(self.upscaler, job, self.options, outcome, progress, self.network)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not _is_out_of_memory(error):
                traceback.clear_frames(error.__traceback__)  # which hold the picture's tensors
                self.unexpected[number] = error
                outcome.failures.append((str(job.source), told(error)))
            else:
                outcome.failures.append((str(job.source), OUT_OF_MEMORY))
                give_back(self.upscaler.device)
        progress(left)
        with self.lock:
            self.ended += 1
            self.done(job)


def _upscale_picture(
    upscaler: Upscaler,
    job: PictureJob,
    options: BatchOptions,
    outcome: Outcome,
    progress: PixelsDone,
    network: Gate,
) -> None:
    """Reads a picture, enlarges it behind the gate to the network, and writes its results."""
    if job.frames > 1:
        _upscale_frames(upscaler, job, options, outcome, progress, network)
        return
    try:
        picture = read_picture(job.content, max_pixels=job.max_pixels)
        outputs = _asked_of(picture, job)
    except MemoryError:
        raise
    except Exception as error:
        outcome.failures.append((str(job.source), told(error)))
        return
    outcome.remarks += [(str(job.source), remark) for remark in picture.remarks]
    results = upscaler.pixel_bands(
        picture.color,
        picture.alpha,
        [output.size for output in outputs],
        one_encoding=options.one_encoding,
        progress=progress,
        fill_hidden=options.fill_hidden,
    )
    # Gaussians and bands are made behind the gate, one after another, and between them others may pass.
    for number, (output, bands) in enumerate(zip(outputs, each_within(lambda: network, results))):
        try:
            large = as_result(picture, output.size, job.format, strip=options.strip, lossless=options.lossless)
            large, rows = fit_for_format(large, each_within(lambda: network, bands), options.background)
            lost = losses(large)
            if options.lossless and job.format in LOSSY:
                lost.append(f'{job.format} files are not without loss: --format png or webp is')
            outcome.remarks += [(str(job.source), loss) for loss in lost if number == 0]
            write_bands(large, output.size, rows, output.path, quality=options.quality)
            outcome.written.append(output.path)
        except (MemoryError, RuntimeError):  # of the drawing, which goes on while the file is written
            raise
        except Exception as error:  # each of the encoders has its own
            _fail(job, outcome, error, f'the result cannot be written: {told(error)}')


def _upscale_frames(
    upscaler: Upscaler, job: PictureJob, options: BatchOptions, outcome: Outcome, progress: PixelsDone, network: Gate
) -> None:
    try:
        remarks = upscale_frames(
            upscaler,
            job,
            progress=progress,
            network=network,
            quality=options.quality,
            lossless=options.lossless,
            strip=options.strip,
            one_encoding=options.one_encoding,
            fill_hidden=options.fill_hidden,
        )
    except (MemoryError, RuntimeError):
        raise
    except Exception as error:
        _fail(job, outcome, error, told(error))
        return
    outcome.remarks += [(str(job.source), remark) for remark in remarks]
    outcome.written += [output.path for output in job.outputs]


def _fail(job: PictureJob, outcome: Outcome, error: Exception, words: str) -> None:
    outcome.failures.append((str(job.source), words))
    if isinstance(error, OSError) and error.errno in NO_PLACE:
        raise _NoPlaceError from error


def _asked_of(picture: Picture, job: PictureJob) -> list[Output]:
    """The files to make, for the size of the picture as it was read: a header may promise another."""
    if picture.size == job.lq_size:
        return list(job.outputs)
    return [dataclasses.replace(output, size=output.target.size_for(picture.size)) for output in job.outputs]


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
