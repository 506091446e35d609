"""Training a rival with the data, the batches, the optimizer and the schedule of one of our option files, for so many
minutes of processor time.

Processor time is that of the steps; data are left out, which BasicSR's loop has a worker process for, and validations.
"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.models import lr_scheduler
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from gsasr_plugin import stop_signals
from gsasr_plugin.checkpoints.state_file import read_file
from gsasr_plugin.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset
from gsasr_plugin.data.epoch_sampler import EpochSampler
from gsasr_plugin.free_memory import keep_freed_memory
from gsasr_plugin.models.compute import autocast, laid_out, prepare
from gsasr_plugin.whole_file import replacing, write_table
from tests.benchmarks.liif.network import LIIF
from tests.benchmarks.liif.quality import mean_psnr

NETWORKS = ('liif', 'liif-skip', 'ours')
STATE = 'state.pth'
CURVE = 'curve.csv'
SAVED_EVERY = 60  # seconds of processor time
RAW, AVERAGED = 'params', 'params_ema'  # of the weights
LOSS = 'loss'
LOSS_FREQ = 25  # iterations whose mean loss is a point of the curve


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long a training is, whatever it has done so far; one of the two is given.

    Attributes:
        minutes: of processor time.
        iterations: steps.

    Raises:
        ValueError: neither is given, or one is not positive.
    """

    minutes: float | None = None
    iterations: int | None = None

    def __post_init__(self) -> None:
        if not (self.minutes or self.iterations or 0) > 0:
            raise ValueError(f'minutes or iterations must be positive, got {self.minutes} and {self.iterations}')

    def used(self, iteration: int, seconds: float) -> float:
        """The part of it that is over, from 0 to 1, after so many steps that took so long."""
        part = iteration / self.iterations if self.iterations else seconds / (60 * (self.minutes or 0))
        return min(part, 1.0)


def build(name: str, network_g: Mapping[str, Any]) -> nn.Module:
    """The network of a name in `NETWORKS`, on the encoder of a section `network_g`, or the section's own."""
    if name == 'ours':
        return build_network(copy.deepcopy(dict(network_g)))
    return LIIF(encoder_opt=network_g['encoder_opt'], skip=name == 'liif-skip')


def learning_rates(train_opt: Mapping[str, Any]) -> list[float]:
    """Of each iteration of an option file's own run, without the warm-up."""
    options = dict(train_opt['scheduler'])
    name = options.pop('type')
    name = 'MultiStepRestartLR' if name == 'MultiStepLR' else name  # as BasicSR
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=train_opt['optim_g']['lr'])
    scheduler = getattr(lr_scheduler, name)(optimizer, **options)
    rates = []
    for _ in range(train_opt['total_iter']):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        scheduler.step()
    return rates


class Training:
    """One network, trained by an option file; goes on with what its folder holds.

    Args:
        opt: an option file.
        name: of `NETWORKS`.
        budget: how long the training is in all; the schedule of the file is stretched or compressed to it.
        queries: pixels of each sample that LIIF is trained on.
        folder: gets the state and the curve.

    Raises:
        ValueError: the folder holds another training, or the file asks for what is not done here.
    """

    def __init__(self, opt: Mapping[str, Any], *, name: str, budget: Budget, queries: int, folder: Path) -> None:
        self.opt, self.name, self.budget, self.queries, self.folder = opt, name, budget, queries, folder
        self.train_opt = train_opt = opt['train']
        if queries < 1:
            raise ValueError(f'queries must be at least 1, got {queries}')
        others = [key for key in train_opt if key.endswith('_opt') and key != 'pixel_opt' and train_opt[key]]
        if train_opt.get('autocast') == 'fp16' or (name == 'ours' and others):
            raise ValueError(f'bench_rival trains by pixel_opt alone, and not in fp16; train has {", ".join(others)}')
        self.settings = {
            'network': name,
            'queries': queries if name != 'ours' else None,
            **{key: copy.deepcopy(opt[key]) for key in ('network_g', 'train')},
            'data': copy.deepcopy(opt['datasets']['train']),
            'manual_seed': opt.get('manual_seed', 0),
        }
        torch.manual_seed(self.settings['manual_seed'])
        self.net = build(name, opt['network_g'])
        self.averaged = copy.deepcopy(self.net).requires_grad_(False)
        prepare(self.net, train_opt, trains=True)
        self.criterion = build_loss(dict(train_opt['pixel_opt']))
        optim = dict(train_opt['optim_g'])
        optim_type = optim.pop('type')
        fused = {'fused': True} if optim_type in ('Adam', 'AdamW') else {}  # as GSASRModel
        self.optimizer = getattr(torch.optim, optim_type)(self.net.parameters(), **fused, **optim)
        self.rates = learning_rates(train_opt)
        self.iteration, self.seconds = 0, 0.0
        self.curve: list[tuple[int, float, str, float]] = []  # iteration, minutes, what, value
        self.losses: list[float] = []  # since the last point of the curve
        if (folder / STATE).exists():
            self._resume()

    def run(self, validated_every: int) -> None:
        """Trains to the end of the budget, or until a signal asks to stop, and saves.

        Args:
            validated_every: so many iterations, beside the end.

        Raises:
            Stopped: by the signal.
        """
        keep_freed_memory()
        batches, saved = self._batches(), self.seconds
        with stop_signals.stop_signals():
            while self.budget.used(self.iteration, self.seconds) < 1:
                if signal := stop_signals.requested():
                    self.save()
                    raise stop_signals.Stopped(signal, f'saved at iteration {self.iteration}')
                self._step(next(batches))
                if self.iteration % validated_every == 0:
                    self.validate()
                if self.seconds - saved > SAVED_EVERY:
                    self.save()
                    saved = self.seconds
            self.validate()
            self.save()

    def rate(self) -> float:
        """The learning rate of the next step."""
        iteration, warmup = self.iteration + 1, self.train_opt.get('warmup_iter', -1)
        if iteration < warmup:
            return self.rates[0] / warmup * iteration  # as BasicSR
        used = self.budget.used(self.iteration, self.seconds)
        return self.rates[min(int(used * len(self.rates)), len(self.rates) - 1)]

    def _batches(self) -> Iterator[dict[str, Any]]:
        """From the next step's on: those that BasicSR's loop would train with, in its order."""
        section = {'phase': 'train', **self.opt['datasets']['train']}
        batch = section['batch_size_per_gpu']
        dataset = ArbitraryScalePairedDataset(section)
        sampler = EpochSampler(dataset, 1, 0, section.get('dataset_enlarge_ratio', 1))
        sampler.seed = self.settings['manual_seed']
        own = torch.Generator()  # else each epoch's beginning would draw from the one that pixels are drawn by
        loader = DataLoader(dataset, batch_size=batch, sampler=sampler, drop_last=True, generator=own)
        first, done = divmod(self.iteration, len(loader))
        sampler.resume(first, done * batch)
        for epoch in itertools.count(first):
            sampler.set_epoch(epoch)
            yield from loader

    def _step(self, batch: dict[str, Any]) -> None:
        start = time.process_time()
        for group in self.optimizer.param_groups:
            group['lr'] = self.rate()
        self.optimizer.zero_grad()
        loss = self._loss(batch['lq'], batch['gt'])
        loss.backward()
        if self.train_opt.get('grad_clip') is not None:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.train_opt['grad_clip'])
        self.optimizer.step()
        averages, parameters = list(self.averaged.parameters()), list(self.net.parameters())
        get_ema_multi_avg_fn(self.train_opt.get('ema_decay', 0))(averages, parameters, 0)  # as GSASRModel
        self.losses.append(loss.item())
        self.seconds += time.process_time() - start
        self.iteration += 1
        if self.iteration % LOSS_FREQ == 0:
            self._note(LOSS, sum(self.losses) / len(self.losses))
            self.losses = []

    def _loss(self, lq: Tensor, gt: list[Tensor]) -> Tensor:
        """The mean over the samples of each sample's own loss, as GSASRModel computes it."""
        sizes = [tuple(image.shape[-2:]) for image in gt]
        lq = laid_out(lq, self.train_opt)
        with autocast(lq.device, self.train_opt):
            if self.name == 'ours':
                results, targets = list(self.net(lq, size=sizes)), gt
            else:
                pixels = [torch.randperm(H * W)[: self.queries] for H, W in sizes]
                results = self.net(lq, size=sizes, pixels=pixels)
                targets = [image.flatten(1)[:, at] for image, at in zip(gt, pixels)]
        return torch.stack([self.criterion(sr, image) for sr, image in zip(results, targets)]).mean()

    def _note(self, what: str, value: float) -> None:
        self.curve.append((self.iteration, self.seconds / 60, what, value))

    def validate(self) -> None:
        """PSNR on the file's own validation set of the raw and of the averaged weights, once for an iteration."""
        if any(iteration == self.iteration and what != LOSS for iteration, _, what, _ in self.curve):
            return
        for key, net in ((RAW, self.net), (AVERAGED, self.averaged)):
            values = mean_psnr(net, self.opt['datasets']['val'], self.opt['val']['metrics']['psnr'], self.train_opt)
            for scale, (value, bicubic) in values.items():
                self._note(f'{key} x{scale}', value)
                print(
                    f'{self.name}, iteration {self.iteration}, {self.seconds / 60:.2f} minutes, {key}, x{scale}: '
                    f'{value:.2f} dB, {value - bicubic:+.2f} over bicubic',
                    flush=True,
                )

    def best_key(self) -> str:
        """Which of the weights were better in the last validation, on the mean over the scales."""
        last = [(what, value) for iteration, _, what, value in self.curve if iteration == self.iteration]
        sums = {key: sum(value for what, value in last if what.startswith(f'{key} ')) for key in (RAW, AVERAGED)}
        return max(sums, key=lambda key: sums[key])

    def save(self) -> None:
        """Writes state and curve, each whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            'settings': self.settings,
            RAW: self.net.state_dict(),
            AVERAGED: self.averaged.state_dict(),
            'best': self.best_key(),
            'optimizer': self.optimizer.state_dict(),
            'iteration': self.iteration,
            'seconds': self.seconds,
            'random': torch.get_rng_state(),
            'curve': self.curve,
            'losses': self.losses,
        }
        with replacing(self.folder / STATE) as path:
            torch.save(state, path)
        rows = [(iteration, f'{minutes:.3f}', what, f'{value:.6g}') for iteration, minutes, what, value in self.curve]
        write_table(self.folder / CURVE, ('iteration', 'minutes', 'what', 'value'), rows)

    def _resume(self) -> None:
        state = read_file(self.folder / STATE)
        differing = [key for key, value in self.settings.items() if state['settings'].get(key) != value]
        if differing:
            raise ValueError(f'{self.folder / STATE} holds a training with other settings: {", ".join(differing)}')
        self.net.load_state_dict(state[RAW])
        self.averaged.load_state_dict(state[AVERAGED])
        self.optimizer.load_state_dict(state['optimizer'])
        self.iteration, self.seconds = state['iteration'], state['seconds']
        self.curve, self.losses = [tuple(row) for row in state['curve']], state['losses']
        torch.set_rng_state(state['random'])


def trained(folder: Path) -> tuple[nn.Module, str]:
    """The network that a training has left, in evaluation mode, and what became of it, for tables.

    Its weights are those that were better when it ended.
    """
    state = read_file(folder / STATE)
    net = build(state['settings']['network'], state['settings']['network_g'])
    net.load_state_dict(state[state['best']])
    which = {RAW: 'raw', AVERAGED: 'averaged'}[state['best']]
    minutes = state['seconds'] / 60
    return net.eval(), f'{state["iteration"]:,} iterations, {minutes:.1f} minutes of processor time, {which} weights'
