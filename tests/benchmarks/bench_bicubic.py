"""Time of our bicubic resampler beside the host's, in one run: `python tests/benchmarks/bench_bicubic.py`.

Two workloads: the training crops (48 * s pixels square down to 48, s evenly over 1..4) and whole photographs (2040 x
1356, x2 to x12). Each time is the least of several repetitions, with the weights cached as they are during training.
"""

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
import torch

from gsasr_plugin.data.bicubic import resize_bicubic

# isort: split
from basicsr.utils.matlab_functions import imresize  # can be imported only once gsasr_plugin has repaired the host


def seconds(call: Callable[[], object], repeats: int) -> float:
    """The shortest of `repeats` calls, after one that warms the caches, in seconds."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def compare(name: str, image: np.ndarray, ratio: float, repeats: int) -> tuple[float, float]:
    """Print one line of the table; returns the times (ours, the host's) in seconds."""
    size = (math.ceil(image.shape[0] * ratio), math.ceil(image.shape[1] * ratio))
    difference = np.abs(resize_bicubic(image, size, ratio) - imresize(image, ratio)).max()
    ours = seconds(lambda: resize_bicubic(image, size, ratio), repeats)
    host = seconds(lambda: imresize(image, ratio), max(repeats // 5, 1))
    print(f'{name:<28}{ours * 1e3:>10.2f}{host * 1e3:>11.2f}{host / ours:>8.1f}{difference:>12.1e}')
    return ours, host


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--threads', type=int, default=1, help='threads of torch, which the host uses (workers have 1)')
    parser.add_argument('--repeats', type=int, default=50, help='repetitions of our side; the host gets a fifth')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(0)

    print(f'{"":<28}{"ours (ms)":>10}{"host (ms)":>11}{"ratio":>8}{"difference":>12}')
    totals = np.zeros(2)
    for crop in range(48, 193, 16):
        image = rng.random((crop, crop, 3), dtype=np.float32)
        totals += compare(f'{crop} x {crop} -> 48 x 48', image, 48 / crop, args.repeats)
    ours, host = totals
    print(f'{"training crops together":<28}{ours * 1e3:>10.2f}{host * 1e3:>11.2f}{host / ours:>8.1f}\n')
    image = rng.random((1356, 2040, 3), dtype=np.float32)
    for scale in (2, 3, 3.7, 4, 6, 8, 12):
        compare(f'2040 x 1356, x{scale:g}', image, 1 / scale, max(args.repeats // 10, 1))


if __name__ == '__main__':
    main()
