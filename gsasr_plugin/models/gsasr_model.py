"""GSASRModel: the host's SRModel, fed with scales."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from pydantic import Field
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.decoder import CheckpointedParts
from gsasr_plugin.archs.tile_options import TileOptions
from gsasr_plugin.checkpoint import DESCRIPTION, PARAMETER_KEYS, cpu_state, describe, read_model
from gsasr_plugin.models.compute import ComputeOptions, autocast, laid_out, prepare
from gsasr_plugin.models.host_files import host_files_whole
from gsasr_plugin.models.image_values import ImageValues
from gsasr_plugin.models.scale_validation import build_metrics, validate_scales
from gsasr_plugin.models.testing_report import Mean
from gsasr_plugin.models.training_speed import TrainingSpeed
from gsasr_plugin.models.validation_grids import GridLoader
from gsasr_plugin.paper_tables import PaperRow

OPTIMIZERS = ('Adam', 'AdamW', 'Adamax', 'SGD', 'ASGD', 'RMSprop', 'Rprop')


@dataclass
class GSASRTrainOptions(ComputeOptions):
    """What GSASRModel accepts in `train:` beside the host's keys; see also `ComputeOptions`.

    Attributes:
        grad_clip: largest norm of the gradient of all parameters together, positive; None does not clip.
        gradient_checkpointing: what is computed again in the backward pass to save memory, see
            `GaussianDecoder.checkpoint_gradients`: heads, decoder, or None for nothing.
    """

    grad_clip: Annotated[float, Field(gt=0)] | None = None
    gradient_checkpointing: CheckpointedParts | None = None


@dataclass(kw_only=True)
class GSASRValOptions(ComputeOptions, TileOptions):
    """What GSASRModel accepts in `val:` beside the host's keys; see also `ComputeOptions` and `TileOptions`.

    Attributes:
        compare_bicubic: also compute the metrics of the LR image's bicubic enlargement, as the yardstick.
        grids: images of each scale that are shown in a grid of LR, bicubic, SR, GT and difference, on the disk
            (`visualization/<data set>/grids`) and in tensorboard.
        paper_row: testing: the row of the paper whose figures stand beside ours: the encoder, with the Gaussians per LR
            pixel in its ablation. None: by the encoder and `gaussian_density` of `network_g`.
    """

    compare_bicubic: bool = False
    grids: Annotated[int, Field(ge=0)] = 0
    paper_row: PaperRow | Literal['none'] | None = None


@MODEL_REGISTRY.register()
class GSASRModel(SRModel):
    """Trains and tests GSASR on batches of mixed scales.

    A batch is `lq` (B, 3, h, w) and, with ground truth, `gt`, a list of B images (3, H_i, W_i); without it, `size`
    (B, 2), (H, W) of each result. The loss is the mean over the samples of each sample's
    own loss (not over all pixels), for every loss of the host.
    """

    train_options_class = GSASRTrainOptions
    val_options_class = GSASRValOptions
    optimizers = OPTIMIZERS

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.validated: set[tuple[int, int]] = set()  # loaders, by identity, and iterations
        self.speed = TrainingSpeed(self.device, opt.get('world_size', 1))
        self.tested: list[ImageValues] = []  # of all data sets so far, when testing
        self.means: list[Mean] = []
        if opt['rank'] == 0:  # it validates alone
            build_metrics(self)

    def init_training_settings(self) -> None:
        """As the host's, with the average of the weights set up for validation, and losses scaled in fp16."""
        super().init_training_settings()
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.opt['train'].get('autocast') == 'fp16')
        if self.ema_decay > 0:
            prepare(self.net_g_ema, self.opt.get('val') or {})

    def feed_data(self, data: dict[str, Any]) -> None:
        """Takes a batch of `ArbitraryScalePairedDataset`.

        Raises:
            ValueError: the batch is another data set's and does not say how large the results are.
        """
        if not ('gt' in data or 'size' in data):
            raise ValueError(
                f'GSASRModel needs a gt or a size of each image, as ArbitraryScalePairedDataset gives them; '
                f'this batch has {", ".join(data)}'
            )
        self.lq = data['lq'].to(self.device, non_blocking=True)
        self.gt = [gt.to(self.device, non_blocking=True) for gt in data.get('gt', [])]  # empty without ground truth
        sizes = [gt.shape[-2:] for gt in self.gt] or data['size'].tolist()
        self.sizes = [tuple(size) for size in sizes]

    def optimize_parameters(self, current_iter: int) -> None:
        """One step on the batch fed."""
        train_opt = self.opt['train']
        self.optimizer_g.zero_grad()
        with autocast(self.device, train_opt):
            self.output = list(self.net_g(laid_out(self.lq, train_opt), size=self.sizes))
        losses = self._losses(self.output)
        self.scaler.scale(torch.stack(list(losses.values())).sum()).backward()
        grad_clip = train_opt.get('grad_clip')
        if grad_clip is not None:
            self.scaler.unscale_(self.optimizer_g)
            losses['grad_norm'] = nn.utils.clip_grad_norm_(self.net_g.parameters(), grad_clip)
        self.scaler.step(self.optimizer_g)
        self.scaler.update()
        self.log_dict = self.reduce_loss_dict(losses)
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)
        self.speed.step(len(self.output))

    def get_current_log(self) -> OrderedDict[str, float]:
        """The losses, samples per second, and memory in GiB."""
        return OrderedDict(**self.log_dict, **self.speed.report())

    def _losses(self, output: list[Tensor]) -> OrderedDict[str, Tensor]:
        """The batch's value of each loss in use, by its name in the log."""
        criteria: list[tuple[Callable[..., Any], tuple[str, ...]]] = []
        if self.cri_pix:
            criteria.append((self.cri_pix, ('l_pix',)))
        if self.cri_perceptual:
            criteria.append((self.cri_perceptual, ('l_percep', 'l_style')))
        losses: OrderedDict[str, Tensor] = OrderedDict()
        for criterion, names in criteria:
            for sr, gt in zip(output, self.gt, strict=True):
                values = criterion(sr[None], gt[None])
                for name, value in zip(names, values if isinstance(values, tuple) else (values,), strict=True):
                    if value is not None:  # a perceptual or style term that is switched off
                        losses[name] = losses.get(name, 0) + value / len(output)
        return losses

    def test(self) -> None:
        """Super-resolves the batch fed, with the averaged weights where there are any, and tiled as `val` says."""
        net = self.tested_net()
        val_opt = self.opt.get('val') or {}
        training = net.training
        net.eval()
        tile_options = {option.name: val_opt[option.name] for option in fields(TileOptions) if option.name in val_opt}
        with torch.inference_mode(), autocast(self.device, val_opt):
            self.output = list(net(laid_out(self.lq, val_opt), size=self.sizes, **tile_options))
        net.train(training)

    def tested_net(self) -> nn.Module:
        """The network that `test` runs."""
        # Bare: one process validates alone, and the wrapper of several would wait for the others.
        return self.get_bare_model(getattr(self, 'net_g_ema', self.net_g))

    def get_current_visuals(self) -> OrderedDict[str, Tensor]:
        """The first image of the batch fed: lq, result and, where known, gt, each (1, 3, ., .) on the CPU."""
        visuals = OrderedDict(lq=self.lq[:1].detach().cpu(), result=self.output[0][None].detach().cpu())
        if self.gt:
            visuals['gt'] = self.gt[0][None].detach().cpu()
        return visuals

    def nondist_validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        """Runs the host's metrics for each scale of a data set, once for each iteration.

        The host ends with a validation at one or two iterations past the last, which may have been validated already.
        """
        if self.is_train:
            last = int(self.opt['train']['total_iter'])
            once_more = int(current_iter) > last
            current_iter = min(int(current_iter), last)
            if once_more and (id(dataloader), last) in self.validated:
                return
            self.validated.add((id(dataloader), current_iter))
        self.speed.interrupt()
        validate_scales(self, GridLoader(self, dataloader, current_iter, tb_logger), current_iter, tb_logger, save_img)

    def save(self, epoch: int, current_iter: int) -> None:
        """Writes network and training state; a kill leaves the files of before, or the new ones."""
        if self.opt['rank'] == 0:
            with host_files_whole(self.opt['path'], ('models', 'training_states')):
                super().save(epoch, current_iter)

    def save_network(
        self,
        net: nn.Module | list[nn.Module],
        net_label: str,
        current_iter: int,
        param_key: str | list[str] = 'params',
    ) -> None:
        """As the host's, with the options of the network beside its weights: the file describes itself."""
        nets = [self.get_bare_model(one) for one in (net if isinstance(net, list) else [net])]
        if not all(isinstance(one, GSASR) for one in nets):
            super().save_network(net, net_label, current_iter, param_key)
            return
        keys = param_key if isinstance(param_key, list) else [param_key]
        held = {key: cpu_state(one) for key, one in zip(keys, nets, strict=True)}
        name = f'{net_label}_{"latest" if current_iter == -1 else current_iter}.pth'
        torch.save({**held, DESCRIPTION: describe(nets[0])}, os.path.join(self.opt['path']['models'], name))

    def load_network(
        self, net: nn.Module, load_path: str | list[str], strict: bool = True, param_key: str | None = 'params'
    ) -> None:
        """As the host's, from every source that `read_model` knows; `param_key` is for one file.

        Raises:
            FileNotFoundError, ValueError: see `read_model`; with `strict`, the file describes another network.
            RuntimeError: with `strict`, the tensors are those of another network.
        """
        bare = self.get_bare_model(net)
        if not isinstance(bare, GSASR):
            super().load_network(net, load_path, strict, param_key)
            return
        one_file = isinstance(load_path, str) and os.path.isfile(load_path)
        param_keys = [key for key in (param_key, 'params') if key] if one_file else PARAMETER_KEYS
        stored = read_model(load_path, param_keys=param_keys)
        if strict:
            stored.check_options(bare.options)
        get_root_logger().info(f'Loading GSASR from {stored.source}.')
        self._print_different_keys_loading(bare, stored.state, strict)
        bare.load_state_dict(stored.state, strict=strict)

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """As the host's, which asks for CUDA in every distributed run, and splits a batch blindly in others.

        The network is first set up to compute by the options of `train`, or of `val` when testing.
        """
        net = net.to(self.device)
        if isinstance(net, GSASR):
            options = self.opt.get('train' if self.is_train else 'val') or {}
            prepare(net, options)
            net.decoder.checkpoint_gradients(options.get('gradient_checkpointing'))
        if self.opt['dist']:
            devices = [torch.cuda.current_device()] if self.device.type == 'cuda' else None
            unused = self.opt.get('find_unused_parameters', False)
            return DistributedDataParallel(net, device_ids=devices, find_unused_parameters=unused)
        if self.opt['num_gpu'] > 1:
            get_root_logger().warning(
                f'num_gpu is {self.opt["num_gpu"]}, but one process drives one GPU. For all of them: '
                f'torchrun --nproc_per_node={self.opt["num_gpu"]} -m gsasr_plugin train -opt FILE --launcher pytorch'
            )
        return net

    def get_optimizer(self, optim_type: str, params: Any, lr: float, **kwargs: Any) -> torch.optim.Optimizer:
        """As the host's, which knows Adam only."""
        if optim_type not in OPTIMIZERS:
            raise ValueError(f'train.optim_g.type: {optim_type!r} is not one of {", ".join(OPTIMIZERS)}')
        return getattr(torch.optim, optim_type)(params, lr, **kwargs)
