"""Processor time and memory of one photograph, of each network in a process of its own with one thread."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gsasr_plugin.archs.inference import for_inference
from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.data.data_roots import resolve_root
from gsasr_plugin.data.eight_bit import to_float
from gsasr_plugin.data.image_files import ImageFile, read_image
from gsasr_plugin.peak_memory import PeakMemory
from gsasr_plugin.precision import DTYPES, FLOAT32, autocast, dtype_of
from gsasr_plugin.sizes import enlarged_size
from gsasr_plugin.whole_file import write_table, write_whole
from tests.benchmarks.bench_rasterizer import cpu_name
from tests.benchmarks.liif.sources import BICUBIC, names_of, network_of

ROOT = Path(__file__).resolve().parents[3]
PHOTOGRAPH = 'package:skimage.data/coffee.png'
COLUMNS = ('network', 'dtype', 'seconds', 'peak MB', 'parameters')


def add_cost_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument('networks', nargs='+', help='folders of train, packaged models, files')
    command.add_argument('--photograph', default=PHOTOGRAPH, help=f'file, also of a package ({PHOTOGRAPH}, 600 x 400)')
    command.add_argument('--crop', type=int, help='side of the square in its middle (the whole)')
    command.add_argument('--scale', type=float, default=3, help='(3)')
    command.add_argument('--repeats', type=int, default=3, help='of which the median is printed (3)')
    command.add_argument('--dtypes', nargs='+', choices=tuple(DTYPES), default=[FLOAT32, 'bf16'])
    command.add_argument('--out', type=Path, help='folder of the tables')


def compare_costs(arguments: argparse.Namespace) -> None:
    """Measures all, and prints and writes the table."""
    what = [(BICUBIC, BICUBIC, FLOAT32)]
    what += [
        (name, source, dtype) for name, source in names_of(arguments.networks).items() for dtype in arguments.dtypes
    ]
    rows = []
    for name, source, dtype in what:
        cost = _in_a_process({**vars(arguments), 'source': source, 'dtype': dtype})
        rows.append((name, dtype, f'{cost["seconds"]:.3g}', f'{cost["bytes"] / 1e6:.0f}', f'{cost["parameters"]:,}'))
    cropped = f', {arguments.crop} x {arguments.crop} of it' if arguments.crop else ''
    head = (
        f'{arguments.photograph}{cropped}, x{arguments.scale:g}; one thread of {cpu_name()}, torch '
        f'{torch.__version__}; processor time, median of {arguments.repeats}; peak memory beyond what the loaded '
        'network takes.'
    )
    lines = [f'| {" | ".join(row)} |' for row in (COLUMNS, ('---',) * len(COLUMNS), *rows)]
    text = '\n'.join((head, '', *lines)) + '\n'
    print(text)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        write_whole(arguments.out / 'cost.md', text)
        write_table(arguments.out / 'cost.csv', COLUMNS, rows)


def _in_a_process(wanted: dict[str, Any]) -> dict[str, Any]:
    keys = ('source', 'dtype', 'photograph', 'crop', 'scale', 'repeats')
    command = [sys.executable, '-m', 'tests.benchmarks.liif.cost', json.dumps({key: wanted[key] for key in keys})]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, text=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])


def measure(source: str, dtype: str, photograph: str, crop: int | None, scale: float, repeats: int) -> dict[str, Any]:
    """Median seconds and peak bytes of enlarging a photograph; the first call's bytes, the later ones' seconds."""
    root, _, name = photograph.rpartition('/')
    path = Path(resolve_root(root or '.'), name)
    image = to_float(read_image(ImageFile(root, str(path), path.stem, 'disk')))  # (h, w, 3)
    if crop is not None:
        top, left = ((length - crop) // 2 for length in image.shape[:2])
        image = image[top : top + crop, left : left + crop].copy()
    h, w = image.shape[:2]
    size = enlarged_size((h, w), (scale, scale))
    net = None if source == BICUBIC else network_of(source)[0]
    snapshot = None if net is None else for_inference(net)
    lq = torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()

    def enlarge() -> Any:
        return resize_bicubic(image, size) if snapshot is None else snapshot(lq, size=size)

    seconds = []
    with torch.inference_mode(), autocast(lq.device, dtype_of(dtype)):
        with PeakMemory('cpu') as memory:
            result = enlarge()
        assert tuple(result.shape[-2:] if isinstance(result, Tensor) else result.shape[:2]) == size
        for _ in range(repeats):
            start = time.process_time()
            enlarge()
            seconds.append(time.process_time() - start)
    return {
        'seconds': statistics.median(seconds),
        'bytes': memory.bytes or 0,
        'parameters': 0 if net is None else sum(parameter.numel() for parameter in net.parameters()),
    }


if __name__ == '__main__':
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
