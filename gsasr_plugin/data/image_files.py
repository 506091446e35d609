"""The images of a folder or of one of BasicSR's LMDBs: their list, their sizes, their pixels.

An LMDB is made by `gsasr prepare lmdb`, or by BasicSR's own `make_lmdb_from_imgs`: its keys are file names without
extension, and its `meta_info.txt` has a line `name.png (H,W,C) level` for each image.
"""

import logging
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from gsasr_plugin.data.data_roots import resolve_root
from gsasr_plugin.data.decoding import EXIF_ORIENTATION, EXIF_SIDEWAYS, UnseenError, decode
from gsasr_plugin.data.lmdb_values import lmdb_value
from gsasr_plugin.library_limits import without_library_limits
from gsasr_plugin.packaged_files import given_or_packaged
from gsasr_plugin.run_errors import DataError, MissingDataError
from gsasr_plugin.sizes import Size

Backend = Literal['disk', 'lmdb']

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm')
META_INFO_LINE = re.compile(r'^(?P<name>.+?)(?:\s+\((?P<height>\d+),\s*(?P<width>\d+),\s*\d+\).*)?$')
# Reading a header waits for the disk, not for the processor.
HEADER_THREADS = 16


class ImageFile(NamedTuple):
    """Where an image is.

    Attributes:
        root: folder or LMDB.
        path: the file's path, or the key in the LMDB.
        stem: name within the root without extension, `/` between folders; LR and GT of a pair are matched by it.
        recorded_size: (H, W) from the LMDB's meta_info.txt; None on disk, where the file itself is asked.
    """

    root: str
    path: str
    stem: str
    backend: Backend
    recorded_size: Size | None = None

    def __str__(self) -> str:
        return self.path if self.backend == 'disk' else f'{self.root}[{self.path}]'

    @property
    def stored_in(self) -> Path:
        """The file that holds it: its own, or the LMDB's, which changes when one is added to it or it is remade."""
        return Path(self.path) if self.backend == 'disk' else Path(self.root, 'data.mdb')


def backend_of(root: str) -> Backend:
    """What a root is by its name: a database where that ends in `.lmdb`, else a folder of files."""
    return 'lmdb' if root.rstrip('/').endswith('.lmdb') else 'disk'


def list_images(
    root: str, backend: Backend, meta_info_file: str | None = None, *, recursive: bool = False
) -> list[ImageFile]:
    """List the images of a root.

    Args:
        root: folder, LMDB (a folder whose name ends in `.lmdb`), or `package:NAME` (see `resolve_root`).
        meta_info_file: text file whose lines begin with the names to use, relative to the root, in this order; anything
            in brackets after a name is ignored. Without it all images of the root, sorted by name.
        recursive: search the sub-folders of a folder too.

    Raises:
        MissingDataError: the root, the meta_info_file, or an image it names does not exist.
        DataError: the root is of the other backend, has no images or cannot be read; an LMDB's keys lead out of it.
    """
    root = resolve_root(root)
    if backend != backend_of(root):
        raise DataError(
            f'dataroot {root!r} does not fit io_backend type {backend!r}: lmdb takes folders whose names end in .lmdb, '
            'disk any others'
        )
    images = (
        _lmdb_images(root)
        if backend == 'lmdb'
        else _folder_images(root, recursive=recursive or meta_info_file is not None)
    )
    if meta_info_file is not None:
        images = _select(images, root, meta_info_file)
    if not images:
        raise DataError(f'dataroot {root!r} has no images (known are {", ".join(IMAGE_SUFFIXES)})')
    return images


def _folder_images(root: str, *, recursive: bool) -> list[ImageFile]:
    names: list[str] = []
    ignored: list[str] = []
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=_raise_unreadable):
        relative = os.path.relpath(folder, root)
        for file in files:
            if not file.startswith('.'):
                known = file.lower().endswith(IMAGE_SUFFIXES)
                (names if known else ignored).append(os.path.normpath(os.path.join(relative, file)))
        if not recursive:
            break
        subfolders[:] = sorted(name for name in subfolders if not name.startswith('.'))
    if ignored and not recursive:
        # BasicSR's logger, without setting it up: it gets its file when a run begins, after the check of its options.
        logging.getLogger('basicsr').warning(f'{root}: not images, ignored: {list_some(sorted(ignored))}')
    return [ImageFile(root, os.path.join(root, name), _stem(name), 'disk') for name in sorted(names)]


def _raise_unreadable(error: OSError) -> None:
    raise DataError(f'folder {error.filename} cannot be read: {error.strerror}') from error


def _lmdb_images(root: str) -> list[ImageFile]:
    images = []
    outside = []
    for name, size in _meta_info_lines(os.path.join(root, 'meta_info.txt')):
        # BasicSR writes the key, which may have dots of its own, and appends '.png'.
        key = os.path.splitext(name)[0]
        images.append(ImageFile(root, key, key, 'lmdb', size))
        # Results are named by the key: it must not lead out of their folder.
        if os.path.isabs(key) or '\\' in key or '\0' in key or '..' in key.split('/'):
            outside.append(repr(key))
    if outside:
        raise DataError(f'{root}: keys that are no names within a folder are refused: {list_some(outside)}')
    return sorted(images, key=lambda image: image.path)


def _select(images: list[ImageFile], root: str, meta_info_file: str) -> list[ImageFile]:
    by_stem: dict[str, list[ImageFile]] = {}
    for image in images:
        by_stem.setdefault(image.stem, []).append(image)
    selected, missing = [], []
    for name, _ in _meta_info_lines(given_or_packaged(meta_info_file)):
        candidates = by_stem.get(_stem(name), [])
        exact = [image for image in candidates if image.path == os.path.join(root, name)]
        if exact or candidates:
            selected.append((exact or candidates)[0])
        else:
            missing.append(name)
    if missing:
        raise MissingDataError(
            f'meta_info_file {meta_info_file!r} names images that {root!r} lacks: {list_some(missing)}'
        )
    return selected


def _meta_info_lines(path: str) -> Iterator[tuple[str, Size | None]]:
    """Names and recorded sizes (H, W) of the lines of a meta information file."""
    if not os.path.isfile(path):
        raise MissingDataError(f'meta information file {path!r} does not exist (looked from {os.getcwd()})')
    with open(path, encoding='utf-8') as lines:
        for line in lines:
            match = META_INFO_LINE.match(line.strip())
            if match:
                height, width = match['height'], match['width']
                yield match['name'], (int(height), int(width)) if height else None


def _stem(name: str) -> str:
    return str(PurePosixPath(Path(name).as_posix()).with_suffix(''))


def image_sizes(images: list[ImageFile]) -> list[Size]:
    """Sizes (H, W) of images, upright, from their headers (in parallel) or from the LMDB's records.

    Raises:
        DataError: some files are not images that can be opened; all are named.
    """
    sizes = sizes_where_readable(images)
    bad = [str(image) for image, size in zip(images, sizes) if size is None]
    if bad:
        raise DataError(f'not readable as images: {list_some(bad)}')
    return [size for size in sizes if size is not None]


def sizes_where_readable(images: list[ImageFile]) -> list[Size | None]:
    """As `image_sizes`, with None for files that are not images that can be opened."""
    with without_library_limits(), ThreadPoolExecutor(HEADER_THREADS) as pool:
        return list(pool.map(_image_size, images))


def _image_size(image: ImageFile) -> Size | None:
    try:
        if image.backend == 'lmdb':
            return image.recorded_size or read_image(image).shape[:2]
        with Image.open(image.path) as header:
            width, height = header.size
            # PNG would be decoded to the end in search of EXIF; `info` has it where it stands in the header.
            orientation = header.getexif().get(EXIF_ORIENTATION) if 'exif' in header.info else None
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError):
        return _decoded_size(image)
    return (width, height) if orientation in EXIF_SIDEWAYS else (height, width)


def _decoded_size(image: ImageFile) -> Size | None:
    """That of an image that Pillow does not know."""
    try:
        return read_image(image).shape[:2]
    except DataError:
        return None


def read_image(image: ImageFile) -> np.ndarray:
    """Decode an image to (H, W, 3), uint8 or uint16, RGB, upright, without alpha; see `decode`.

    Raises:
        DataError: the file, or the value in the LMDB, is missing, empty, not an image, or wholly transparent.
    """
    content = read_bytes(image)
    if content is None:
        raise DataError(f'image {image}: the LMDB has no such key; its meta_info.txt does not belong to it')
    try:
        pixels = decode(content)
    except UnseenError as error:
        raise DataError(f'image {image} {error}') from error
    if pixels is None:
        raise DataError(f'image {image} cannot be decoded ({len(content)} bytes)')
    return pixels


def read_bytes(image: ImageFile) -> bytes | None:
    """The encoded image; None where the LMDB has no such key.

    Raises:
        DataError: the file, or the LMDB, cannot be read.
    """
    if image.backend == 'disk':
        try:
            return Path(image.path).read_bytes()
        except OSError as error:
            raise DataError(f'image {image} cannot be read: {error.strerror}') from error
    return lmdb_value(image.root, image.path)


def list_some(names: Iterable[str], limit: int = 20) -> str:
    """Names for a message, the first `limit` of them and how many more there are."""
    names = list(names)
    more = f' and {len(names) - limit} more' if len(names) > limit else ''
    return ', '.join(names[:limit]) + more
