"""Pictures of a validation: for each scale a grid of LR, bicubic, SR, GT and their difference, a row for each image.

And of a batch of training: a grid of LR, bicubic and GT.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.sizes import Scale, format_scale
from gsasr_plugin.whole_file import replacing

SIDE = 256  # pixels of GT or SR shown of each image, around its middle
GAP = 4
LABEL_HEIGHT = 20
DIFFERENCE_GAIN = 4


class Grids:
    """The grids of a data set, one for each scale, each written when its last image is there.

    Args:
        folder: where they go.
        label: ends the files' names; an iteration is tensorboard's step too.
        most: how many images of each scale are shown: the first ones.

    Attributes:
        drawn: the scales whose grids are there.
    """

    def __init__(self, folder: Path, dataset: str, label: int | str, most: int, tb_logger: Any = None) -> None:
        self.folder, self.dataset, self.label, self.most, self.tb_logger = folder, dataset, label, most, tb_logger
        self.drawn: set[Scale] = set()
        self._rows: dict[Scale, list[dict[str, np.ndarray]]] = defaultdict(list)

    def begin(self, scales: Iterable[Scale], *, goes_on: bool) -> None:
        """Goes on with the grids that an earlier run has left, or removes them, as those of other weights or options.

        A run that is resumed must not take these for its own.
        """
        for scale in scales:
            if goes_on and self._path(scale).exists():
                self.drawn.add(scale)
            else:
                self._path(scale).unlink(missing_ok=True)

    def add(self, scale: Scale, lq: Tensor, sr: Tensor, gt: Tensor | None) -> None:
        """Takes one image, if its grid is not complete: (1, 3, h, w), (1, 3, H, W) and (1, 3, H, W), RGB in 0..1."""
        if self.most == 0 or scale in self.drawn:
            return
        self._rows[scale].append(row_of(_plain(lq), _plain(sr), None if gt is None else _plain(gt)))
        if len(self._rows[scale]) == self.most:
            self._write(scale)

    def finish(self) -> None:
        """Writes the grids of scales that have fewer images."""
        for scale in list(self._rows):
            self._write(scale)

    def _path(self, scale: Scale) -> Path:
        return self.folder / f'x{format_scale(scale)}_{self.label}.png'

    def _write(self, scale: Scale) -> None:
        grid = grid_of(self._rows.pop(scale))
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self._path(scale)) as unfinished:
            Image.fromarray(grid).save(unfinished)
        self.drawn.add(scale)
        if self.tb_logger is not None and isinstance(self.label, int):
            tag = f'grids/{self.dataset}_x{format_scale(scale)}'
            self.tb_logger.add_image(tag, grid, self.label, dataformats='HWC')


def _plain(image: Tensor) -> np.ndarray:
    """(1, 3, h, w) -> (h, w, 3)."""
    return image[0].permute(1, 2, 0).cpu().numpy()


def write_batch(folder: Path, label: int, lq: Tensor, gt: Sequence[Tensor]) -> None:
    """Writes a batch of training as a grid, a row for each sample.

    Args:
        folder: where it goes.
        label: names the file.
        lq: (B, 3, h, w), RGB in 0..1.
        gt: B images (3, H_i, W_i).
    """
    rows = [row_of(_plain(one[None]), None, _plain(other[None])) for one, other in zip(lq, gt)]
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / f'{label}.png') as unfinished:
        Image.fromarray(grid_of(rows)).save(unfinished)


def row_of(lq: np.ndarray, sr: np.ndarray | None, gt: np.ndarray | None) -> dict[str, np.ndarray]:
    """The pictures of one image by label, the middle of each: (height, width, 3), in 0..1, of one size.

    Args:
        lq: (h, w, 3).
        sr: (H, W, 3), or None.
        gt: (H, W, 3), or None; one of the two is there.
    """
    largest = gt if sr is None else sr
    assert largest is not None
    H, W = largest.shape[:2]
    h, w = lq.shape[:2]
    top, left = max(0, (H - SIDE) // 2), max(0, (W - SIDE) // 2)
    y, x = np.arange(top, min(top + SIDE, H)), np.arange(left, min(left + SIDE, W))
    shown = np.ix_(y, x)
    row = {
        'LR': lq[np.ix_(y * h // H, x * w // W)],
        'bicubic': resize_bicubic(np.ascontiguousarray(lq), (H, W))[shown],
    }
    if sr is not None:
        row['SR'] = sr[shown]
    if gt is not None:
        row['GT'] = gt[shown]
    if sr is not None and gt is not None:
        row[f'difference x{DIFFERENCE_GAIN}'] = DIFFERENCE_GAIN * np.abs(row['SR'].clip(0, 1) - row['GT'])
    return row


def grid_of(rows: list[dict[str, np.ndarray]]) -> np.ndarray:
    """Rows of pictures below their labels: (height, width, 3), uint8."""
    labels = list(rows[0])
    widths = max(next(iter(row.values())).shape[1] for row in rows)
    heights = [next(iter(row.values())).shape[0] for row in rows]
    width = len(labels) * (widths + GAP) - GAP
    grid = np.full((LABEL_HEIGHT + sum(height + GAP for height in heights) - GAP, width, 3), 255, np.uint8)
    top = LABEL_HEIGHT
    for row, height in zip(rows, heights):
        for column, label in enumerate(labels):
            pixels = np.rint(row[label].clip(0, 1) * 255).astype(np.uint8)
            left = column * (widths + GAP)
            grid[top : top + height, left : left + pixels.shape[1]] = pixels
        top += height + GAP
    image = Image.fromarray(grid)
    drawing = ImageDraw.Draw(image)
    font = ImageFont.load_default(LABEL_HEIGHT * 0.7)
    for column, label in enumerate(labels):
        drawing.text((column * (widths + GAP), 1), label, fill=(0, 0, 0), font=font)
    return np.asarray(image)
