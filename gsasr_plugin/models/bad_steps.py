"""Steps whose loss or gradient is not finite are left out; the batch goes to a file that computes the step again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from gsasr_plugin import stop_signals
from gsasr_plugin.archs import GSASR
from gsasr_plugin.checkpoints.model_file import DESCRIPTION, cpu_state, describe
from gsasr_plugin.whole_file import replacing

FOLDER = 'bad_steps'  # below the experiment's


class Verdict(NamedTuple):
    """What is to be done about a step.

    Attributes:
        is_bad: it has to be left out, in all processes.
        is_culprit: for all that is known, it is for this process's batch.
        stop_signal: the signal that asks to stop after it, in all processes; 0: none.
        overflows: the gradient is not finite in fp16; the scaler lowers its scale, and no step is taken.
    """

    is_bad: bool
    is_culprit: bool
    stop_signal: int
    overflows: bool = False


def judge(losses: Mapping[str, Tensor], norms: Tensor, scaler: torch.amp.GradScaler, *, dist: bool) -> Verdict:
    """Whether losses and gradient of a step are finite in all processes.

    A gradient that overflows in fp16 while its loss is finite is the scaler's to handle, which then lowers the scale,
    as long as there is one.

    Args:
        norms: of the gradient of each network, unscaled.
        dist: there are several processes, which all call this.
    """
    loss_is_bad = ~torch.stack([value.detach() for value in losses.values()]).isfinite().all()
    signal_number = norms.new_full((), float(stop_signals.requested() or 0), dtype=torch.float32)
    scale = scaler.scale(torch.ones_like(signal_number))  # `get_scale` would wait for the device
    found = torch.stack([loss_is_bad.float(), (~norms.isfinite().all()).float(), signal_number, scale])
    if dist:
        torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
    # What a step waits for the device for: once.
    any_loss, any_norm, stop_signal, scale_now, own_loss = torch.cat([found, loss_is_bad.float()[None]]).tolist()
    overflows = bool(any_norm) and scaler.is_enabled() and scale_now > 1
    is_bad = bool(any_loss) or (bool(any_norm) and not overflows)
    # Where all losses are finite, nobody knows whose gradient was not.
    return Verdict(is_bad, bool(own_loss) or not any_loss, int(stop_signal), overflows and not is_bad)


def report_bad_step(file: Path, content: Mapping[str, Any], count: str) -> None:
    """Logs a step that is left out.

    Args:
        file: what `write_bad_step` wrote.
        content: `iteration`, `batch` and `losses`, as in the file.
        count: how many there were, in words.
    """
    text = ', '.join(f'{name} {value:g}' for name, value in content['losses'].items())
    get_root_logger().error(
        f'Iteration {content["iteration"]} is left out, for its loss or gradient is not finite ({text}): {count} such '
        f'steps. Batch and weights are in {file}; its samples:\n{describe_batch(content["batch"])}'
    )


def write_bad_step(folder: Path, rank: int, net: nn.Module, content: Mapping[str, Any]) -> Path:
    """Writes what the step was computed from. A GSASR's file is also a model, which `read_model` takes.

    Args:
        folder: the experiment's.
        rank: of the process whose batch it is.
        net: the network, whose weights the step leaves as they are; under `params` in the file.
        content: what else it holds: `iteration`; `batch`, as it was fed, with `random`, the state of torch's generator
            before the step; `losses`, with the gradient's norm.

    Returns:
        The file, of `torch.save`.
    """
    path = folder / FOLDER / f'{content["iteration"]}_rank{rank}.pth'
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {'params': cpu_state(net), **content}
    if isinstance(net, GSASR):
        held[DESCRIPTION] = describe(net)
    with replacing(path) as unfinished:
        torch.save(held, unfinished)
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
        words += [f'{name} is not finite' for name, image in (('lq', lq), ('gt', gt)) if not image.isfinite().all()]
        lines.append('  ' + ', '.join(words))
    return '\n'.join(lines)
