"""The gradient of a batch's losses, computed in one part or in several."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gsasr_plugin.models.compute import autocast, laid_out
from gsasr_plugin.models.criterion import Losses


def backward(
    net: nn.Module,
    lq: Tensor,
    gt: Sequence[Tensor],
    criterion: Callable[[list[Tensor], slice], Losses],
    scaler: torch.amp.GradScaler,
    options: dict[str, Any],
    grids: Tensor | None = None,
) -> tuple[list[Tensor], Losses]:
    """Adds the gradient of a batch's loss, scaled, to those of the parameters.

    Args:
        net: takes LR images and the sizes of their results; may be a wrapper of several processes.
        lq: (B, 3, h, w).
        gt: B images (3, H_i, W_i).
        criterion: what some of the results, and which of the batch they are, contribute to the losses.
        options: `train`: how to compute, and in how many parts (`accumulate`).
        grids: (B, 2, 2), GT pixels per LR pixel, and where GT begins, as `ArbitraryScalePairedDataset` gives them.
            None: GT shows what LR shows.

    Returns:
        B results (3, H_i, W_i) and the losses that sum to the one whose gradient it is, detached.
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
            output = results_of(net, lq[part], gt[part], options, None if grids is None else grids[part])
            part_losses = criterion(output, part)
            scaler.scale(torch.stack(list(part_losses.values())).sum()).backward()
        results += [image.detach() for image in output]
        for name, value in part_losses.items():
            losses[name] = losses.get(name, 0) + value.detach()
    return results, losses


def results_of(
    net: nn.Module, lq: Tensor, gt: Sequence[Tensor], options: dict[str, Any], grids: Tensor | None
) -> list[Tensor]:
    """What a network makes of LR images, for the pixels of GT; the arguments are those of `backward`."""
    drawing: dict[str, Any] = {'size': [tuple(image.shape[-2:]) for image in gt]}
    if grids is not None:
        drawing |= {'scale': grids[:, 0].tolist(), 'offset': grids[:, 1].tolist()}
    with autocast(lq.device, options):
        return list(net(laid_out(lq, options), **drawing))
