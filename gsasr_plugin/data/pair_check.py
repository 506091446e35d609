"""The check of pairs: which belong together, and which of them lie upon each other, to a pixel."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np

from gsasr_plugin.data.arbitrary_scale_paired_options import ArbitraryScalePairedDatasetOptions
from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.data.eight_bit import to_float
from gsasr_plugin.data.evaluation_items import list_gt_by_root
from gsasr_plugin.data.image_files import read_image, sizes_where_readable
from gsasr_plugin.data.pairs import Pair, lq_candidates, pairs_of
from gsasr_plugin.run_errors import DataError

MOST_SHIFT = 1.0  # LR pixels
DECODING_THREADS = 4


class PairCheck(NamedTuple):
    """What a check has found.

    Attributes:
        sound: pairs that may be used.
        faults: a line for each other pair, and for images without a partner.
    """

    sound: list[Pair]
    faults: list[str]


def check_pairs(options: ArbitraryScalePairedDatasetOptions) -> PairCheck:
    """Checks all pairs of a data set. Images that cannot be read are left to `check_images`.

    Raises:
        MissingDataError, DataError: images cannot be listed or matched at all.
    """
    sound: list[Pair] = []
    faults: list[str] = []
    gt_by_root = list_gt_by_root(options)
    for root in options.training_roots():
        if root.lq is None:
            continue
        gt_images, lq_images = gt_by_root[root.gt], lq_candidates(root.lq, options)
        files = [*gt_images, *lq_images]
        sizes = {image: size for image, size in zip(files, sizes_where_readable(files)) if size is not None}
        pairs, unfit = pairs_of(root, gt_images, lq_images, sizes, options)
        faults += map(str, unfit)
        for pair, shift in zip(pairs, pair_shifts(pairs)):
            if shift is None:
                continue
            rows, columns = shift
            if math.hypot(rows, columns) <= MOST_SHIFT:
                sound.append(pair)
                continue
            faults.append(
                f'{pair.lq} is shifted against {pair.gt} by {rows:.1f} rows and {columns:.1f} columns of its own pixels'
            )
    return PairCheck(sound, faults)


def pair_shifts(pairs: Sequence[Pair]) -> list[tuple[float, float] | None]:
    """How far LR images are shifted against their GT images, (rows, columns) in LR pixels; None: one cannot be read.

    By phase correlation, of whole images: a part that moved between two photographs weighs as much as its area.
    """
    with ThreadPoolExecutor(DECODING_THREADS) as pool:
        return list(pool.map(_shift, pairs))


def _shift(pair: Pair) -> tuple[float, float] | None:
    try:
        gt, lq = (to_float(read_image(image)).mean(-1) for image in (pair.gt, pair.lq))
    except DataError:
        return None
    gt = resize_bicubic(gt[: pair.gt_size[0], : pair.gt_size[1]], lq.shape)
    window = np.outer(np.hanning(lq.shape[0]), np.hanning(lq.shape[1])).astype(np.float32)
    (x, y), _ = cv2.phaseCorrelate(gt, lq, window)
    return (y, x)
