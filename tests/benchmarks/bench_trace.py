"""What a forward pass and a training step ask of a GPU, without one: `python -m tests.benchmarks.bench_trace`.

For each network at each scale, at the output size of the paper's protocol: launches, bytes, floating-point operations,
calls for which the host waits, which attention kernel is met, and ESTIMATES of the time on an A100 and an H100 (see
`trace/roofline.py`). Nothing here is measured. `--document FILE` writes the estimates of a file that `--json` has
written into docs/gpu.md.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.trace import document
from tests.benchmarks.trace.roofline import DEVICES, HOST
from tests.benchmarks.trace.runs import OUTPUT, PRECISIONS, forward, networks, training_step
from tests.benchmarks.trace.tracer import Trace


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--networks', nargs='+', default=['gsasr_edsr'], choices=networks(), help='of option files')
    parser.add_argument('--scales', nargs='*', type=int, default=[2, 4, 12])
    parser.add_argument('--precisions', nargs='+', default=['float32', 'tf32', 'bf16'], choices=PRECISIONS)
    parser.add_argument('--no-training', action='store_true', help='no training step of 16 samples of 48 x 48')
    parser.add_argument('--operations', type=int, default=0, help='list so many of the longest, by name')
    parser.add_argument('--json', type=Path, help='also write the figures there, after each line')
    parser.add_argument(
        '--document', type=Path, metavar='FILE', help='such a file, whose estimates go into docs/gpu.md'
    )
    arguments = parser.parse_args()
    if arguments.document:
        document.write(arguments.document)
        return
    print(f'ESTIMATES for {OUTPUT} x {OUTPUT} output, not measurements; host: {HOST * 1e6:.0f} us a launch, no graphs')
    print(f'{"":34}launches    GB   TFLOP  waits  attention' + ''.join(f'  {name:>9}' for name in DEVICES) + '   host')
    rows = []
    for title, trace in _traces(arguments):
        rows.append(_row(title, trace, arguments.operations))
        if arguments.json:
            arguments.json.write_text(json.dumps(rows, indent=1) + '\n')


def _traces(arguments: argparse.Namespace) -> Iterator[tuple[str, Trace]]:
    for name in arguments.networks:
        for precision in arguments.precisions:
            for scale in arguments.scales:
                yield f'{name} x{scale} {precision}', forward(name, scale, precision)
            if not arguments.no_training:
                yield f'{name} training {precision}', training_step(name, precision)


def _row(title: str, trace: Trace, longest: int) -> dict[str, Any]:
    """Prints a line about a trace, and gives its figures."""
    milliseconds = {name: device.total(trace) * 1e3 for name, device in DEVICES.items()}
    kernels = Counter(call['kernel'] for call in trace.attention)
    print(
        f'{title:34}{trace.launches:8}{trace.bytes / 1e9:7.1f}{trace.flops / 1e12:7.2f}{len(trace.waits):7}  '
        f'{",".join(f"{count} {kernel}" for kernel, count in kernels.items()) or "-":12}'
        + ''.join(f'{ms:8.1f} ms' for ms in milliseconds.values())
        + f'{trace.launches * HOST * 1e3:7.1f}',
        flush=True,
    )
    for name, seconds in DEVICES['A100'].by_name(trace).most_common(longest):
        ops = [op for op in trace.ops if op.name == name]
        size = sum(op.bytes for op in ops) / 1e9
        print(f'    {name:44}{sum(op.launches for op in ops):6} launches{size:8.2f} GB{seconds * 1e3:9.2f} ms on A100')
    if trace.waits:
        print(f'    waits: {dict(Counter(trace.waits))}')
    return {
        'title': title,
        'launches': trace.launches,
        'bytes': trace.bytes,
        'flops': trace.flops,
        'waits': trace.waits,
        'attention': dict(kernels),
        'estimated_ms': milliseconds,
    }


if __name__ == '__main__':
    main()
