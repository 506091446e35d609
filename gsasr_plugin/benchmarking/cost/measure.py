"""Measuring: stage by stage, the mean over images after the first ones, and the peak of memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gsasr_plugin.benchmarking.cost.contestants import Contestant, DoesNotFitError
from gsasr_plugin.peak_memory import PeakMemory
from gsasr_plugin.precision import autocast, name_of
from gsasr_plugin.sizes import Scale, Size, format_scale

RENDERING = 'rendering'
STAGES = ('encoder', 'decoder', RENDERING)


@dataclass(frozen=True)
class Cost:
    """One row: a contestant at a scale.

    Attributes:
        name: the contestant's.
        scale: the scale's name.
        dtype: the name of the type in which its network multiplies.
        images: how many images the means are over.
        milliseconds: by stage: `encoder`, `decoder`, `rendering` (all the rest) of GSASR; and `total`.
        peak_bytes: memory at most: of CUDA's allocator, weights included, or of the whole process; None if unknown.
        added_bytes: the part of it beyond what was in use before the first image.
    """

    name: str
    scale: str
    dtype: str
    images: int
    milliseconds: dict[str, float]
    peak_bytes: int | None
    added_bytes: int | None


def measure(
    contestant: Contestant,
    images: Sequence[tuple[Tensor, Size]],
    scale: Scale,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    *,
    warmup: int,
    progress: Callable[[], Any] = lambda: None,
) -> Cost | None:
    """The cost of whole images, one after the other.

    Args:
        contestant: its network is on the device.
        images: LR (1, 3, h, w) on the CPU and size (H, W) of the result.
        scale: their scale.
        device: where to compute; a transfer to it is not counted.
        dtype: in which a network multiplies.
        warmup: so many images come first and do not count.
        progress: called after each image.

    Returns:
        The cost, or None where the network is of another scale.
    """
    clocks = {name: _Clock(device) for name in contestant.stages}
    total = _Clock(device)
    used = torch.float32 if contestant.network is None else dtype
    stages = _timed(contestant.stages, clocks)
    with torch.inference_mode(), autocast(device, used), stages, PeakMemory(device) as memory:
        for index, (lq, size) in enumerate(images):
            if index == warmup:
                for clock in (total, *clocks.values()):
                    clock.seconds = 0.0
            lq = lq.to(device)
            total.start()
            try:
                contestant.enlarge(lq, size)
            except DoesNotFitError:
                return None
            total.stop()
            progress()
    counted = len(images) - warmup
    milliseconds = {name: clock.seconds * 1e3 / counted for name, clock in clocks.items()}
    whole = total.seconds * 1e3 / counted
    if milliseconds:
        milliseconds[RENDERING] = whole - sum(milliseconds.values())
    peak = None if memory.bytes is None else memory.before + memory.bytes
    return Cost(
        name=contestant.name,
        scale=format_scale(scale),
        dtype=name_of(used),
        images=counted,
        milliseconds={**milliseconds, 'total': whole},
        peak_bytes=peak,
        added_bytes=memory.bytes,
    )


class _Clock:
    """Seconds between start and stop, summed; on a GPU when the work is done."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = 0.0

    def start(self, *_: object) -> None:
        self._wait()
        self.started = time.perf_counter()

    def stop(self, *_: object) -> None:
        self._wait()
        self.seconds += time.perf_counter() - self.started

    def _wait(self) -> None:
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)


@contextmanager
def _timed(stages: dict[str, nn.Module], clocks: dict[str, _Clock]) -> Iterator[None]:
    """Within, every call of a stage runs its clock."""
    hooks = []
    for name, module in stages.items():
        hooks += [
            module.register_forward_pre_hook(clocks[name].start),
            module.register_forward_hook(clocks[name].stop),
        ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
