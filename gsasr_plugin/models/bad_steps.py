"""Steps whose loss or gradient is not finite: the batch goes to a file that computes the same step again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gsasr_plugin.archs import GSASR
from gsasr_plugin.checkpoints.model_file import DESCRIPTION, cpu_state, describe
from gsasr_plugin.whole_file import replacing

FOLDER = 'bad_steps'  # below the experiment's


def write_bad_step(
    folder: Path, iteration: int, rank: int, batch: Mapping[str, Any], net: nn.Module, losses: Mapping[str, float]
) -> Path:
    """Writes what the step was computed from. A GSASR's file is also a model, which `read_model` takes.

    Args:
        folder: the experiment's.
        iteration: of the step.
        rank: of the process whose batch it is.
        batch: as it was fed; and `random`, the state of torch's generator before the step.
        net: the network, whose weights the step leaves as they are.
        losses: the losses, and the gradient's norm.

    Returns:
        The file, of `torch.save`: `params` (the weights), `batch`, `losses`, `iteration`.
    """
    path = folder / FOLDER / f'{iteration}_rank{rank}.pth'
    path.parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {'params': cpu_state(net), 'batch': dict(batch), 'losses': dict(losses)}
    content['iteration'] = iteration
    if isinstance(net, GSASR):
        content[DESCRIPTION] = describe(net)
    with replacing(path) as unfinished:
        torch.save(content, unfinished)
    return path


def describe_batch(batch: Mapping[str, Any]) -> str:
    """A line for each sample: image, scale, size of the crop, how it was drawn, and whether its pixels are finite."""
    lines = []
    for number, gt in enumerate(batch['gt']):
        lq = batch['lq'][number]
        words = [str(batch['gt_path'][number]) if 'gt_path' in batch else f'sample {number}']
        if 'scale' in batch:
            words.append('scale ' + ' x '.join(f'{factor:.6g}' for factor in batch['scale'][number].tolist()))
        words.append(f'crop {gt.shape[-2]} x {gt.shape[-1]}')
        if 'drawn' in batch:
            index, epoch, repeat, _ = batch['drawn'][number].tolist()
            words.append(f'index {index}, epoch {epoch}, repeat {repeat}')
        words += [f'{name} is not finite' for name, image in (('lq', lq), ('gt', gt)) if not _is_finite(image)]
        lines.append('  ' + ', '.join(words))
    return '\n'.join(lines)


def _is_finite(image: Tensor) -> bool:
    return bool(image.isfinite().all())
