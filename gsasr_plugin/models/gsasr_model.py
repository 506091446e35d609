"""GSASRModel: BasicSR's SRModel, fed with scales."""

from collections import OrderedDict
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.utils import get_root_logger
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from gsasr_plugin import stop_signals
from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.inference import for_inference
from gsasr_plugin.archs.tile_options import TileOptions
from gsasr_plugin.basicsr_private import log_metrics, note_best
from gsasr_plugin.checkpoints import kept_models
from gsasr_plugin.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset
from gsasr_plugin.free_memory import keep_freed_memory
from gsasr_plugin.models.bad_steps import Verdict, judge, report_bad_step, write_bad_step
from gsasr_plugin.models.compute import autocast, laid_out, prepare, tf32
from gsasr_plugin.models.criterion import Criterion, Losses
from gsasr_plugin.models.gradients import backward
from gsasr_plugin.models.gsasr_options import GSASRLoggerOptions, GSASRTrainOptions, GSASRValOptions
from gsasr_plugin.models.resumable_model import ResumableModel
from gsasr_plugin.models.training_speed import TrainingSpeed
from gsasr_plugin.models.validation.image_values import WHOLE_IMAGE, ImageValues, ValuesFile, run_key
from gsasr_plugin.models.validation.metric_values import build_network_metrics
from gsasr_plugin.models.validation.paper_tables import PaperRow, paper_row
from gsasr_plugin.models.validation.scale_validation import ValidationOptions, validate
from gsasr_plugin.models.validation.tables import Mean, add_to_training_tables, markdown, means, write_test_tables
from gsasr_plugin.models.validation.validation_grids import write_batch
from gsasr_plugin.run_errors import RunError

OPTIMIZERS = ('Adam', 'AdamW', 'Adamax', 'SGD', 'ASGD', 'RMSprop', 'Rprop')


class GSASRModel(ResumableModel):
    """Trains and tests GSASR on batches of mixed scales.

    A batch is `lq` (B, 3, h, w) and, with ground truth, `gt`, a list of B images (3, H_i, W_i); without it, `size`
    (B, 2), (H, W) of each result. Each term of the loss is the mean over the samples of each sample's own loss (not
    over all pixels).
    """

    network_types = (GSASR,)
    dataset_types = (ArbitraryScalePairedDataset,)
    crop_border_auto = True
    train_options_class: type[GSASRTrainOptions] = GSASRTrainOptions
    val_options_class = GSASRValOptions
    logger_options_class = GSASRLoggerOptions
    optimizer_types = OPTIMIZERS

    def __init__(self, opt: dict[str, Any]) -> None:
        self.stop_signal = 0  # that all processes know of
        self.bad_steps = 0
        self.batches_shown = 0
        self.snapshot: nn.Module | None = None  # during a validation
        super().__init__(opt)
        kept_models.forget()  # its weights are in place
        self.speed = TrainingSpeed(self.device, opt.get('world_size', 1))
        self.tested: list[ImageValues] = []  # of all data sets so far, when testing
        build_network_metrics((opt.get('val') or {}).get('metrics') or {}, str(self.device))

    def init_training_settings(self) -> None:
        """As BasicSR's, with a `Criterion`, the average of the weights set up for validation, losses scaled in fp16.

        Raises:
            RunError: pairs are to be trained on with `consistency`.
        """
        data = self.opt.get('datasets', {}).get('train', {})
        if data.get('dataroot_lq') is not None and self.get_bare_model(self.net_g).consistency:
            raise RunError(
                'datasets.train.dataroot_lq: LR images of a camera are no bicubic reductions of GT, to which '
                'consistency would hold the result: set network_g.consistency: 0'
            )
        train_opt, path = self.opt['train'], self.opt['path']
        self.net_g.train()
        self.ema_decay = train_opt.get('ema_decay', 0)
        if self.ema_decay > 0:
            self.net_g_ema = build_network(self.opt['network_g']).to(self.device)
            if path.get('pretrain_network_g') is None:
                self.model_ema(0)
            else:
                strict = path.get('strict_load_g', True)
                self.load_network(self.net_g_ema, path['pretrain_network_g'], strict, 'params_ema')
            self.net_g_ema.eval()
            prepare(self.net_g_ema, self.opt.get('val') or {})
        self.criterion = Criterion(train_opt, self.device)
        self.setup_optimizers()
        self.setup_schedulers()
        if self.device.type == 'cpu':
            keep_freed_memory()
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=train_opt.get('autocast') == 'fp16')

    def feed_data(self, data: dict[str, Any]) -> None:
        """Takes a batch of `ArbitraryScalePairedDataset`."""
        self.batch = data
        self.lq = data['lq'].to(self.device, non_blocking=True)
        self.gt = [gt.to(self.device, non_blocking=True) for gt in data.get('gt', [])]  # empty without ground truth
        sizes = [gt.shape[-2:] for gt in self.gt] or data['size'].tolist()
        self.sizes = [tuple(size) for size in sizes]

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """As BasicSR's, with which a step begins; instead of it a run that was asked to stop is saved, and stops."""
        asked = stop_signals.requested() or 0
        self._stop_if(self.stop_signal if self.opt['dist'] else asked)
        super().update_learning_rate(current_iter, warmup_iter)

    def _stop_if(self, signal_number: int) -> None:
        """Saves and stops, if there is a signal; in all processes or in none."""
        if not signal_number:
            return
        self._save_reached()
        where = f'saved at iteration {self.iteration}' if self.iteration else 'before the first iteration'
        raise stop_signals.Stopped(signal_number, f'{where}; --auto_resume goes on from there')

    def optimize_parameters(self, current_iter: int) -> None:
        """One step on the batch fed.

        Raises:
            RunError: too many losses or gradients were not finite; the training is saved.
        """
        train_opt = self.opt['train']
        self.iteration = current_iter
        self._show_batch()
        if 'drawn' in self.batch:
            _, self.epoch, _, last = self.batch['drawn'][-1].tolist()
            self.position = last + self.opt['world_size'] - self.opt['rank']
        random_before = torch.get_rng_state()
        with tf32(train_opt):
            losses, optimizers = self._compute_gradients()
        norms = {name: self._gradient_norm(optimizer) for name, optimizer in optimizers.items()}
        verdict = judge(losses, torch.stack(list(norms.values())), self.scaler, dist=self.opt['dist'])
        self.stop_signal = verdict.stop_signal
        if not verdict.is_bad:
            for name, optimizer in optimizers.items():
                if train_opt.get('grad_clip') is not None:
                    nn.utils.clip_grads_with_norm_(_parameters(optimizer), train_opt['grad_clip'], norms[name])
                    losses[name] = norms[name]
                if not verdict.overflows:
                    optimizer.step()  # the scaler's would wait for the device once more
        self.scaler.update()
        self.log_dict = self._means_of_processes(losses)
        if verdict.is_bad:
            self._leave_out(verdict, norms, random_before)
        elif self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)
        self.speed.step(len(self.output))

    def _compute_gradients(self) -> tuple[Losses, dict[str, torch.optim.Optimizer]]:
        """Computes the result, the losses and the scaled gradients of the batch fed.

        Returns:
            The losses, and the optimizers whose step they are for, by the names of their gradients' norms in the log.
        """
        self.optimizer_g.zero_grad()
        train_opt, grids = self.opt['train'], self.batch.get('grid')
        self.output, losses = backward(self.net_g, self.lq, self.gt, self._losses_of, self.scaler, train_opt, grids)
        return losses, {'grad_norm': self.optimizer_g}

    def _losses_of(self, output: list[Tensor], part: slice) -> Losses:
        """What a part of the batch's samples contributes to its losses."""
        return self.criterion(output, self.gt[part], len(self.gt))

    def _gradient_norm(self, optimizer: torch.optim.Optimizer) -> Tensor:
        """The norm of the gradient of all parameters of an optimizer, which is no longer scaled."""
        self.scaler.unscale_(optimizer)
        return nn.utils.get_total_norm([p.grad for p in _parameters(optimizer) if p.grad is not None])

    def _show_batch(self) -> None:
        """Writes the batch as a picture, if it is one of the first."""
        if self.opt['rank'] == 0 and self.batches_shown < (self.opt.get('logger') or {}).get('batch_grids', 0):
            self.batches_shown += 1
            write_batch(Path(self.opt['path']['visualization'], 'batches'), self.iteration, self.lq, self.gt)

    def _leave_out(self, verdict: Verdict, norms: dict[str, Tensor], random_before: Tensor) -> None:
        """Reports a step that was left out, and stops the run after too many."""
        self.bad_steps += 1
        limit = self.opt['train'].get('max_bad_steps', GSASRTrainOptions.max_bad_steps)
        if verdict.is_culprit:
            batch = {**self.batch, 'lq': self.lq.cpu(), 'gt': [gt.cpu() for gt in self.gt], 'random': random_before}
            losses = {name: float(value) for name, value in {**self.log_dict, **norms}.items()}
            content = {'iteration': self.iteration, 'batch': batch, 'losses': losses, **self._other_weights()}
            folder, net = Path(self.opt['path']['experiments_root']), self.get_bare_model(self.net_g)
            file = write_bad_step(folder, self.opt['rank'], net, content)
            report_bad_step(file, content, f'{self.bad_steps} of at most {limit}')
        if self.bad_steps >= limit:
            self._save_reached()
            raise RunError(
                f'train.max_bad_steps: the loss or gradient of {limit} steps was not finite. The training is saved as '
                f'it is at iteration {self.iteration}, without them; the log names their batches'
            )

    def _other_weights(self) -> dict[str, Any]:
        """Weights of other networks than net_g that a step is computed from."""
        return {}

    def get_current_log(self) -> OrderedDict[str, float]:
        """The losses, samples per second, and memory in GiB."""
        values = torch.stack(list(self.log_dict.values())).tolist() if self.log_dict else []
        return OrderedDict(**dict(zip(self.log_dict, values)), **self.speed.report())

    def _means_of_processes(self, losses: Losses) -> Losses:
        """The losses of all processes on the first one. Nobody waits for them but who reads them, for the log."""
        values = torch.stack([value.detach().float() for value in losses.values()])
        if self.opt['dist']:
            torch.distributed.reduce(values, dst=0)
            values /= self.opt['world_size'] if self.opt['rank'] == 0 else 1
        return OrderedDict(zip(losses, values.unbind()))

    def test(self) -> None:
        """Super-resolves the batch fed, with the averaged weights where there are any, and tiled as `val` says."""
        if self.is_train and not self.opt['dist']:
            self._stop_if(stop_signals.requested() or 0)
        net = self._for_inference() if self.snapshot is None else self.snapshot
        val_opt = self.opt.get('val') or {}
        training = net.training
        net.eval()
        tile_options = {option.name: val_opt[option.name] for option in fields(TileOptions) if option.name in val_opt}
        try:
            with torch.inference_mode(), tf32(val_opt), autocast(self.device, val_opt):
                self.output = list(net(laid_out(self.lq, val_opt), size=self.sizes, **tile_options))
        finally:
            net.train(training)  # a training goes on where an image fails

    def tested_net(self) -> nn.Module:
        """The network that `test` runs a snapshot of."""
        # Bare: each process has images of its own, and the wrapper of several would wait for the others.
        return self.get_bare_model(getattr(self, 'net_g_ema', self.net_g))

    def _for_inference(self) -> nn.Module:
        """What `test` runs: a snapshot of the tested network, or that itself where it is compiled instead."""
        options = self.opt.get('train' if self.is_train and self.ema_decay == 0 else 'val') or {}
        net, graph = self.tested_net(), bool((self.opt.get('val') or {}).get('cuda_graph'))
        return net if options.get('compile') else for_inference(net, cuda_graph=graph)

    def get_current_visuals(self) -> OrderedDict[str, Tensor]:
        """The first image of the batch fed: lq, result and, where known, gt, each (1, 3, ., .) on the CPU."""
        visuals = OrderedDict(lq=self.lq[:1].detach().cpu(), result=self.output[0][None].detach().cpu())
        if self.gt:
            visuals['gt'] = self.gt[0][None].detach().cpu()
        return visuals

    def dist_validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        """As for one process, with a share of the images for each."""
        self.nondist_validation(dataloader, current_iter, tb_logger, save_img)

    def nondist_validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        """Runs BasicSR's metrics for each scale of a data set, once for each iteration.

        BasicSR ends with a validation at one or two iterations past the last, which may have been validated already.
        """
        if self.is_train:
            last = int(self.opt['train']['total_iter'])
            once_more = int(current_iter) > last
            current_iter = min(int(current_iter), last)
            if once_more and (id(dataloader), last) in self.validated:
                return
            self.validated.add((id(dataloader), current_iter))
        self.speed.interrupt()
        self.snapshot = self._for_inference()  # weights are packed once for all images
        try:
            self._validate(dataloader.dataset, current_iter, tb_logger, save_img=save_img)
        finally:
            self.snapshot = None
        if self.is_train:
            self._keep_best(int(current_iter))

    def _validate(self, dataset: Any, current_iter: int | str, tb_logger: Any, *, save_img: bool) -> None:
        """Validates or tests a data set, and reports the means of each scale in the log, in tables and in tensorboard.

        Raises:
            RunError: no image at all could be tested.
        """
        opt, val_opt, name = self.opt, self.opt['val'], dataset.opt['name']
        options = ValidationOptions(
            is_train=self.is_train,
            label=current_iter,
            folder=Path(opt['path']['visualization']) / name,
            suffix=val_opt.get('suffix') or opt['name'],
            device=str(self.device),
            auto_resume=opt.get('auto_resume', False),
            save_img=save_img,
            **{key: val_opt[key] for key in ('metrics', 'compare_bicubic', 'grids', 'pbar') if val_opt.get(key)},
        )
        if self.is_train:
            values = validate(self._super_resolved, dataset, options, tb_logger=tb_logger)
            table = means(values, options.metrics, iteration=str(current_iter))
            self._log_means(table, current_iter, tb_logger)
            if table:
                add_to_training_tables(Path(opt['path']['experiments_root']), table, opt['name'])
            return
        folder = Path(opt['path']['results_root'])
        key = run_key(self.tested_net().state_dict(), opt['network_g'], val_opt, dataset.opt)
        values = validate(self._super_resolved, dataset, options, values_file=ValuesFile(folder, key, rank=opt['rank']))
        row = val_opt.get('paper_row') or paper_row(opt['network_g'])
        row = None if row == 'none' else row
        self._log_means(means(values, options.metrics, row=row), current_iter, tb_logger, row)
        self.tested += values
        table = means(self.tested, options.metrics, row=row)
        if table:
            write_test_tables(folder, self.tested, table, opt['name'], row)
        if values and all(WHOLE_IMAGE in image.failed for image in values):
            raise RunError(f'{name}: none of its {len(values)} images could be tested; the log says why')

    def _super_resolved(self, data: dict[str, Any]) -> OrderedDict[str, Tensor]:
        """What `get_current_visuals` shows of a batch."""
        try:
            self.feed_data(data)
            self.test()
            return self.get_current_visuals()
        finally:
            if self.device.type == 'cuda':
                torch.cuda.empty_cache()  # sizes differ: what one image left behind rarely fits the next

    def _log_means(
        self, table: list[Mean], current_iter: int | str, tb_logger: Any, row: PaperRow | None = None
    ) -> None:
        """The means of a data set in the log and in tensorboard, and beside the best of a training."""
        for scale in dict.fromkeys(mean.scale for mean in table):
            name = f'{table[0].dataset}_x{scale}'
            self.metric_results = {mean.metric: mean.model for mean in table if mean.scale == scale}
            if self.is_train:
                note_best(self, name, self.metric_results, current_iter)
                for metric, value in self.metric_results.items():
                    self.best.add(metric, value, int(current_iter))
            log_metrics(self, name, current_iter, tb_logger)
        if table:
            get_root_logger().info('\n' + markdown(table, self.opt['name'], row))

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """As BasicSR's, which would split a batch blindly among the GPUs of one process.

        The network is first set up to compute by the options of `train`, or of `val` when testing.
        """
        net = net.to(self.device)
        if isinstance(net, GSASR):
            options = self.opt.get('train' if self.is_train else 'val') or {}
            prepare(net, options, trains=self.is_train)
            net.decoder.checkpoint_gradients(options.get('gradient_checkpointing'))
        if self.opt['num_gpu'] > 1 and not self.opt['dist']:
            get_root_logger().warning(
                f'num_gpu is {self.opt["num_gpu"]}, but one process drives one GPU. For all of them: '
                f'torchrun --nproc_per_node={self.opt["num_gpu"]} -m gsasr_plugin train -opt FILE --launcher pytorch'
            )
            return net
        return super().model_to_device(net)

    def get_optimizer(self, optim_type: str, params: Any, lr: float, **kwargs: Any) -> torch.optim.Optimizer:
        """As BasicSR's, which knows Adam only."""
        if optim_type not in OPTIMIZERS:
            raise ValueError(f'train.optim_g.type: {optim_type!r} is not one of {", ".join(OPTIMIZERS)}')
        # In one pass over memory on CPUs, unless an option asks for another way, or excludes this one.
        others = {'fused', 'foreach', 'capturable', 'differentiable'}
        if optim_type in ('Adam', 'AdamW') and self.device.type == 'cpu' and not kwargs.keys() & others:
            kwargs['fused'] = True
        return getattr(torch.optim, optim_type)(params, lr, **kwargs)

    def model_ema(self, decay: float = 0.999) -> None:
        """As BasicSR's, of all parameters in one call."""
        averages, parameters = (list(net.parameters()) for net in (self.net_g_ema, self.get_bare_model(self.net_g)))
        get_ema_multi_avg_fn(decay)(averages, parameters, 0)


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Those that have a gradient."""
    return [p for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
