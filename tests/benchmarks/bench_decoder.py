"""Times the Gaussian decoder and its memory beside a plain transcription of the released one, with the same weights:
`python -m tests.benchmarks.bench_decoder`.

The baseline has full scale attention, explicit softmax attention and heads applied to all Gaussians at once. Times are
the shortest of several rounds in which all take turns; memory is that of a process of its own, beyond what it used
before. `of peak`: the products' time at the rate of the largest matrix product of this machine, over the time taken.

The baseline's time depends on the heap. In a process that has done nothing else, which is what is timed, every hidden
layer takes new pages from the system; out of a heap with gigabytes to spare it takes two thirds to four fifths as long.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from gsasr_plugin.whole_file import replacing
from tests.benchmarks.bench_rasterizer import cpu_name
from tests.benchmarks.decoder.cases import VARIANTS, decoder, decoder_inputs, inference, picture, training_step
from tests.benchmarks.rasterizer.measure import PeakMemory

ROOT = Path(__file__).resolve().parents[2]
SIDE = 60  # LR pixels of the timed map
MEMORY_SIDES = (180, 360)  # x4 and x2 to 720 x 720
INFERENCE = ('baseline', 'ours', 'bf16')
TRAINING = ('baseline', 'ours', 'recomputed', 'bf16')


def interleaved(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The shortest time of each call, in seconds; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: min(taken[1:]) for name, taken in times.items()}


def matmul_peak(dtype: torch.dtype) -> float:
    """Floating-point operations per second of a large matrix product."""
    a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
    seconds = interleaved({'product': lambda: a @ b}, 10)['product']
    return 2 * 2048**3 / seconds


def operations(variant: str) -> int:
    """Floating-point operations of the products and convolutions that the decoder needs.

    Counted in our decoder, which leaves out what the scale attention need not compute, and with gradients, where it
    takes PyTorch's plain products: the counter does not see into fused kernels.
    """
    decode, _ = decoder('ours', variant)
    with FlopCounterMode(display=False) as counter:
        decode(*decoder_inputs(SIDE))
    return counter.get_total_flops()


def peak_bytes(kind: str, which: str, variant: str, side: int) -> int:
    """Of one call in a process of its own."""
    command = [sys.executable, '-m', 'tests.benchmarks.bench_decoder', '--memory', kind, which, variant, str(side)]
    output = subprocess.run(command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE).stdout
    return json.loads(output.splitlines()[-1])


def print_peak(kind: str, which: str, variant: str, side: str) -> None:
    call = training_step(which, variant) if kind == 'training' else inference(which, variant, int(side))
    with PeakMemory('cpu') as memory:
        call()
    print(json.dumps(memory.bytes))


def inference_seconds(variant: str, rounds: int) -> dict[str, float]:
    return interleaved({which: inference(which, variant, SIDE) for which in INFERENCE}, rounds)


def all_peak_bytes(variant: str, training: bool) -> dict[str, Any]:
    peaks: dict[str, Any] = {
        'peak_bytes': {
            side: {which: peak_bytes('inference', which, variant, side) for which in INFERENCE} for side in MEMORY_SIDES
        }
    }
    if training:
        peaks['training_peak_bytes'] = {which: peak_bytes('training', which, variant, 48) for which in TRAINING}
    return peaks


def bfloat16_errors(variant: str) -> dict[str, float]:
    """Of a picture, beside that of float32."""
    exact, half = (picture(inference(which, variant, SIDE)()).clamp(0, 1) for which in ('ours', 'bf16'))
    return {
        'bf16_levels': ((half - exact).abs().mean() * 255).item(),
        'bf16_psnr': (-10 * (half - exact).square().mean().log10()).item(),
    }


def training_seconds(variant: str, rounds: int) -> dict[str, float]:
    return interleaved({which: training_step(which, variant) for which in TRAINING}, rounds)


def table(report: dict[str, Any]) -> str:
    machine = report['machine']
    lines = [
        f'{machine["cpu"]}, {machine["threads"]} threads, torch {machine["torch"]}; matrix products at '
        f'{machine["peak"]["ours"] / 1e9:.0f} GFLOP/s in float32, {machine["peak"]["bf16"] / 1e9:.0f} in bfloat16',
        '',
        '| variant | what | | seconds | x baseline | of peak | peak MB | of baseline |',
        '|---|---|---|---|---|---|---|---|',
    ]
    for variant, result in report['variants'].items():
        for which, seconds in result['seconds'].items():
            ratio = result['seconds']['baseline'] / seconds
            peak = result['operations'] / machine['peak'].get(which, machine['peak']['ours']) / seconds
            lines.append(f'| {variant} | {SIDE} x {SIDE} | {which} | {seconds:.2f} | {ratio:.2f} | {peak:.0%} | | |')
        for side, memory in result['peak_bytes'].items():
            for which, used in memory.items():
                lines.append(f'| {variant} | {side} x {side} | {which} | | | | {megabytes(used, memory)} |')
        for which, seconds in result.get('training_seconds', {}).items():
            ratio = result['training_seconds']['baseline'] / seconds
            memory = result['training_peak_bytes']
            used = megabytes(memory[which], memory)
            lines.append(f'| {variant} | training step | {which} | {seconds:.2f} | {ratio:.2f} | | {used} |')
        lines.append(
            f'| {variant} | bf16 to float32 | {result["bf16_levels"]:.3f} levels, '
            f'{result["bf16_psnr"]:.1f} dB | | | | | |'
        )
    return '\n'.join(lines)


def megabytes(used: int, memory: dict[str, int]) -> str:
    return f'{used / 1e6:.0f} | {used / memory["baseline"]:.2f}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('results/benchmark_decoder'), help='folder for the JSON')
    parser.add_argument('--rounds', type=int, default=5, help='of timing (5)')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help='CPU threads (all)')
    parser.add_argument('--variants', nargs='+', choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument('--no-training', action='store_true', help='leave the training step out')
    parser.add_argument('--memory', nargs=4, help=argparse.SUPPRESS)  # one measurement, in a process of its own
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.memory:
        print_peak(*arguments.memory)
        return
    variants, training = arguments.variants, not arguments.no_training
    # In this order, for gradients leave gigabytes to the heap: the baseline would be faster, and the largest of those
    # whose memory is measured, 15 GB, might find no room beside them.
    results: dict[str, dict[str, Any]] = {v: {'seconds': inference_seconds(v, arguments.rounds)} for v in variants}
    for variant, result in results.items():
        result |= all_peak_bytes(variant, training)
    for variant, result in results.items():
        result |= {'operations': operations(variant), **bfloat16_errors(variant)}
        if training:
            result['training_seconds'] = training_seconds(variant, arguments.rounds)
    report = {
        'machine': {
            'cpu': cpu_name(),
            'threads': arguments.threads,
            'torch': torch.__version__,
            'peak': {'ours': matmul_peak(torch.float32), 'bf16': matmul_peak(torch.bfloat16)},
        },
        'variants': results,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    with replacing(arguments.out / 'decoder.json') as path:
        path.write_text(json.dumps(report, indent=2))
    print(table(report))
    print(f'written: {arguments.out / "decoder.json"}')


if __name__ == '__main__':
    main()
