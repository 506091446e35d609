"""Decoded images in files: each image is decoded once, and from then on only the rows that are needed are read.

An entry of the folder belongs to one image. It has a head, which tells the image's size and of which state of its file
it is, and then the pixels, row by row. It is mapped into memory: a crop reads its own rows, through the system's page
cache, which all processes of a machine share.
"""

import contextlib
import hashlib
import mmap
import os
import shutil
import struct
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from gsasr_plugin.data.image_files import ImageFile, read_image
from gsasr_plugin.data.log import warn
from gsasr_plugin.whole_file import STAGING, replacing

MAGIC = b'gsasr-2\0'
HEAD = struct.Struct('<8s4q')  # magic; H and W in pixels; bytes and time of change (ns) of the file that was decoded
KEPT_FREE = 5 * 2**30  # bytes of the disk that stay free, for checkpoints above all
LEFT_OVER_S = 3600  # age of unfinished files whose process must have been killed


class DecodedImages:
    """A folder of decoded images, filled as they are asked for; any number of processes may share it.

    Where it cannot be written to, or the disk is nearly full, the log says so once, and images without an entry are
    decoded each time.

    Args:
        folder: made if it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        # Shared with the workers of a loader: one of them finds out for all.
        self._is_closed = torch.zeros((), dtype=torch.bool).share_memory_()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass  # it can be written to
            self._remove_left_overs()
        except OSError as error:
            self._close(f'cannot be written to ({error.strerror})')

    def read(self, image: ImageFile) -> np.ndarray:
        """The pixels of an image (H, W, 3), RGB, as `read_image` gives them; perhaps read-only.

        Raises:
            DataError: there is no entry, and the image cannot be read.
        """
        try:
            state = _state(image)
        except OSError:
            return read_image(image)  # which says what is wrong
        path = self._path(image)
        pixels = _mapped(path, state)
        if pixels is None:
            pixels = read_image(image)
            if not self._is_closed:
                self._write(path, state, pixels)
        return pixels

    def _path(self, image: ImageFile) -> str:
        name = os.path.abspath(str(image))
        return f'{self.folder}{os.sep}{hashlib.sha256(os.fsencode(name)).hexdigest()[:32]}.rgb'

    def _write(self, path: str, state: tuple[int, int], pixels: np.ndarray) -> None:
        try:
            if shutil.disk_usage(self.folder).free - pixels.nbytes < KEPT_FREE:
                self._close(f'gets no more images: {KEPT_FREE / 2**30:g} GiB of its disk are kept free')
                return
            with replacing(Path(path)) as unfinished, unfinished.open('wb') as file:
                file.write(HEAD.pack(MAGIC, *pixels.shape[:2], *state))
                file.write(np.ascontiguousarray(pixels).data)
        except OSError as error:
            self._close(f'gets no more images ({error.strerror})')

    def _close(self, why: str) -> None:
        if not self._is_closed:
            self._is_closed.fill_(True)
            warn(
                f'the folder of decoded images, {self.folder}, {why}: images that are not in it are decoded each time. '
                'The option cache_dir names another folder'
            )

    def _remove_left_overs(self) -> None:
        for file in self.folder.glob(f'{STAGING}*'):
            with contextlib.suppress(FileNotFoundError):  # another process has finished or removed it
                if time.time() - file.stat().st_mtime > LEFT_OVER_S:
                    file.unlink()


def _state(image: ImageFile) -> tuple[int, int]:
    """Bytes and time of change (ns) of the file that holds an image."""
    found = image.stored_in.stat()
    return found.st_size, found.st_mtime_ns


def _mapped(path: str, state: tuple[int, int]) -> np.ndarray | None:
    """The pixels of an entry, mapped; None where it is absent, not whole, or of another state of its file."""
    try:
        with open(path, 'rb', buffering=0) as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        magic, height, width, *found = HEAD.unpack_from(content)
    except (OSError, ValueError, struct.error):  # not readable; empty; shorter than a head
        return None
    if magic != MAGIC or tuple(found) != state or min(height, width) < 1:
        return None
    types = {HEAD.size + height * width * 3 * np.dtype(kind).itemsize: kind for kind in (np.uint8, np.uint16)}
    kind = types.get(len(content))
    return None if kind is None else np.frombuffer(content, kind, offset=HEAD.size).reshape(height, width, 3)
