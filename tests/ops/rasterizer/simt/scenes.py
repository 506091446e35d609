"""Problems that show special ways through the kernels, for `test_cuda_simt.py` and `test_cuda_faults.py`."""

import numpy as np

from tests.ops.rasterizer.simt.harness import Problem, scene


def busy() -> Problem:
    """Two batches of candidates in each tile, sizes that are no multiple of a tile, several Gaussians per cell."""
    return scene([(18, 20)], [4.0], count=300, sigma=(0.3, 0.8))


def few_huge() -> Problem:
    """Groups of eight lanes, but for three Gaussians whose boxes are the whole image: those take whole warps."""
    problem = scene([(70, 72)], [2.0], count=1300, sigma=(0.1, 0.4))
    for index in (0, 2, 1299):
        problem.sigmas[0, index] = (60.0, 90.0)
    return problem


def crowd(counts: list[int], others: int) -> Problem:
    """Two images of the same Gaussians in other orders; `counts[k]` of them share the k-th cell."""
    problem = scene([(40, 36), (30, 37)], [2.0, 2.0], count=sum(counts) + others, sigma=(0.1, 0.3))
    order = np.random.default_rng(4).permuted(np.arange(problem.rhos.shape[1])[None].repeat(2, 0), axis=1)
    first = 0
    for k, count in enumerate(counts):
        for b in range(2):
            # At x2, boxes of 0.3 * 4.5 LR pixels about this place are filed under one cell of 2 x 2 pixels.
            chosen = order[b, first : first + count]
            problem.means[b, chosen] = (3.55 + 4 * k, 5.45)
            problem.sigmas[b, chosen] = (0.3, 0.2)
        first += count
    return problem
