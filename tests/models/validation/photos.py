"""Small photographs to validate on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch.utils.data import DataLoader

from gsasr_plugin.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset


def photos(
    folder: Path,
    names: Sequence[str] = ('a', 'b'),
    scales: Sequence[float] = (2, 3.7),
    size: tuple[int, int] = (45, 60),
    **section: Any,
) -> DataLoader:
    """BasicSR's loader of a data set `photos`: GT of noise in `folder`/gt, LR made from it.

    Args:
        folder: where the images go, if they are not there.
        names: of the images; they may have folders.
        scales: each image is tested at.
        size: (H, W) of GT.
        section: more options of the data set.
    """
    for number, name in enumerate(names):
        path = folder / 'gt' / f'{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8))
    (folder / 'names.txt').write_text('\n'.join(f'{name}.png' for name in names))
    options = {
        'name': 'photos',
        'phase': 'val',
        'dataroot_gt': str(folder / 'gt'),
        'meta_info_file': str(folder / 'names.txt'),
        'scales': list(scales),
        **section,
    }
    return DataLoader(ArbitraryScalePairedDataset(options))
