"""What results take of the disk, as far as it is known before they are drawn."""

import shutil
import tempfile
from pathlib import Path

from gsasr_plugin.archs.completion import BAND_PIXELS
from gsasr_plugin.sizes import Size
from gsasr_plugin.upscaling.pictures.formats import FORMATS
from gsasr_plugin.whole_file import existing_folder


class DiskRoom:
    """The room for the results of one run, which shrinks with each.

    Of formats that compress, files are as large as the pixels want: what is known is how much the rows take that wait
    beside them (see `write_bands`), and that TIFF files, whose rows do not wait, are no larger than the rows. AVIF and
    GIF files are a fraction of them.
    """

    def __init__(self) -> None:
        self._taken: dict[int, int] = {}  # by disk, of results that stay

    def refusal(self, size: Size, format: str, path: Path | None, level_bytes: int) -> str | None:
        """Why a result of (H, W) does not fit, None where it may; what it takes is taken then.

        Args:
            format: a name of `FORMATS`.
            path: of the result, None for the standard output, which gets it from the folder of temporary files.
            level_bytes: of a pixel, as rows have it.
        """
        known = FORMATS[format]
        on_disk = (known.waits or known.held_bytes == 0) and size[0] * size[1] > BAND_PIXELS
        if not (on_disk or known.plain):
            return None
        needed = size[0] * known.row_bytes(size[1], level_bytes)
        folder = existing_folder(Path(tempfile.gettempdir()) if path is None else path.parent)
        disk = folder.stat().st_dev
        taken = self._taken.get(disk, 0)
        left = shutil.disk_usage(folder).free - taken
        if needed <= left:
            if known.plain and path is not None and not path.exists():
                self._taken[disk] = taken + needed
            return None
        most = '' if known.waits or known.plain else 'up to '
        beside = ' beside the results before it' if taken else ''
        return (
            f'it does not fit onto the disk: its rows take {most}{needed / 2**30:.1f} GiB in {folder}, and '
            f'{max(left, 0) / 2**30:.1f} GiB are free{beside}'
        )
