"""Rows of levels that wait on the disk, for encoders that want all of them."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gsasr_plugin.whole_file import STAGING

DESCRIPTORS = Path('/proc/self/fd')


@contextmanager
def waiting_rows(bands: Iterable[np.ndarray], folder: Path | None) -> Iterator[BinaryIO]:
    """A file of the rows, one behind the other, without a name where the system can do that: see `name_of`.

    Args:
        bands: (rows, W, channels), from the top.
        folder: where it is; None: that of temporary files.

    Raises:
        OSError: the folder is full.
    """
    make: Any = tempfile.TemporaryFile if DESCRIPTORS.is_dir() else tempfile.NamedTemporaryFile
    with make(dir=folder, prefix=STAGING) as file:
        for band in bands:
            file.write(np.ascontiguousarray(band).data)
        file.flush()
        yield file


def name_of(file: BinaryIO) -> str:
    """What libraries can open while the file is there."""
    return f'{DESCRIPTORS}/{file.fileno()}' if DESCRIPTORS.is_dir() else file.name
