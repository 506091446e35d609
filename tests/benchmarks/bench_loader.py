"""Samples per second of our data set beside the host's path, in one run: `python tests/benchmarks/bench_loader.py`.

The paper's training samples: 48 x 48 from sub-images of 512 x 512 pixels (parts of a photograph, as PNG files), x1 to
x4. The host's path is what its own data sets do: decode, crop, reduce with its `imresize`, flip, turn into tensors.
Ours with each `cache`, and with `cache: memory` each degradation, and pairs of the same images, at factors that make GT
patches as large in the mean; disk is cold while an image is decoded and written, then warm, with the files in the
system's page cache or, dropped from it before each round, on the disk. One process and one thread, as each worker of a
loader has. The median of several rounds, all by turns, beside the host's path and beside our bicubic one.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage.data
import torch

from gsasr_plugin.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset
from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.data.degradation.options import PRESETS
from gsasr_plugin.data.eight_bit import to_8_bit, to_float
from gsasr_plugin.data.epoch_sampler import EpochIndex
from gsasr_plugin.sizes import protocol_sizes

# isort: split
from basicsr.data.transforms import augment  # can be imported only once gsasr_plugin has repaired the host
from basicsr.utils import FileClient, imfrombytes, img2tensor
from basicsr.utils.matlab_functions import imresize

LQ_SIZE = 48
SUB_IMAGE = 512
HOST = "the host's path"
BICUBIC = 'ours, cache: memory'
PAIRED_FACTORS = (1.5, 2.5, 3.5)  # the mean of their squares is that of x1 to x4


def write_sub_images(folder: Path) -> list[Path]:
    """The photographs of scikit-image that are large enough, cut into PNG files."""
    paths = []
    for name in ('astronaut', 'hubble_deep_field', 'retina'):
        image = getattr(skimage.data, name)()
        for top in range(0, image.shape[0] - SUB_IMAGE + 1, SUB_IMAGE):
            for left in range(0, image.shape[1] - SUB_IMAGE + 1, SUB_IMAGE):
                paths.append(folder / f'{name}_{top}_{left}.png')
                cv2.imwrite(str(paths[-1]), image[top : top + SUB_IMAGE, left : left + SUB_IMAGE, ::-1])
    return paths


def write_pairs(folder: Path, paths: list[Path]) -> dict[str, list[str]]:
    """The sub-images with LR images of each factor, as PNG files; returns the roots of a data set."""
    roots = {
        f'dataroot_{kind}': [str(folder / f'{kind}_x{factor}') for factor in PAIRED_FACTORS] for kind in ('gt', 'lq')
    }
    for factor, gt_root, lq_root in zip(PAIRED_FACTORS, *roots.values(), strict=True):
        Path(gt_root).mkdir(parents=True)
        Path(lq_root).mkdir()
        for path in paths:
            image = cv2.imread(str(path))
            lq_size, (height, width) = protocol_sizes(image.shape[:2], (factor, factor))
            gt = image[:height, :width]
            cv2.imwrite(str(Path(gt_root, path.name)), gt)
            cv2.imwrite(str(Path(lq_root, path.name)), to_8_bit(resize_bicubic(to_float(gt), lq_size)))
    return roots


def host_sample(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """One sample as the host's classes would make it."""
    image = imfrombytes(FileClient('disk').get(str(path)), float32=True)  # (H, W, 3)
    size = round(LQ_SIZE * random.uniform(1, 4))
    top, left = (random.randint(0, SUB_IMAGE - size) for _ in range(2))
    gt = image[top : top + size, left : left + size]
    lq = imresize(gt, LQ_SIZE / size)
    gt, lq = augment([np.ascontiguousarray(gt), np.ascontiguousarray(lq)], True, True)
    gt, lq = img2tensor([gt, lq], bgr2rgb=True, float32=True)
    return gt, lq


def drop_from_page_cache(folder: Path) -> None:
    """Files that have been written to the disk are read from there again."""
    for path in folder.iterdir():
        with path.open('rb') as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def rate(sample: Callable[[int], object], count: int) -> float:
    """Samples per second."""
    start = time.perf_counter()
    for number in range(count):
        sample(number)
    return count / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--samples', type=int, default=200, help='of our side in a round; the host gets a tenth')
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / 'images'
        images.mkdir()
        rates, count = measured_rates(Path(folder), write_sub_images(images), args.rounds, args.samples)
    host, bicubic = (statistics.median(rates[label]) for label in (HOST, BICUBIC))
    print(f'{count} sub-images, {os.cpu_count()} cores, one thread; samples per second (least, median, most), and')
    print(f'times as fast as {HOST}, and as {BICUBIC}:')
    for label, found in rates.items():
        median = statistics.median(found)
        figures = f'{min(found):>9.1f}{median:>9.1f}{max(found):>9.1f}{median / host:>8.1f} x{median / bicubic:>8.2f} x'
        print(f'{label:<40}{figures}')


def measured_rates(folder: Path, paths: list[Path], rounds: int, samples: int) -> tuple[dict[str, list[float]], int]:
    """Samples per second of each way, once for each round; and how many images there are."""
    section = {'name': 'sub-images', 'phase': 'train', 'dataroot_gt': str(folder / 'images'), 'lq_size': LQ_SIZE}
    caches = [folder / 'decoded' / str(turn) for turn in range(rounds)]

    def dataset(cache: str, turn: int = 0, **changes: Any) -> ArbitraryScalePairedDataset:
        return ArbitraryScalePairedDataset({**section, 'cache': cache, 'cache_dir': str(caches[turn]), **changes})

    pairs = write_pairs(folder / 'pairs', paths)
    steady = {
        'ours, cache: none': dataset('none'),
        BICUBIC: dataset('memory'),
        **{f'{BICUBIC}, {preset}': dataset('memory', degradation=preset) for preset in PRESETS},
        f'{BICUBIC}, pairs': dataset('memory', **pairs),
        'ours, cache: none, pairs': dataset('none', **pairs),
    }
    rates: dict[str, list[float]] = defaultdict(list)
    for turn in range(rounds):

        def measure(label: str, data: ArbitraryScalePairedDataset, count: int, turn: int = turn) -> None:
            rates[label].append(rate(lambda n: data[EpochIndex(n % len(data), epoch=turn, repeat=n)], count))

        rates[HOST].append(rate(lambda n: host_sample(paths[n % len(paths)]), max(samples // 10, 1)))
        for label, data in steady.items():
            measure(label, data, samples)
        disk = dataset('disk', turn)
        measure('ours, cache: disk, cold', disk, len(paths))
        drop_from_page_cache(caches[turn])
        measure('ours, cache: disk, warm, from the disk', disk, len(paths))
        measure('ours, cache: disk, warm', disk, samples)
    return rates, len(paths)


if __name__ == '__main__':
    main()
