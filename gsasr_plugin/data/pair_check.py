"""The check of pairs: which belong together, and which of them lie upon each other, to a pixel."""

import math
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
LEAST_SIDE = 16  # LR pixels; of smaller images the estimate is wrong too often, one time in forty of 8 x 8
# A correlation of the values, and a contrast of GT, in 0..1. Noisy and blurred pairs of little contrast reach 0.2.
LEAST_ALIKE, LEAST_CONTRAST = 0.1, 0.02
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
        with ThreadPoolExecutor(DECODING_THREADS) as pool:
            for here, wrong in pool.map(_checked, pairs):
                sound += here
                faults += wrong
    return PairCheck(sound, faults)


def misplaced(gt: np.ndarray, lq: np.ndarray) -> str | None:
    """What is wrong with a pair, as a sentence on LR in which {} stands for GT; None: nothing, or nothing that shows.

    By phase correlation, of whole images: a part that moved between two photographs weighs as much as its area. Its
    peak may be one of noise: a shift counts where the images are more alike when it is undone.

    Args:
        gt, lq: (h, w), 0..1; GT reduced to the size of LR.
    """
    if min(lq.shape) < LEAST_SIDE:
        return None
    window = np.outer(np.hanning(lq.shape[0]), np.hanning(lq.shape[1])).astype(np.float32)
    (columns, rows), _ = cv2.phaseCorrelate(gt - gt.mean(), lq - lq.mean(), window)
    alike = _correlation(gt, lq)
    if math.hypot(rows, columns) > MOST_SHIFT and _correlation(*_overlap(gt, lq, round(rows), round(columns))) > alike:
        return f'is shifted against {{}} by {rows:.1f} rows and {columns:.1f} columns of its own pixels'
    if alike < LEAST_ALIKE and gt.std() > LEAST_CONTRAST:
        return 'shows something else than {}'
    return None


def _checked(pair: Pair) -> tuple[list[Pair], list[str]]:
    """A pair if it is sound, else what is wrong with it; neither where an image cannot be read."""
    try:
        gt, lq = (to_float(read_image(image)).mean(-1) for image in (pair.gt, pair.lq))
    except DataError:
        return [], []
    fault = misplaced(resize_bicubic(gt[: pair.gt_size[0], : pair.gt_size[1]], lq.shape), lq)
    return ([pair], []) if fault is None else ([], [f'{pair.lq} {fault.format(pair.gt)}'])


def _overlap(gt: np.ndarray, lq: np.ndarray, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """The parts of both that show the same, if LR is shifted by so much; nothing, where that is less than a quarter."""
    if 2 * abs(rows) > lq.shape[0] or 2 * abs(columns) > lq.shape[1]:
        return gt[:0], lq[:0]
    of_gt, of_lq = (
        tuple(slice(max(0, sign * by), length + min(0, sign * by)) for by, length in zip((rows, columns), lq.shape))
        for sign in (-1, 1)
    )
    return gt[of_gt], lq[of_lq]


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Of the values of two images, -1..1; 0 where one is flat."""
    if one.size == 0:
        return -1.0
    one, other = one - one.mean(), other - other.mean()
    norm = math.sqrt(float((one * one).sum()) * float((other * other).sum()))
    return float((one * other).sum()) / norm if norm > 0 else 0.0
