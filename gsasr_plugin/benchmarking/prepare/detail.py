"""Which sub-images are worth training on: flat ones teach a network little, and their L1 gradients are as large."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from gsasr_plugin.benchmarking.prepare.runner import in_processes
from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.data.eight_bit import to_float
from gsasr_plugin.data.image_files import ImageFile, read_image
from gsasr_plugin.sizes import protocol_sizes
from gsasr_plugin.whole_file import write_whole


def bicubic_psnr(image: np.ndarray) -> float:
    """How well bicubic x2 restores an image from its bicubic half, in dB over RGB; infinite where nothing is lost.

    Args:
        image: (H, W, 3), uint8 or uint16. Without its last row or column where their number is odd.
    """
    lq_size, size = protocol_sizes(image.shape[:2], (2, 2))
    if 0 in lq_size:
        return math.inf
    gt = to_float(image[: size[0], : size[1]])
    error = float(np.mean((resize_bicubic(resize_bicubic(gt, lq_size), size) - gt) ** 2))
    return -10 * math.log10(error) if error > 0 else math.inf


def list_detailed(images: Sequence[ImageFile], limit: float, target: Path, *, workers: int) -> int:
    """Writes a `meta_info_file` of the images whose `bicubic_psnr` is below a limit, and returns how many they are.

    Args:
        images: of one folder or LMDB.
        limit: in dB.
        target: the text file, one name a line, in the order of `images`.
        workers: how many processes; 1 works in this one.
    """
    found = in_processes(_psnr, images, workers=workers)
    psnrs = tqdm(found, total=len(images), desc='detail', unit='image')
    detailed = [f'{image.stem}.png' for image, psnr in zip(images, psnrs, strict=True) if psnr < limit]
    write_whole(target, ''.join(f'{name}\n' for name in detailed))
    return len(detailed)


def _psnr(image: ImageFile) -> float:
    return bicubic_psnr(read_image(image))
