"""Estimates of time from traces: the longer of moving the bytes and multiplying, for each operation.

They are estimates: no operation is faster than its bytes and products allow, many are slower. What stays in a cache
between two operations is counted as if it went to memory and back.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tests.benchmarks.trace.tracer import Op, Trace

LAUNCH = 2e-6  # seconds on the device
HOST = 6e-6  # seconds of Python and PyTorch for each


@dataclass(frozen=True)
class Device:
    """What a GPU is taken to reach: bytes a second and, by what multiplies, operations a second."""

    bandwidth: float
    rates: dict[str, float]

    def seconds(self, op: Op) -> float:
        """An estimate."""
        multiplying = op.flops / self.rates[op.unit] if op.flops else 0.0
        return max(op.bytes / self.bandwidth, multiplying) + op.launches * LAUNCH

    def total(self, trace: Trace) -> float:
        """An estimate of all, where the host keeps up."""
        return sum(map(self.seconds, trace.ops))

    def by_name(self, trace: Trace) -> Counter[str]:
        """The estimates, added up for each operation."""
        times: Counter[str] = Counter()
        for op in trace.ops:
            times[op.name] += self.seconds(op)  # type: ignore[assignment]  # a Counter may count seconds
        return times


# About 80 % of what the data sheets say of products and 70 % of memory, as large kernels reach. The memory-efficient
# attention multiplies float32 as three products of TF32, and reaches half of what products of matrices do.
DEVICES = {
    'A100': Device(
        1.35e12, {'fp32': 17e12, 'tf32': 85e12, 'half': 130e12, 'attention fp32': 14e12, 'attention half': 65e12}
    ),
    'H100': Device(
        2.6e12, {'fp32': 48e12, 'tf32': 220e12, 'half': 400e12, 'attention fp32': 36e12, 'attention half': 200e12}
    ),
}
