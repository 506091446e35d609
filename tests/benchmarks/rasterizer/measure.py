"""Times one backend on all cases and prints them as JSON; started anew for each instruction set, which is chosen at the
start of a process."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch

from gsasr_ops import backend, rasterize_gaussians, rasterize_gaussians_reference
from gsasr_plugin.peak_memory import PeakMemory
from tests.benchmarks.rasterizer.cases import Case, all_cases


def shortest(call: Callable[[], Any], seconds: float, device: str) -> float:
    """The shortest time of several calls within about `seconds`, in seconds; the first call counts if it is long."""

    def once() -> float:
        if device == 'cuda':
            torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        if device == 'cuda':
            torch.cuda.synchronize()
        return time.perf_counter() - start

    times = [once()]
    while sum(times) < seconds:
        times.append(once())
    return min(times)


def measure(case: Case, draw: Callable[..., Any], device: str, seconds: float) -> dict[str, Any]:
    inputs = [tensor.requires_grad_() for tensor in case.inputs(device)]

    def forward() -> list[torch.Tensor]:
        return draw(*inputs, case.sizes, case.scales)

    with PeakMemory(device) as forward_memory:
        images = forward()
    v_images = [torch.ones_like(image) for image in images]
    with PeakMemory(device) as backward_memory:
        torch.autograd.grad(images, inputs, v_images)
    del images
    with torch.no_grad():
        forward_time = shortest(forward, seconds, device)
    images = forward()
    backward_time = shortest(lambda: torch.autograd.grad(images, inputs, v_images, retain_graph=True), seconds, device)
    return {
        'forward_seconds': forward_time,
        'backward_seconds': backward_time,
        'forward_peak_bytes': forward_memory.bytes,
        'backward_peak_bytes': backward_memory.bytes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--draw', choices=['native', 'reference'], default='native')
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--side', type=int, default=720)
    parser.add_argument('--seconds', type=float, default=2.0)
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--cases', nargs='*')
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    draw = rasterize_gaussians if arguments.draw == 'native' else rasterize_gaussians_reference
    results = {
        case.name: measure(case, draw, arguments.device, arguments.seconds)
        for case in all_cases(arguments.side)
        if not arguments.cases or case.name in arguments.cases
    }
    name = torch.cuda.get_device_name() if arguments.device == 'cuda' else ''
    print(json.dumps({'results': results, 'backend': backend(), 'device': name}))


if __name__ == '__main__':
    main()
