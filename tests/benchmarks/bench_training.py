"""LR pixels per second and core of a training by an option file, beside those of another commit in the same run:
`python -m tests.benchmarks.bench_training --against COMMIT`.

All that a step takes counts: samples (made in the training process itself), network, rasterizer, loss, gradient,
optimizer and average of the weights. Images are textures of scikit-image, whatever data the option file names. Two
processes, one for each commit, take turns with a few steps each; time is the processor time of the process, so that
other work on the machine counts little, and what remains of it cancels in the ratio of two neighbours, of which the
median is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
TEXTURES = ('brick.png', 'grass.png', 'gravel.png')


class Trainer:
    """A training in a process of its own, with the code of one folder.

    Args:
        code: a checkout of this repository.
        options: as in an option file, complete.
        folder: for what the process needs to find.
    """

    def __init__(self, code: Path, options: dict[str, Any], folder: Path) -> None:
        folder.mkdir()
        (folder / 'gsasr_ops').symlink_to(code / 'ops')
        file = folder / 'options.json'
        file.write_text(json.dumps(options | {'path': {'experiments_root': str(folder)}}))
        self.process = subprocess.Popen(
            # This file, whatever the commit: an older one has none.
            [sys.executable, str(Path(__file__).resolve()), '--steps-of', str(file)],
            cwd=folder,
            env={**os.environ, 'PYTHONPATH': f'{code}{os.pathsep}{folder}'},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seconds(self, steps: int) -> float:
        """Processor time of so many further steps."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(steps, file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            if line.startswith('seconds '):
                return float(line.split()[1])
        raise SystemExit(f'the training ended with status {self.process.wait()}')

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def run_steps(file: Path) -> None:
    """What the process of a `Trainer` does."""
    import skimage
    import torch
    from torch.utils.data import DataLoader

    import gsasr_plugin  # noqa: F401

    # isort: split
    from basicsr.models import build_model

    from gsasr_plugin.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset
    from gsasr_plugin.data.epoch_sampler import EpochSampler

    torch.manual_seed(0)
    options = json.loads(file.read_text())
    section = options['datasets']['train']
    names = file.with_name('textures.txt')
    names.write_text('\n'.join(TEXTURES))
    data = {'phase': 'train', 'dataroot_gt': str(Path(skimage.__file__).parent / 'data'), 'meta_info_file': str(names)}
    dataset = ArbitraryScalePairedDataset(section | data | {'cache': 'memory'})
    sampler = EpochSampler(dataset, 1, 0, ratio=1e6)
    batches = iter(DataLoader(dataset, section['batch_size_per_gpu'], sampler=sampler))
    model: Any = build_model(options)
    iteration = 0
    for line in sys.stdin:
        start = time.process_time()
        for _ in range(int(line)):
            iteration += 1
            model.update_learning_rate(iteration, warmup_iter=options['train'].get('warmup_iter', -1))
            model.feed_data(next(batches))
            model.optimize_parameters(iteration)
        print('seconds', time.process_time() - start, flush=True)


def completed(file: Path, overrides: list[str]) -> dict[str, Any]:
    """The options of a training, for one process on the CPU without files."""
    options = yaml.safe_load(file.read_text())
    for override in overrides:
        keys, value = override.split('=', 1)
        section = options
        *path, last = keys.split(':')
        for key in path:
            section = section[key]
        section[last] = yaml.safe_load(value)
    return options | {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1, 'num_gpu': 0, 'val': None}


def compare(trainers: dict[str, Trainer], rounds: int, steps: int, lr_pixels: int) -> None:
    """Measures in turns, and prints LR pixels per second of each, and the median ratio of neighbours."""
    for trainer in trainers.values():
        trainer.seconds(3)  # warms up
    times: dict[str, list[float]] = {name: [] for name in trainers}
    for round_ in range(rounds):
        # Each goes first every other time: what follows may find a slower machine.
        for name in sorted(trainers, reverse=round_ % 2 == 1):
            times[name].append(trainers[name].seconds(steps))
    for name, taken in times.items():
        median = statistics.median(taken) / steps
        print(f'{name}: {lr_pixels / median:,.0f} LR pixels per second and core, {median:.3f} s per step')
    if len(times) == 2:
        first, second = times.values()
        ratios = sorted(b / a for a, b in zip(first, second))
        print(f'times as fast: {statistics.median(ratios):.2f} (pairs: {ratios[0]:.2f} to {ratios[-1]:.2f})')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-opt', type=Path, default=ROOT / 'options/train_gsasr_small.yml', help='option file')
    against = (
        'a commit, whose kernels are compiled first, or the folder of a checkout: measured beside the working tree'
    )
    parser.add_argument('--against', metavar='COMMIT', help=against)
    parser.add_argument('--rounds', type=int, default=9, help='of measuring (9)')
    parser.add_argument('--steps', type=int, default=4, help='in each round (4)')
    parser.add_argument('--force', nargs='+', default=[], metavar='a:b=c', help='other values of options')
    parser.add_argument('--steps-of', type=Path, help=argparse.SUPPRESS)  # one training, in a process of its own
    arguments = parser.parse_args()
    if arguments.steps_of:
        run_steps(arguments.steps_of)
        return
    options = completed(arguments.opt, arguments.force)
    section = options['datasets']['train']
    with tempfile.TemporaryDirectory(prefix='bench-training-') as folder_name:
        folder = Path(folder_name)
        worktree = None
        trainers = {'here': Trainer(ROOT, options, folder / 'here')}
        try:
            if arguments.against:
                code = Path(arguments.against)
                if not code.is_dir():
                    code = worktree = folder / 'against'
                    add = ['git', 'worktree', 'add', '-q', '--detach', worktree, arguments.against]
                    subprocess.run(add, cwd=ROOT, check=True)
                trainers[arguments.against] = Trainer(code.resolve(), options, folder / 'other')
            compare(
                trainers, arguments.rounds, arguments.steps, section['batch_size_per_gpu'] * section['lq_size'] ** 2
            )
        finally:
            for trainer in trainers.values():
                trainer.close()
            if worktree is not None:
                subprocess.run(['git', 'worktree', 'remove', '--force', worktree], cwd=ROOT, check=True)


if __name__ == '__main__':
    main()
