"""Pictures of a validation: for each scale a grid of LR, bicubic, SR, GT and their difference, a row for each image."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch.utils.data import Subset

from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.processes import my_share_of
from gsasr_plugin.sizes import Scale, format_scale
from gsasr_plugin.whole_file import replacing

if TYPE_CHECKING:
    from gsasr_plugin.models.gsasr_model import GSASRModel

SIDE = 256  # pixels of GT or SR shown of each image, around its middle
GAP = 4
LABEL_HEIGHT = 20
DIFFERENCE_GAIN = 4


class GridLoader:
    """A loader of one image per batch that draws what the model has made of each, before it gives the next.

    So validation itself need not know of grids. Each is written when its last image is done. Of several processes, the
    first one draws images of its share.

    Args:
        model: super-resolves each image while it is out; its `opt['val']['grids']` says how many images of each scale
            are shown: the first ones.
        dataloader: the loader.
        current_iter: names the files.
        tb_logger: tensorboard's, or None.
    """

    def __init__(self, model: GSASRModel, dataloader: Any, current_iter: int | str, tb_logger: Any) -> None:
        self.model = model
        self.dataloader = dataloader
        self.dataset = dataloader.dataset
        self.current_iter = current_iter
        self.tb_logger = tb_logger
        self.most = model.opt['val'].get('grids', 0) if model.opt['rank'] == 0 else 0
        self.keeps = False  # grids that an earlier run has drawn

    def __len__(self) -> int:
        return len(self.dataloader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        rows: dict[Scale, list[dict[str, np.ndarray]]] = defaultdict(list)
        for data in self.dataloader:
            yield data
            factors = data['nominal_scale'][0].tolist()
            scale = (factors[0], factors[1])
            if len(rows[scale]) == self.most or (self.keeps and not rows[scale] and self._path(scale).exists()):
                continue
            visuals = self.model.get_current_visuals()
            rows[scale].append(row_of({name: image[0].permute(1, 2, 0).numpy() for name, image in visuals.items()}))
            if len(rows[scale]) == self.most:
                self._write(scale, grid_of(rows[scale]))
        for scale, images in rows.items():
            if 0 < len(images) < self.most:
                self._write(scale, grid_of(images))

    def left(self, scales: Sequence[Scale], known: Sequence[bool]) -> list[int]:
        """What an earlier run has left: the positions of unknown images, and of those of grids that are not there.

        Args:
            scales: of all images, in the data set's order.
            known: whether each of them is known.
        """
        seen: Counter[Scale] = Counter()
        left = []
        for position, (scale, is_known) in enumerate(zip(scales, known, strict=True)):
            seen[scale] += 1
            if not is_known or (seen[scale] <= self.most and not self._path(scale).exists()):
                left.append(position)
        return left

    def only(self, positions: Sequence[int]) -> GridLoader:
        """A loader of this process's share of some images, which keeps the grids that are there."""
        share = my_share_of(self.dataset, positions)
        loader = GridLoader(self.model, share, self.current_iter, self.tb_logger)
        loader.keeps = True
        return loader

    def remove_grids(self, scales: Iterable[Scale]) -> None:
        """Those of other weights or options, which a run that is resumed must not take for its own."""
        for scale in set(scales):
            self._path(scale).unlink(missing_ok=True)

    @property
    def _dataset_name(self) -> str:
        dataset: Any = self.dataset.dataset if isinstance(self.dataset, Subset) else self.dataset
        return dataset.opt['name']

    def _path(self, scale: Scale) -> Path:
        folder = Path(self.model.opt['path']['visualization']) / self._dataset_name / 'grids'
        return folder / f'x{format_scale(scale)}_{self.current_iter}.png'

    def _write(self, scale: Scale, grid: np.ndarray) -> None:
        path = self._path(scale)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            Image.fromarray(grid).save(unfinished)
        if self.tb_logger is not None and isinstance(self.current_iter, int):
            tag = f'grids/{self._dataset_name}_x{format_scale(scale)}'
            self.tb_logger.add_image(tag, grid, self.current_iter, dataformats='HWC')


def row_of(visuals: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The pictures of one image by label, the middle of each: (height, width, 3), in 0..1, of one size.

    Args:
        visuals: `lq` (h, w, 3), `result` (H, W, 3) and, where known, `gt` (H, W, 3).
    """
    lq, sr, gt = visuals['lq'], visuals['result'], visuals.get('gt')
    H, W = sr.shape[:2]
    h, w = lq.shape[:2]
    top, left = max(0, (H - SIDE) // 2), max(0, (W - SIDE) // 2)
    y, x = np.arange(top, min(top + SIDE, H)), np.arange(left, min(left + SIDE, W))
    shown = np.ix_(y, x)
    row = {
        'LR': lq[np.ix_(y * h // H, x * w // W)],
        'bicubic': resize_bicubic(np.ascontiguousarray(lq), (H, W))[shown],
        'SR': sr[shown],
    }
    if gt is not None:
        row['GT'] = gt[shown]
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
