"""Running jobs: in parallel, without those whose files are there, and with every file written whole."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2
import numpy as np
from tqdm import tqdm

from gsasr_plugin.benchmarking.prepare.jobs import Job
from gsasr_plugin.data.image_files import ImageFile
from gsasr_plugin.run_errors import CommandError
from gsasr_plugin.whole_file import write_whole

Item = TypeVar('Item')
Result = TypeVar('Result')

PNG_COMPRESSION = 3  # of 0..9: higher ones cost much more time than they save space


def run_jobs(jobs: Sequence[Job], *, workers: int, description: str) -> list[str]:
    """Makes the files of all jobs. Those whose files are there, and not older than the GT image, are left out.

    Args:
        jobs: what to make; no two of the same files.
        workers: how many processes; 1 works in this one.
        description: what the progress bar says.

    Returns:
        What went wrong, one message for each image that failed.
    """
    todo = [job for job in jobs if not is_done(job)]
    for folder in {output.parent for job in todo for output in job.outputs()}:
        folder.mkdir(parents=True, exist_ok=True)
    failures = []
    with tqdm(total=len(jobs), initial=len(jobs) - len(todo), desc=description, unit='image') as bar:
        for messages in in_processes(_run, todo, workers=workers):
            failures += messages
            bar.update()
    return failures


def in_processes(work: Callable[[Item], Result], items: Sequence[Item], *, workers: int) -> Iterator[Result]:
    """What `work` makes of each item, in their order, in so many processes; 1 works in this one."""
    if workers == 1 or len(items) < 2:
        yield from map(work, items)
        return
    # The processes share the cores: OpenCV takes one thread in each. In this one too: what is forked from one that has
    # more waits for ever, when it sets their number, for threads that it has not.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    pool = ProcessPoolExecutor(min(workers, len(items)), initializer=cv2.setNumThreads, initargs=(1,))
    try:
        yield from pool.map(work, items)
    except BrokenProcessPool as error:
        raise CommandError(
            '--workers: a process was killed, most often because the system had no memory left: take fewer; what is '
            'there already is not made again'
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)  # after an interruption: what is being written is finished
        cv2.setNumThreads(threads)


def is_done(job: Job) -> bool:
    """Whether all files of a job are there, none older than the GT image."""
    made = modified(job.source)
    try:
        return all(output.stat().st_mtime_ns >= made for output in job.outputs())
    except FileNotFoundError:
        return False


def modified(image: ImageFile) -> int:
    """When an image, or the database that holds it, was changed last, in nanoseconds."""
    return image.stored_in.stat().st_mtime_ns


def _run(job: Job) -> list[str]:
    """The message of what went wrong, if anything."""
    try:
        for output, image in zip(job.outputs(), job.images(), strict=True):
            write_whole(output, encoded(image))
    except (OSError, ValueError, cv2.error) as error:
        return [f'{job.source}: {error}']
    return []


def encoded(image: np.ndarray) -> bytes:
    """(H, W, 3), uint8 or uint16, RGB -> the content of a PNG file."""
    done, content = cv2.imencode(
        '.png', np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION]
    )
    if not done:
        raise ValueError(f'an image of {image.shape} cannot be written as PNG')
    return content.tobytes()
