"""What a discriminator sees of a batch of mixed scales, and its own part of a step."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gsasr_plugin.models.compute import autocast
from gsasr_plugin.models.criterion import OF_DISCRIMINATOR, Losses
from gsasr_plugin.models.perceptual_losses import mirrored

DEFAULT_CROP = 64
GANCriterion = Callable[..., Tensor]  # of verdicts, whether the images are real, and `is_disc`: BasicSR's GANLoss


def crop_side(net_d: nn.Module, given: int | None) -> int:
    """The side of the crops: as the option says, or as a discriminator needs that takes one size only.

    Raises:
        ValueError: these two differ.
    """
    needed = getattr(net_d, 'input_size', None)
    if given is not None and needed is not None and given != needed:
        raise ValueError(f'given {given}, but network_d takes images of {needed} x {needed} (its input_size)')
    return given or needed or DEFAULT_CROP


def crop_corners(batch: Mapping[str, Any], count: int, iteration: int) -> np.ndarray:
    """Where to crop each sample, (count, 2) in 0..1 of what each axis allows.

    Drawn by what the sample is, not by a generator: the same for however many processes, and after a kill.

    Args:
        batch: as fed; `drawn` says when each sample was drawn.
        iteration: the step, for batches that do not say.
    """
    seeds = batch['drawn'].tolist() if 'drawn' in batch else [[iteration, number] for number in range(count)]
    return np.array([np.random.default_rng(seed).random(2) for seed in seeds])


def crops(images: Sequence[Tensor], corners: np.ndarray, side: int) -> Tensor:
    """A part of each image, all of one size; of an image that is smaller all, and around it its mirror image.

    Args:
        images: B of (3, H_i, W_i).
        corners: (B, 2), see `crop_corners`.

    Returns:
        (B, 3, side, side).
    """
    parts = []
    for image, corner in zip(images, corners, strict=True):
        rows, columns = (
            mirrored(int(share * (max(size - side, 0) + 1)), side, size, image.device)
            for share, size in zip(corner, image.shape[1:])
        )
        parts.append(image[:, rows][:, :, columns])
    return torch.stack(parts)


def verdicts(net: nn.Module, images: Tensor, options: Mapping[str, Any]) -> Tensor:
    """What a discriminator says of images (B, 3, side, side), float32; `options` is `train`."""
    with autocast(images.device, dict(options)):
        return net(images).float()


def discriminator_backward(
    net: nn.Module,
    real: Tensor,
    fake: Tensor,
    criterion: GANCriterion,
    scaler: torch.amp.GradScaler,
    options: Mapping[str, Any],
) -> Losses:
    """Adds the gradient of a discriminator's loss, scaled, to those of its parameters.

    Args:
        real, fake: (B, 3, side, side), detached. They are judged apart, as BasicSR does: a normalization over the batch
            mixes neither with the other.

    Returns:
        Its two losses, and the means of its verdicts, detached.
    """
    losses: Losses = OrderedDict()
    for name, images, is_real in zip(OF_DISCRIMINATOR, (real, fake), (True, False)):
        said = verdicts(net, images, options)
        loss = criterion(said, is_real, is_disc=True)
        scaler.scale(loss).backward()
        losses[name], losses[name.replace('l_', 'out_', 1)] = loss.detach(), said.detach().mean()
    return losses


@contextmanager
def gradients_pass(net: nn.Module) -> Iterator[None]:
    """For a while, gradients pass through a network and leave none in its parameters."""
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    net.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def spectra_kept(net: nn.Module) -> Iterator[None]:
    """For a while, spectral normalizations go on with the singular vectors that they have, and do not improve them.

    Else the parts of a batch would be judged by different weights.
    """
    improving = [module for module in net.modules() if module.training and hasattr(module, 'weight_u')]
    for module in improving:
        module.training = False
    try:
        yield
    finally:
        for module in improving:
            module.training = True
