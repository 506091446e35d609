"""Files of several pictures, enlarged frame after frame: one is in memory at a time."""

import dataclasses
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from gsasr_plugin.upscaling.pictures.frame_files import FrameFile, frame_file
from gsasr_plugin.upscaling.pictures.frames import Frame, read_frames
from gsasr_plugin.upscaling.pictures.picture import Picture, PictureError
from gsasr_plugin.upscaling.pictures.writing import as_result, encode_picture, losses
from gsasr_plugin.upscaling.plan import PictureJob
from gsasr_plugin.upscaling.upscaler import PixelsDone, Upscaler


def upscale_frames(
    upscaler: Upscaler,
    job: PictureJob,
    *,
    progress: PixelsDone,
    network: AbstractContextManager[Any],
    quality: int | None,
    lossless: bool,
    strip: bool,
    **options: Any,
) -> list[str]:
    """Enlarges all pictures of a file into as many of each result, which appear when all are done.

    Args:
        network: is held while the network is at work.
        quality, lossless, strip: see `BatchOptions`.
        options: of `Upscaler.pixels`.

    Returns:
        What could not be kept as it was, for messages.

    Raises:
        PictureError: one of them cannot be read, or a format cannot hold it.
    """
    remarks: list[str] = []
    with ExitStack() as opened:
        files: list[FrameFile] = []
        for number, frame in enumerate(_frames(job)):
            picture = frame.picture
            sizes = [output.target.size_for(picture.size) for output in job.outputs]
            with network:
                results = upscaler.pixels(picture.color, picture.alpha, sizes, progress=progress, **options)
            for output, size, (color, alpha) in zip(job.outputs, sizes, results):
                if number == 0:
                    new = frame_file(output.path, job.format, size, job.frames, frame.plays)
                    files.append(opened.enter_context(new))
                large = as_result(picture, size, job.format, strip=strip, lossless=lossless)
                large = dataclasses.replace(large, color=color, alpha=alpha)
                if number == 0 and not remarks:
                    remarks += [*picture.remarks, *losses(large)]
                files[job.outputs.index(output)].add(_encoded(large, quality), frame.duration)
    return remarks


def _frames(job: PictureJob) -> Iterator[Frame]:
    count = 0
    for frame in read_frames(job.content, max_pixels=job.max_pixels):
        count += 1
        yield frame
    if count != job.frames:
        raise PictureError(f'holds {count} pictures, and its beginning says {job.frames}')


def _encoded(picture: Picture, quality: int | None) -> bytes:
    """As a file of its own. Pages of a TIFF file have their numbers in one order of bytes, whatever their EXIF data."""
    if picture.format == 'TIFF' and picture.metadata.exif:
        exif = picture.metadata.parsed_exif().in_order('<').tobytes()
        picture = dataclasses.replace(picture, metadata=dataclasses.replace(picture.metadata, exif=exif))
    return encode_picture(picture, quality=quality)
