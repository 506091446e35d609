"""The losses of a batch of images of different sizes, and their gradient, computed in one part or in several."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gsasr_plugin.models.compute import autocast, laid_out

Criterion = tuple[Callable[..., Any], tuple[str, ...]]  # a loss of BasicSR's, and its values' names in the log
Losses = OrderedDict[str, Tensor]  # by the names in the log


def backward(
    net: nn.Module,
    lq: Tensor,
    gt: Sequence[Tensor],
    criteria: Sequence[Criterion],
    scaler: torch.amp.GradScaler,
    options: dict[str, Any],
) -> tuple[list[Tensor], Losses]:
    """Adds the gradient of a batch's loss, scaled, to those of the parameters.

    The loss is the mean over the samples of each sample's own loss (not over all pixels), for each criterion.

    Args:
        net: takes LR images and the sizes of their results; may be a wrapper of several processes.
        lq: (B, 3, h, w).
        gt: B images (3, H_i, W_i).
        criteria: at least one.
        options: `train`: how to compute, and in how many parts (`accumulate`).

    Returns:
        B results (3, H_i, W_i) and the losses, detached.
    """
    count = len(gt)
    part_size = math.ceil(count / options.get('accumulate', 1))
    results: list[Tensor] = []
    losses: Losses = OrderedDict()
    for start in range(0, count, part_size):
        part = slice(start, start + part_size)
        # Several processes exchange the gradient once, with the last part.
        is_last = start + part_size >= count
        with net.no_sync() if isinstance(net, DistributedDataParallel) and not is_last else nullcontext():
            with autocast(lq.device, options):
                output = list(net(laid_out(lq[part], options), size=[tuple(image.shape[-2:]) for image in gt[part]]))
            part_losses = _losses(output, gt[part], criteria, count)
            scaler.scale(torch.stack(list(part_losses.values())).sum()).backward()
        results += [image.detach() for image in output]
        for name, value in part_losses.items():
            losses[name] = losses.get(name, 0) + value.detach()
    return results, losses


def _losses(output: list[Tensor], gt: Sequence[Tensor], criteria: Sequence[Criterion], count: int) -> Losses:
    """What some of `count` samples contribute to the batch's losses."""
    losses: Losses = OrderedDict()
    for criterion, names in criteria:
        for sr, image in zip(output, gt, strict=True):
            values = criterion(sr[None], image[None])
            for name, value in zip(names, values if isinstance(values, tuple) else (values,), strict=True):
                if value is not None:  # a perceptual or style term that is switched off
                    losses[name] = losses.get(name, 0) + value / count
    return losses
