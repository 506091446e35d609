"""Limits that libraries set to pictures, lifted: what is too large is told by our own, which know the memory."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageFile, PngImagePlugin

TEXT_BYTES = 1 << 28  # of a PNG's texts, unpacked

_lock = threading.Lock()
_users = 0
_before: tuple[int | None, int, int] = (None, 0, 0)


@contextmanager
def without_library_limits() -> Iterator[None]:
    """Pillow opens pictures of any size and with long texts, until the last of those who asked is done."""
    global _users, _before
    with _lock:
        if _users == 0:
            _before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = (
                None,
                TEXT_BYTES,
                TEXT_BYTES,
            )
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = _before


@contextmanager
def with_truncated_files() -> Iterator[None]:
    """Pillow gives what there is of a file that ends too soon."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before
