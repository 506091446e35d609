"""Pairs of GT and degraded LR: whole images, and training samples.

Of a training sample more than the patch is degraded, and the patch is cut out of it. So the borders of a patch are what
they are in the middle of a photograph: blur and resizing see what lies beyond, and the blocks of a JPEG begin anywhere.
"""

import math

import numpy as np

from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.data.crop_place import CropPlace, Margins
from gsasr_plugin.data.degradation.functions import USM_REACH, sharpened
from gsasr_plugin.data.degradation.process import Degradation
from gsasr_plugin.data.eight_bit import to_float
from gsasr_plugin.sizes import Size

CONTEXT = 4  # LR pixels around a patch, at least
BLOCK = 16  # LR pixels of a JPEG's block of colours, which holds four blocks of brightness


def degraded_image(
    degradation: Degradation, rng: np.random.Generator, gt: np.ndarray, lq_size: Size
) -> tuple[np.ndarray, np.ndarray]:
    """GT and LR of a whole image.

    Args:
        rng: draws everything.
        gt: (H, W, 3), float32, RGB, 0..1, all of which LR shows.
        lq_size: (h, w).

    Returns:
        GT, sharpened if the options say so, and LR (h, w, 3), float32, both RGB in 0..1.
    """
    is_clean = rng.random() < degradation.options.clean_prob
    gt = sharpened(gt) if degradation.options.gt_usm else gt
    return gt, resize_bicubic(gt, lq_size) if is_clean else degradation(rng, gt, lq_size)


def degraded_patch(
    degradation: Degradation, rng: np.random.Generator, image: np.ndarray, place: CropPlace, lq_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """GT and LR of a training sample.

    Args:
        rng: draws everything.
        image: the whole GT image (H, W, 3), uint8 or uint16, RGB; where the patch is near its border, it goes on
            mirrored.
        place: of the GT patch.
        lq_size: side of the LR patch, in LR pixels.

    Returns:
        GT, float32, of the place's size, and LR (lq_size, lq_size, 3), float32, both RGB in 0..1.
    """
    options = degradation.options
    is_clean = rng.random() < options.clean_prob
    around = (_around(rng, lq_size), _around(rng, lq_size))  # LR pixels
    scale = [length / lq_size for length in place.size]  # rows, columns
    # GT pixels that are looked at beyond those of the LR image.
    more = degradation.reach + (USM_REACH if options.gt_usm else 0)
    (above, below), (before, after) = (
        (math.ceil(ahead * factor) + more, math.ceil(behind * factor) + more)
        for (ahead, behind), factor in zip(around, scale)
    )
    margins: Margins = ((above, below), (before, after))
    region = to_float(place.cut(image, margins))
    if options.gt_usm:
        region = sharpened(region)
    height, width = place.size
    gt = np.ascontiguousarray(region[above : above + height, before : before + width])
    if is_clean:
        return gt, resize_bicubic(gt, (lq_size, lq_size))
    top, left = above - around[0][0] * scale[0], before - around[1][0] * scale[1]
    rows, columns = (sum(lengths) + lq_size for lengths in around)
    box = (top, left, top + rows * scale[0], left + columns * scale[1])
    lq = degradation(rng, region, (rows, columns), box)
    (first, _), (start, _) = around
    return gt, np.ascontiguousarray(lq[first : first + lq_size, start : start + lq_size])


def _around(rng: np.random.Generator, lq_size: int) -> tuple[int, int]:
    """LR pixels before and behind a patch: the blocks begin at random, and are whole."""
    before = CONTEXT + int(rng.integers(BLOCK))
    whole = -(-(before + lq_size + CONTEXT) // BLOCK) * BLOCK
    return before, whole - before - lq_size
