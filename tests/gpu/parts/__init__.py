"""The parts of the suite, in the order in which they run: a module of this folder each, with a function
`run(report, rehearsed)`. Rehearsed, it takes small sizes, and the CPU plays the GPU (`fake_cuda`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A part.

    Attributes:
        name: of its module.
        about: what it shows, for the table.
        seconds: that it may take.
        phase: parts of one phase run at once, and the next one begins when they have ended: those that measure time
            have the machine for themselves.
        lasts: so many phases more it may go on.
        least_seconds: with less left it is not started.
        not_rehearsed: why it shows nothing without a GPU; empty where it does.
    """

    name: str
    about: str
    seconds: float
    phase: int
    lasts: int = 0
    least_seconds: float = 20.0
    not_rehearsed: str = ''


PARTS = (
    Part('build', 'kernels compiled at first use, as they are and with guard zones', 200, 0),
    Part(
        'install',
        'pip install with the default architectures',
        280,
        0,
        lasts=1,
        not_rehearsed='it compiles all kernels for eight architectures, which says nothing about a GPU',
    ),
    Part('rasterizer_tests', "the CUDA tests of the rasterizer's room", 170, 1),
    Part('sanitizer', 'compute-sanitizer, its four tools, without a cache of memory', 170, 1),
    Part('guards', 'guard zones between the parts of the scratch memory, three bytes', 120, 1),
    Part('golden_values', "with the golden files' weights: the authors' features and Gaussians", 120, 1),
    Part('network_values', 'every released variant: GPU against CPU and float64', 170, 1),
    Part('two_gpus', 'a training step on two GPUs under NCCL equals that on one', 90, 1),
    Part('rasterizer_times', 'device time of the rasterizer beside Algorithm 1', 70, 2),
    Part('network_times', "the paper's protocol: time, memory, graphs, waiting", 120, 3),
    Part('training', 'a training step: time and memory', 70, 4),
    Part('tile_memory', 'peak memory beside the estimate that tiles are chosen by', 40, 5),
    Part('counters', 'what Nsight Compute counts in the three large kernels', 50, 6),
)
