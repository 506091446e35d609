"""The pixels of a data set's images, decoded each time or kept: in memory, or in a folder of the disk."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gsasr_plugin.data.decoded_images import DecodedImages
from gsasr_plugin.data.image_files import ImageFile, read_image
from gsasr_plugin.run_errors import DataError

DECODING_THREADS = 4
CACHE_DIR = 'decoded_images'  # below the current folder


class ImageReader:
    """Reads images, and keeps them as `cache` and `cache_dir` say; see `ArbitraryScalePairedDatasetOptions`.

    With `cache: memory`, forked workers share what was read before.
    """

    def __init__(self, cache: Literal['none', 'memory', 'disk'], cache_dir: str | None = None) -> None:
        self.keeps = cache == 'memory'
        self._in_memory: dict[ImageFile, np.ndarray] = {}
        self._on_disk = DecodedImages(Path(cache_dir or CACHE_DIR).expanduser()) if cache == 'disk' else None

    def __getstate__(self) -> dict[str, Any]:
        # Spawned workers fill a cache of their own rather than receive gigabytes through a pipe.
        return {**self.__dict__, '_in_memory': {}}

    def read(self, file: ImageFile) -> np.ndarray:
        """The pixels (H, W, 3), uint8 or uint16, RGB, upright; not to be written to.

        Raises:
            DataError: the image cannot be read.
        """
        if self._on_disk is not None:
            return self._on_disk.read(file)
        image = self._in_memory.get(file)
        if image is None:
            image = read_image(file)
            if self.keeps:
                self._in_memory[file] = np.ascontiguousarray(image)  # for crops to be copied row by row
        return image

    def read_ahead(self, files: Sequence[ImageFile]) -> list[tuple[ImageFile, DataError]]:
        """Reads images that will be kept in memory, in threads, and tells which could not be read."""
        if not self.keeps:
            return []
        with ThreadPoolExecutor(DECODING_THREADS) as pool:
            errors = list(pool.map(self._error, files))
        return [(file, error) for file, error in zip(files, errors, strict=True) if error is not None]

    def _error(self, file: ImageFile) -> DataError | None:
        try:
            self.read(file)
        except DataError as error:
            return error
        return None
