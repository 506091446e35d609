"""Times the rasterizer: a table, JSON and a chart from one command, `python -m tests.benchmarks.bench_rasterizer`.

Cases: 720 x 720 images at x1 to x30 with the paper's 16 Gaussians per LR pixel, a training batch of 16 mixed scales.
Backends: each instruction set of this CPU, CUDA where there is a GPU, the PyTorch twin, and the paper's Algorithm 1
written plainly in C++ (with its window of 0.1, in training 0.5), on all cores. All times are measured here; where
Algorithm 1 or the twin would take longer than --patience it is not run (the twin), or run on every k-th Gaussian only
and multiplied by k, which the table marks with ~ (its work is proportional to their number).

The floor is the time that the multiplications of the evaluated pairs (or the bytes of inputs and outputs, if that takes
longer) need at the peak of this machine, which is measured too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from gsasr_ops import backend, rasterize_gaussians
from tests.benchmarks.rasterizer.cases import Case, all_cases
from tests.benchmarks.rasterizer.native import Algorithm1, measure_machine

ROOT = Path(__file__).resolve().parents[2]

# Multiplications and multiply-adds of one pair in the CPU kernels' inner loops (ops/rasterizer/cpu_kernel.h): forward 1
# for the exponent, 6 in the exponential, 3 for the colours; backward the same 10, 3 for colour . gradient, 6 for w and
# the moments. Additions, integer operations, loads and stores are left out: some machines do them meanwhile.
OPERATIONS = {'forward': 10, 'backward': 19}


def run_measure(*options: str, **environment: str) -> dict[str, Any]:
    """The JSON of measure.py in a process of its own."""
    command = [sys.executable, '-m', 'tests.benchmarks.rasterizer.measure', *options]
    output = subprocess.run(
        command, env={**os.environ, **environment}, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE
    ).stdout
    return json.loads(output.splitlines()[-1])


def measure_algorithm1(case: Case, algorithm1: Algorithm1, patience: float) -> dict[str, Any]:
    """Times over all images of the case; `fraction` is the part of the Gaussians that was drawn."""
    B = len(case.sizes)
    inputs = case.inputs('cpu')
    N = inputs[0].shape[1]
    # About 6 ns per pixel of the window forward, 12 backward, on one core: only to decide how much to run.
    work = sum(H * W * case.window**2 * N for H, W in case.sizes) * 18e-9 / algorithm1.threads
    step = max(1, round(work / patience))
    times = {'forward': 0.0, 'backward': 0.0}
    for b in range(B):
        # Spread over the image: a run of neighbours would leave most threads without work.
        part = [tensor[b, ::step].contiguous() for tensor in inputs]
        v_image = torch.ones(3, *case.sizes[b])
        start = time.perf_counter()
        algorithm1.forward(part, case.sizes[b], case.scales[b], case.window)
        middle = time.perf_counter()
        algorithm1.backward(part, v_image, case.sizes[b], case.scales[b], case.window)
        times['forward'] += middle - start
        times['backward'] += time.perf_counter() - middle
    factor = N / len(range(0, N, step))
    return {
        'forward_seconds': times['forward'] * factor,
        'backward_seconds': times['backward'] * factor,
        'fraction': 1 / factor,
    }


def check_algorithm1(algorithm1: Algorithm1) -> None:
    """Both draw the same picture and gradients where the window crops nothing: no race against a wrong sum."""
    case = Case('check', (6, 6), [(24, 24)], [4.0], 4.0)
    inputs = [tensor.requires_grad_() for tensor in case.inputs('cpu')]
    image = rasterize_gaussians(*inputs, case.sizes[0], 4.0, support=8.0)[0]
    v_image = torch.rand_like(image)
    expected = torch.autograd.grad(image, inputs, v_image)
    plain = [tensor.detach()[0].contiguous() for tensor in inputs]
    torch.testing.assert_close(algorithm1.forward(plain, case.sizes[0], 4.0, 4.0), image.detach(), rtol=1e-4, atol=1e-4)
    for v, v_expected in zip(algorithm1.backward(plain, v_image, case.sizes[0], 4.0, 4.0), expected):
        torch.testing.assert_close(v, v_expected[0], rtol=1e-3, atol=1e-3)


def floor_seconds(case: Case, pairs: int, machine: dict[str, float], direction: str) -> float:
    N = gaussians(case)
    pixels = sum(H * W for H, W in case.sizes)
    numbers = 9 * N + 3 * pixels  # read all Gaussians, write all pixels; backward also writes 9 N
    moved = 4 * (numbers if direction == 'forward' else numbers + 9 * N)
    arithmetic = pairs * OPERATIONS[direction] / machine['lane_operations_per_second']
    return max(arithmetic, moved / machine['bytes_per_second'])


def gaussians(case: Case) -> int:
    return len(case.sizes) * case.lq_size[0] * case.lq_size[1] * 16


def cpu_name() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        return next(line.split(':')[1].strip() for line in lines if line.startswith('model name'))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--out', type=Path, default=Path('results/benchmark_rasterizer'), help='folder for JSON and chart'
    )
    parser.add_argument('--side', type=int, default=720, help='side of the whole images (720)')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help='CPU threads (all)')
    parser.add_argument('--seconds', type=float, default=2.0, help='time spent on each measurement of ours (2)')
    parser.add_argument(
        '--patience', type=float, default=60.0, help='time allowed for a run of Algorithm 1 or the twin (60)'
    )
    arguments = parser.parse_args()
    try:
        from matplotlib import pyplot  # noqa: F401
    except ImportError:
        parser.error('the chart needs matplotlib, which the package does not depend on: pip install matplotlib')

    cases = all_cases(arguments.side)
    pairs = {case.name: case.pairs() for case in cases}
    common = ['--side', str(arguments.side), '--threads', str(arguments.threads)]
    seconds = ['--seconds', str(arguments.seconds)]
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for name in backend()['instruction_sets']:
        print(f'measuring {name} ...', file=sys.stderr)
        results[name] = run_measure(*common, *seconds, GSASR_CPU=name)['results']
    device = None
    if torch.cuda.is_available():
        print('measuring CUDA ...', file=sys.stderr)
        measured = run_measure(*common, *seconds, '--device', 'cuda')
        results['cuda'], device = measured['results'], measured['device']

    with tempfile.TemporaryDirectory() as folder:
        machine = measure_machine(Path(folder), arguments.threads)
        algorithm1 = Algorithm1(Path(folder), arguments.threads)
        check_algorithm1(algorithm1)
        results['algorithm 1'] = {}
        for case in cases:
            print(f'measuring Algorithm 1, {case.name} ...', file=sys.stderr)
            results['algorithm 1'][case.name] = measure_algorithm1(case, algorithm1, arguments.patience)
    # About 100 ns per pair in the twin, forward and backward, twice each: only to decide whether to run it.
    affordable = [case.name for case in cases if pairs[case.name] * 400e-9 < arguments.patience]
    if affordable:
        print(f'measuring the twin, {", ".join(affordable)} ...', file=sys.stderr)
        options = ['--draw', 'reference', '--seconds', '0', '--cases', *affordable]
        results['reference'] = run_measure(*common, *options)['results']

    report = {
        'machine': {
            'cpu': cpu_name(),
            'gpu': device,
            'threads': arguments.threads,
            'torch': torch.__version__,
            'compiler': backend()['compiler'],
            **machine,
        },
        'side': arguments.side,
        'cases': {
            case.name: {
                'pairs': pairs[case.name],
                'gaussians': gaussians(case),
                'pixels': sum(H * W for H, W in case.sizes),
                'floor_seconds': {way: floor_seconds(case, pairs[case.name], machine, way) for way in OPERATIONS},
                'backends': {name: result[case.name] for name, result in results.items() if case.name in result},
            }
            for case in cases
        },
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_whole(arguments.out / 'rasterizer.json', json.dumps(report, indent=2).encode())
    print(table(report))
    chart(report, arguments.out / 'rasterizer.png')
    print(f'written: {arguments.out / "rasterizer.json"}, {arguments.out / "rasterizer.png"}')


def table(report: dict[str, Any]) -> str:
    """One line per case, direction and backend."""
    machine = report['machine']
    lines = [
        f'{machine["cpu"]}, {machine["threads"]} threads; GPU: {machine["gpu"]}; torch {machine["torch"]}; '
        f'{machine["compiler"]}',
        '',
        '| case | pairs | | backend | ms | ns per pair and core | x Algorithm 1 | x reference | of floor | peak MB |',
        '|---|---|---|---|---|---|---|---|---|---|',
    ]
    for name, case in report['cases'].items():
        for way in OPERATIONS:
            for backend_name in case['backends']:
                cells = row(case, way, backend_name, machine['threads'])
                lines.append(f'| {name} | {case["pairs"]:.2e} | {way} | {backend_name} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def row(case: dict[str, Any], way: str, backend_name: str, threads: int) -> list[str]:
    """Time, time per pair, the two ratios, part of the floor, memory."""
    result = case['backends'][backend_name]
    taken = result[f'{way}_seconds']
    mark = '~' if result.get('fraction', 1) < 1 else ''
    per_pair = floor = ''
    if backend_name not in ('cuda', 'algorithm 1', 'reference'):
        per_pair = f'{taken / case["pairs"] * 1e9 * threads:.2f}'
        floor = f'{case["floor_seconds"][way] / taken:.0%}'
    ratios = [
        f'{case["backends"][other][f"{way}_seconds"] / taken:.1f}' if other in case['backends'] else ''
        for other in ('algorithm 1', 'reference')
    ]
    return [f'{mark}{taken * 1e3:.4g}', per_pair, *ratios, floor, megabytes(result.get(f'{way}_peak_bytes'))]


def megabytes(count: int | None) -> str:
    return '' if count is None else f'{count / 1e6:.0f}'


def chart(report: dict[str, Any], path: Path) -> None:
    """Times of all backends, forward and backward, logarithmic."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(13, 5), sharey=True, layout='constrained')
    names = list(report['cases'])
    backends = list(dict.fromkeys(name for case in report['cases'].values() for name in case['backends']))
    width = 0.8 / (len(backends) + 1)
    for axis, way in zip(axes, OPERATIONS):
        for k, backend_name in enumerate(backends):
            measured = [
                (x, case['backends'][backend_name][f'{way}_seconds'] * 1e3)
                for x, case in enumerate(report['cases'].values())
                if backend_name in case['backends']
            ]
            axis.bar(
                [x + (k - len(backends) / 2) * width for x, _ in measured],
                [y for _, y in measured],
                width,
                label=backend_name,
            )
        floors = [case['floor_seconds'][way] * 1e3 for case in report['cases'].values()]
        axis.plot(range(len(names)), floors, 'k_', markersize=24, label='floor (CPU)')
        axis.set(
            title=way,
            xticks=range(len(names)),
            xticklabels=names,
            yscale='log',
            xlabel=f'{report["side"]} x {report["side"]} pixels, and a training batch',
        )
        axis.grid(axis='y', alpha=0.3)
    axes[0].set_ylabel('milliseconds')
    axes[0].legend()
    figure.suptitle(
        f'{report["machine"]["cpu"]}, {report["machine"]["threads"]} threads; GPU: {report["machine"]["gpu"]}'
    )
    temporary = path.with_name(f'.{path.name}.part')
    figure.savefig(temporary, dpi=150, format='png')
    temporary.replace(path)


def write_whole(path: Path, data: bytes) -> None:
    temporary = path.with_name(f'.{path.name}.part')
    temporary.write_bytes(data)
    temporary.replace(path)


if __name__ == '__main__':
    main()
