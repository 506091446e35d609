"""GSASRGANModel: GSASRModel with a discriminator, as BasicSR's SRGANModel is its SRModel with one."""

import warnings
from contextlib import nullcontext
from typing import Any

import torch
from basicsr.archs import build_network
from torch import Tensor

from gsasr_plugin.checkpoints.model_file import cpu_state
from gsasr_plugin.models.adversarial import (
    crop_corners,
    crop_side,
    crops,
    discriminator_backward,
    gradients_pass,
    spectra_kept,
    verdicts,
)
from gsasr_plugin.models.criterion import Losses
from gsasr_plugin.models.gradients import results_of
from gsasr_plugin.models.gsasr_model import GSASRModel
from gsasr_plugin.models.gsasr_options import GSASRGANTrainOptions


class GSASRGANModel(GSASRModel):
    """Trains GSASR against a discriminator, which judges crops of one size of the images that are drawn at any scale.

    Both networks take a step on each batch, or neither; `train.net_d_iters` and `net_d_init_iters` leave out steps of
    GSASR's, as in BasicSR. The adversarial loss is the term of `train` that is BasicSR's GANLoss.

    A batch in parts (`train.accumulate`) or in several processes takes the same step as the whole where the
    discriminator sees each image by itself: UNetDiscriminatorSN does; VGGStyleDiscriminator, which normalizes over its
    batch, does not.
    """

    train_options_class = GSASRGANTrainOptions
    has_discriminator = True

    def init_training_settings(self) -> None:
        """As GSASRModel's, with the discriminator.

        Raises:
            ValueError: no adversarial loss, or crops of another size than the discriminator takes.
        """
        path = self.opt['path']
        self.net_d = self.model_to_device(build_network(self.opt['network_d']))
        self.print_network(self.net_d)
        if path.get('pretrain_network_d') is not None:
            strict, param_key = path.get('strict_load_d', True), path.get('param_key_d', 'params')
            self.load_network(self.net_d, path['pretrain_network_d'], strict, param_key)
        self.net_d.train()
        super().init_training_settings()
        if self.criterion.adversarial is None:
            raise ValueError('train has no adversarial loss: gan_opt, or a term of losses with the type GANLoss')
        self.gan_loss, self.gan_name = self.criterion.adversarial
        self.crop_side = crop_side(self.get_bare_model(self.net_d), self.opt['train'].get('net_d_crop'))

    def setup_optimizers(self) -> None:
        """As BasicSR's, for both networks."""
        options = dict(self.opt['train']['optim_d'])  # may be one with optim_g, of which BasicSR takes the type away
        super().setup_optimizers()
        # GSASR may rest while the schedule goes on, which PyTorch takes for a mistake.
        warnings.filterwarnings('ignore', message=r'.*lr_scheduler\.step\(\).* before `optimizer\.step\(\)`')
        self.optimizer_d = self.get_optimizer(options.pop('type'), self.net_d.parameters(), **options)
        self.optimizers.append(self.optimizer_d)

    def _compute_gradients(self) -> tuple[Losses, dict[str, torch.optim.Optimizer]]:
        train_opt, bare = self.opt['train'], self.get_bare_model(self.net_d)
        self.buffers_before = {name: buffer.clone() for name, buffer in bare.named_buffers()}
        self.corners = crop_corners(self.batch, len(self.gt), self.iteration)
        self.real = crops(self.gt, self.corners, self.crop_side)
        losses: Losses = Losses()
        optimizers: dict[str, torch.optim.Optimizer] = {}
        is_turn = self.iteration % train_opt.get('net_d_iters', 1) == 0
        if is_turn and self.iteration > train_opt.get('net_d_init_iters', 0):
            with gradients_pass(bare):
                losses, optimizers = super()._compute_gradients()
        else:
            with torch.no_grad():
                self.output = results_of(self.net_g, self.lq, self.gt, train_opt, self.batch.get('grid'))
        self.optimizer_d.zero_grad()
        fake = crops(self.output, self.corners, self.crop_side)
        losses |= discriminator_backward(self.net_d, self.real, fake, self.gan_loss, self.scaler, train_opt)
        return losses, {**optimizers, 'grad_norm_d': self.optimizer_d}

    def _losses_of(self, output: list[Tensor], part: slice) -> Losses:
        """With what the discriminator says, which is asked through no wrapper: its own gradient comes later."""
        losses, bare = super()._losses_of(output, part), self.get_bare_model(self.net_d)
        with spectra_kept(bare) if part.start else nullcontext():
            said = verdicts(bare, crops(output, self.corners[part], self.crop_side), self.opt['train'])
        losses[self.gan_name] = self.gan_loss(said, True, is_disc=False) * (len(output) / len(self.gt))
        return losses

    def _leave_out(self, *arguments: Any) -> None:
        """As GSASRModel's; what the step has done to the discriminator's normalizations is undone."""
        for name, buffer in self.get_bare_model(self.net_d).named_buffers():
            buffer.copy_(self.buffers_before[name])
        super()._leave_out(*arguments)

    def _other_weights(self) -> dict[str, Any]:
        return {'params_d': cpu_state(self.get_bare_model(self.net_d))}

    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """As GSASRModel's, after the discriminator, whose file belongs to the state."""
        self.save_network(self.net_d, 'net_d', current_iter)
        super().save_training_state(epoch, current_iter)
