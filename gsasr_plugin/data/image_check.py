"""The check of all images of a data set, down to the last pixel: what can be read at all, and read right."""

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from gsasr_plugin.data.data_roots import resolve_root
from gsasr_plugin.data.image_files import ImageFile, list_images, list_some, read_bytes, read_image
from gsasr_plugin.data.lmdb_values import lmdb_keys
from gsasr_plugin.library_limits import without_library_limits
from gsasr_plugin.run_errors import DataError

KEYS_SHOWN = 5  # of those that an LMDB and its index do not share


def check_images(images: Sequence[ImageFile], *, progress: str | None = None) -> dict[ImageFile, str]:
    """Decodes images, in threads, and says what is wrong with those that cannot be used.

    Args:
        progress: name of a progress bar on stderr, shown on a terminal; None for none.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        faults = tqdm(
            pool.map(_fault, images),
            total=len(images),
            desc=f'checking {progress}',
            unit='image',
            disable=True if progress is None else None,
        )
        # The bar first: zip stops at the end of its first argument, and only so the bar is told of the last image.
        return {image: fault for fault, image in zip(faults, images) if fault is not None}


def _fault(image: ImageFile) -> str | None:
    """What is wrong with an image, or None."""
    try:
        content = read_bytes(image)
        if content is None:
            return 'the LMDB has no such key: its meta_info.txt does not belong to it'
        if not content:
            return 'it is empty'
        size = read_image(image).shape[:2]
    except DataError as error:
        return str(error).removeprefix(f'image {image} ')
    try:
        # OpenCV, which reads most images for training, overlooks damage in the middle of a JPEG, which Pillow does not.
        with without_library_limits(), Image.open(io.BytesIO(content)) as other:
            other.load()
    except UnidentifiedImageError:
        pass  # Pillow does not know what was decoded above
    except (OSError, ValueError, SyntaxError) as error:
        return f'it is damaged: {error}'
    if image.recorded_size not in (None, size):
        return f'it has {size[0]} x {size[1]} pixels (rows x columns), its meta_info.txt says {image.recorded_size}'
    return None


def index_faults(root: str) -> list[str]:
    """Where an LMDB and its index, meta_info.txt, differ in their keys: a line for either direction.

    Raises:
        FileNotFoundError, DataError: index or LMDB cannot be read.
    """
    indexed, keys = {image.path for image in list_images(root, 'lmdb')}, set(lmdb_keys(resolve_root(root)))
    return [
        f'{root}: keys of {here} that are not in {there} ({len(surplus)}): {list_some(sorted(surplus), KEYS_SHOWN)}'
        for surplus, here, there in (
            (indexed - keys, 'its meta_info.txt', 'the LMDB'),
            (keys - indexed, 'the LMDB', 'its meta_info.txt'),
        )
        if surplus
    ]
