"""Rows of levels that wait on the disk, for encoders that want all of them."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from gsasr_plugin.whole_file import STAGING


@contextmanager
def waiting_rows(bands: Iterable[np.ndarray], folder: Path | None) -> Iterator[IO[bytes]]:
    """A file of the rows, one behind the other, without a name where the system can do that.

    Args:
        bands: (rows, W, channels), from the top.
        folder: where it is; None: that of temporary files.

    Raises:
        OSError: the folder is full.
    """
    with tempfile.TemporaryFile(dir=folder, prefix=STAGING) as file:
        for band in bands:
            file.write(np.ascontiguousarray(band).data)
        file.flush()
        yield file
