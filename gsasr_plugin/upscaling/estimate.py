"""What a job will cost, from a small one that is run and measured.

The network's work and memory grow with the LR pixels (attention is within windows), those of drawing and writing with
the output's pixels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gsasr_plugin.free_memory import free_bytes
from gsasr_plugin.peak_memory import PeakMemory
from gsasr_plugin.sizes import Size
from gsasr_plugin.upscaling.upscaler import Upscaler

PROBE_SIDE = 64  # about: a multiple of the network's windows is taken
PROBE_SCALE = 3
# Bytes per output pixel beside the drawing: the sum over turns, and the pixels as floats and as levels when written.
RESULT_BYTES = 3 * (4 + 4 + 4 + 2)
OUT_OF_MEMORY = 'it does not fit into memory'


def beyond_memory(sizes: Sequence[Size]) -> str | None:
    """Why results of these sizes (H, W) do not fit into memory together, None where they do."""
    needed = RESULT_BYTES * sum(H * W for H, W in sizes)
    free = free_bytes(torch.device('cpu'))
    if needed <= free:
        return None
    return f'{OUT_OF_MEMORY}: the result takes {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free'


@dataclass(frozen=True)
class Cost:
    """Per pixel, as measured.

    Attributes:
        seconds_per_lq_pixel, bytes_per_lq_pixel: of one encoding.
        seconds_per_pixel, bytes_per_pixel: of drawing.
        Bytes are None where they cannot be measured.
    """

    seconds_per_lq_pixel: float
    bytes_per_lq_pixel: float | None
    seconds_per_pixel: float
    bytes_per_pixel: float | None

    def seconds(self, tiles: Sequence[Size], sizes: Sequence[Size], *, encodings: int, drawings: int) -> float:
        """Time for one picture that is encoded and drawn that often, without reading and writing files.

        Args:
            tiles: sizes (h, w) of the parts in which the network sees the picture.
            sizes: (H, W) of the results.
        """
        drawn = sum(H * W for H, W in sizes) * drawings / len(sizes)
        return self.seconds_per_lq_pixel * sum(h * w for h, w in tiles) * encodings + self.seconds_per_pixel * drawn

    def bytes(self, tiles: Sequence[Size], sizes: Sequence[Size]) -> float | None:
        """Memory for one picture beside the network: the larger of encoding's and drawing's, and all results."""
        if self.bytes_per_lq_pixel is None or self.bytes_per_pixel is None:
            return None
        encoding = self.bytes_per_lq_pixel * max(h * w for h, w in tiles)
        drawing = self.bytes_per_pixel * max(H * W for H, W in sizes)
        return max(encoding, drawing) + RESULT_BYTES * sum(H * W for H, W in sizes)


def measure_cost(upscaler: Upscaler) -> Cost:
    """Runs the network on a small picture, three times: the first is slow, and others may disturb the next."""
    multiple = upscaler.net.padding_multiple
    side = multiple * max(1, round(PROBE_SIDE / multiple))
    size = (PROBE_SCALE * side, PROBE_SCALE * side)
    lq = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    encoding_seconds, drawing_seconds = math.inf, math.inf
    for _ in range(3):
        with PeakMemory(upscaler.device) as encoding_memory:
            start = time.perf_counter()
            gaussians = upscaler.gaussians(lq, size)
            _wait(upscaler.device)
            encoding_seconds = min(encoding_seconds, time.perf_counter() - start)
        with PeakMemory(upscaler.device) as drawing_memory, torch.inference_mode():
            start = time.perf_counter()
            upscaler.net.render(gaussians, size)
            _wait(upscaler.device)
            drawing_seconds = min(drawing_seconds, time.perf_counter() - start)
    lq_pixels, pixels = side * side, size[0] * size[1]
    return Cost(
        seconds_per_lq_pixel=encoding_seconds / lq_pixels,
        bytes_per_lq_pixel=None if encoding_memory.bytes is None else encoding_memory.bytes / lq_pixels,
        seconds_per_pixel=drawing_seconds / pixels,
        bytes_per_pixel=None if drawing_memory.bytes is None else drawing_memory.bytes / pixels,
    )


def _wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
