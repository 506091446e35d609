"""Time on the CUDA device: of a graph's replay, in which no Python stands between the kernels, or of calls."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import torch


def call_ms(call: Callable[[], Any], repetitions: int = 5) -> float:
    """The median time of a call as its caller sees it, in milliseconds, after two to warm up."""
    for _ in range(2):
        call()
    times = []
    for _ in range(repetitions):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return sorted(times)[len(times) // 2]


def device_ms(call: Callable[[], Any], repetitions: int = 20, calls: int = 10) -> float:
    """The median time of the calls' kernels on the CUDA device, in milliseconds: captured in a graph, and replayed.

    Args:
        call: what is measured.
        repetitions: of the graph.
        calls: in the graph, so that starting it counts for little.
    """

    def all_calls() -> None:
        for _ in range(calls):
            call()

    graph, _ = captured(all_calls)
    times = []
    for _ in range(repetitions):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / calls)
    return sorted(times)[len(times) // 2]


def captured(call: Callable[[], Any]) -> tuple[torch.cuda.CUDAGraph, Any]:
    """A graph of a call, and what the call returned in it. RuntimeError where it does what a graph cannot hold."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        call()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call()
    return graph, result


def kernel_us(call: Callable[[], Any], repetitions: int = 5) -> dict[str, float]:
    """The time of each kind of kernel in one call, in microseconds."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        for _ in range(repetitions):
            call()
        torch.cuda.synchronize()
    times: dict[str, float] = {}
    for event in profiled.key_averages():
        if found := re.search(r'(\w+_kernel)\b|Memset', event.key):
            times[found[0]] = times.get(found[0], 0.0) + event.device_time_total / repetitions
    return {name: round(spent, 1) for name, spent in times.items()}
