"""Measuring: stage by stage, the mean over images after the first ones, and the peak of memory."""

import platform
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from gsasr_plugin import precision
from gsasr_plugin.benchmarking.cost.enlargers import DoesNotFitError, Enlarger
from gsasr_plugin.benchmarking.prepare.jobs import protocol_pair
from gsasr_plugin.data.eight_bit import to_float
from gsasr_plugin.data.image_files import ImageFile, read_image
from gsasr_plugin.free_memory import give_back
from gsasr_plugin.models.validation.paper_tables import PaperRow
from gsasr_plugin.peak_memory import PeakMemory
from gsasr_plugin.precision import autocast, name_of
from gsasr_plugin.sizes import Scale, Size, format_scale

RENDERING = 'rendering'
STAGES = ('encoder', 'decoder', RENDERING)


@dataclass(frozen=True)
class Cost:
    """One row: an enlarger at a scale.

    Attributes:
        dtype: the name of the type in which its network multiplies.
        images: how many images the means are over.
        milliseconds: by stage: `encoder`, `decoder`, `rendering` (all the rest) of GSASR; and `total`.
        peak_bytes: memory at most: of CUDA's allocator, weights included, or of the whole process; None if unknown.
        added_bytes: the part of it beyond what was in use before the first image.
        paper_row: the row of the paper that has its cost, if any.
    """

    name: str
    scale: str
    dtype: str
    images: int
    milliseconds: dict[str, float]
    peak_bytes: int | None
    added_bytes: int | None
    paper_row: PaperRow | None = None


def measure_all(
    enlargers: Sequence[Enlarger],
    files: Sequence[ImageFile],
    scales: Sequence[Scale],
    device: torch.device,
    dtype: torch.dtype,
    *,
    warmup: int,
    tf32: bool = True,
) -> list[Cost]:
    """The costs of all enlargers at all scales that they have, of GT images that are large enough; see `measure`.

    Args:
        tf32: whether CUDA devices multiply float32 in TF32.
    """
    costs = []
    with tqdm(total=len(enlargers) * len(scales) * len(files), unit='image') as bar:
        for enlarger in enlargers:
            if enlarger.network is not None:
                enlarger.network.to(device)
            for scale in scales:
                bar.set_description(f'{enlarger.name} x{format_scale(scale)}')
                images = [_lq(file, scale) for file in files]
                with precision.tf32(tf32):
                    costs.append(measure(enlarger, images, scale, device, dtype, warmup=warmup, progress=bar.update))
            if enlarger.network is not None:
                enlarger.network.cpu()
                give_back(device)
    return [cost for cost in costs if cost is not None]


def _lq(file: ImageFile, scale: Scale) -> tuple[Tensor, Size]:
    """The LR image of a GT image, as in the protocol, and the size of the result."""
    gt, lq = protocol_pair(file, scale)
    return torch.from_numpy(to_float(lq)).permute(2, 0, 1)[None].contiguous(), gt.shape[:2]


def measure(
    enlarger: Enlarger,
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
        enlarger: its network is on the device.
        images: LR (1, 3, h, w) on the CPU and size (H, W) of the result.
        device: where to compute; a transfer to it is not counted.
        dtype: in which a network multiplies.
        warmup: so many images come first and do not count.
        progress: called after each image.

    Returns:
        The cost, or None where the network is of another scale.
    """
    clocks = {name: _Clock(device) for name in enlarger.stages}
    total = _Clock(device)
    used = torch.float32 if enlarger.network is None else dtype
    with ExitStack() as hooks, torch.inference_mode(), autocast(device, used), PeakMemory(device) as memory:
        for name, module in enlarger.stages.items():
            hooks.callback(module.register_forward_pre_hook(clocks[name].start).remove)
            hooks.callback(module.register_forward_hook(clocks[name].stop).remove)
        for index, (lq, size) in enumerate(images):
            if index == warmup:
                for clock in (total, *clocks.values()):
                    clock.seconds = 0.0
            lq = lq.to(device)
            total.start()
            try:
                enlarger.enlarge(lq, size)
            except DoesNotFitError:
                return None
            total.stop()
            progress()
    counted = len(images) - warmup
    milliseconds = {name: clock.seconds * 1e3 / counted for name, clock in clocks.items()}
    whole = total.seconds * 1e3 / counted
    if milliseconds:
        milliseconds[RENDERING] = whole - sum(milliseconds.values())
    return Cost(
        name=enlarger.name,
        scale=format_scale(scale),
        dtype=name_of(used),
        images=counted,
        milliseconds={**milliseconds, 'total': whole},
        peak_bytes=None if memory.bytes is None else memory.before + memory.bytes,
        added_bytes=memory.bytes,
        paper_row=enlarger.paper_row,
    )


def conditions_of(
    device: torch.device, dtype: torch.dtype, files: Sequence[ImageFile], warmup: int, *, tf32: bool = True
) -> str:
    """For what the figures hold, in a sentence."""
    height, width = read_image(files[0]).shape[:2]
    if device.type == 'cuda':
        machine = torch.cuda.get_device_name(device)
    elif device.type != 'cpu':
        machine = f'{device} of {platform.processor() or platform.machine()}'
    else:
        machine = f'CPU {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads'
    products = f'{name_of(dtype)}{_of_float32(tf32) if device.type == "cuda" else ""}'
    return (
        f'{machine}, torch {torch.__version__}, {products}; {len(files)} images of {height} x {width} '
        f'(the first one), the first {warmup} dropped, whole images at once.'
    )


def _of_float32(tf32: bool) -> str:
    return f' (products of float32 in {"TF32" if tf32 else "full"})'


class _Clock:
    """Seconds between start and stop, summed; on a device when its work is done."""

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
        if self.device.type != 'cpu':
            torch.accelerator.synchronize(self.device)
