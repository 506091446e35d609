"""Samples per second of our data set beside the host's path, in one run: `python tests/benchmarks/bench_loader.py`.

The paper's training samples: 48 x 48 from sub-images of 512 x 512 pixels (parts of a photograph, as PNG files), x1 to
x4. The host's path is what its own data sets do: decode, crop, reduce with its `imresize`, flip, turn into tensors.
Ours with each `cache`, and with `cache: memory` each degradation; disk is cold while an image is decoded and written,
then warm, with the files in the system's page cache or, dropped from it before each round, on the disk. One process and
one thread, as each worker of a loader has. The median of several rounds, all by turns.
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

import cv2
import numpy as np
import skimage.data
import torch

from gsasr_plugin.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset
from gsasr_plugin.data.degradation.options import PRESETS
from gsasr_plugin.data.epoch_sampler import EpochIndex

# isort: split
from basicsr.data.transforms import augment  # can be imported only once gsasr_plugin has repaired the host
from basicsr.utils import FileClient, imfrombytes, img2tensor
from basicsr.utils.matlab_functions import imresize

LQ_SIZE = 48
SUB_IMAGE = 512
HOST = "the host's path"


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
        paths = write_sub_images(Path(folder))
        section = {'name': 'sub-images', 'phase': 'train', 'dataroot_gt': folder, 'lq_size': LQ_SIZE}
        folders = [Path(folder) / 'decoded' / str(turn) for turn in range(args.rounds)]

        def dataset(cache: str, turn: int = 0, degradation: str | None = None) -> ArbitraryScalePairedDataset:
            changes = {'cache': cache, 'cache_dir': str(folders[turn]), 'degradation': degradation}
            return ArbitraryScalePairedDataset({**section, **changes})

        none, memory = dataset('none'), dataset('memory')
        degraded = {preset: dataset('memory', degradation=preset) for preset in PRESETS}
        rates: dict[str, list[float]] = defaultdict(list)

        def measure(label: str, data: ArbitraryScalePairedDataset, count: int) -> None:
            rates[label].append(rate(lambda n: data[EpochIndex(n % len(data), epoch=turn, repeat=n)], count))

        for turn in range(args.rounds):
            rates[HOST].append(rate(lambda n: host_sample(paths[n % len(paths)]), max(args.samples // 10, 1)))
            measure('ours, cache: none', none, args.samples)
            measure('ours, cache: memory', memory, args.samples)
            for preset, data in degraded.items():
                measure(f'ours, cache: memory, {preset}', data, args.samples)
            disk = dataset('disk', turn)
            measure('ours, cache: disk, cold', disk, len(paths))
            drop_from_page_cache(folders[turn])
            measure('ours, cache: disk, warm, from the disk', disk, len(paths))
            measure('ours, cache: disk, warm', disk, args.samples)
    host = statistics.median(rates[HOST])
    print(f'{len(paths)} sub-images, {os.cpu_count()} cores, one thread; samples per second (least, median, most):')
    for label, found in rates.items():
        median = statistics.median(found)
        print(f'{label:<40}{min(found):>9.1f}{median:>9.1f}{max(found):>9.1f}{median / host:>8.1f} x')


if __name__ == '__main__':
    main()
