"""Packing PNG files into a database of BasicSR, there whole or not at all."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from gsasr_plugin.benchmarking.prepare.runner import PNG_COMPRESSION, modified
from gsasr_plugin.data.image_files import ImageFile
from gsasr_plugin.library_limits import without_library_limits
from gsasr_plugin.whole_file import STAGING, write_whole

RECORD = 'sources.json'  # beside BasicSR's data.mdb and meta_info.txt: what the database was made of
COMMIT_EVERY = 500  # images; BasicSR keeps them in memory until then


def staging_folder(database: Path) -> Path:
    """Where the files of a database wait until all of them are there."""
    return database.with_name(f'{STAGING}{database.stem}')


def is_ours(database: Path) -> bool:
    """Whether a database was made by `pack`."""
    return (database / RECORD).is_file()


def is_packed(database: Path, sources: Sequence[ImageFile]) -> bool:
    """Whether a database was made of exactly these images, as they are now."""
    return is_ours(database) and json.loads((database / RECORD).read_text()) == _record(sources)


def pack(folder: Path, files: Sequence[Path], database: Path, sources: Sequence[ImageFile]) -> None:
    """Packs PNG files into a database, then removes their folder.

    Args:
        folder: where the files are; it is removed.
        files: what to pack; a file's path in the folder, without extension, is its key, in ASCII.
        database: a folder whose name ends in .lmdb; one that is there is replaced.
        sources: what the files were made of, for `is_packed`.
    """
    from basicsr.utils.lmdb_util import LmdbMaker

    unfinished = database.with_name(f'{STAGING}{os.getpid()}_{database.name}')
    keys = [str(file.relative_to(folder).with_suffix('')) for file in files]
    for left_over in database.parent.glob(f'{STAGING}*_{database.name}'):  # of a process that was killed
        shutil.rmtree(left_over)
    try:
        maker = LmdbMaker(str(unfinished), batch=COMMIT_EVERY, compress_level=PNG_COMPRESSION)
        for file, key in tqdm(list(zip(files, keys)), desc=database.name, unit='image'):
            with without_library_limits(), Image.open(file) as header:
                width, height = header.size
            maker.put(file.read_bytes(), key, (height, width, 3))
        maker.close()
        (unfinished / 'lock.mdb').unlink(missing_ok=True)  # belongs to this process
        write_whole(unfinished / RECORD, json.dumps(_record(sources)))
        if database.exists():
            shutil.rmtree(database)
        os.replace(unfinished, database)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    shutil.rmtree(folder)


def _record(sources: Sequence[ImageFile]) -> dict[str, int]:
    return {str(source): modified(source) for source in sources}
