"""Network interpolation: weights between those of two networks of one architecture, such as before and after a GAN."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gsasr_plugin.archs import GSASR
from gsasr_plugin.checkpoints.loading import load
from gsasr_plugin.checkpoints.model_file import PathLike
from gsasr_plugin.checkpoints.network_sections import differences

Source = PathLike | Sequence[PathLike]


def blend(first: Source, second: Source, alpha: float | None = None, options: Mapping[str, Any] | None = None) -> GSASR:
    """A network whose weights are (1 - alpha) times one's and alpha times another's, in evaluation mode.

    Args:
        first, second: see `gsasr_plugin.load`. How the result draws (`consistency` and the like, which have no mean) is
            as the nearer one does; the first, in the middle.
        alpha: 0 for the first, 1 for the second, and what lies between; None for 0.5.
        options: the `network_g` section, for checkpoints that do not describe their network.

    Raises:
        FileNotFoundError, ValueError: see `load`.
        ValueError: another alpha, or networks of two architectures; the message lists the options.
    """
    alpha = 0.5 if alpha is None else alpha
    if not 0 <= alpha <= 1:
        raise ValueError(f'alpha is a number from 0 (the first network) to 1 (the second), got {alpha:g}')
    net, other = load(first, options), load(second, options)
    lines = differences(net.options, other.options, (str(first), str(second)))
    if lines:
        listed = '\n  '.join(lines)
        raise ValueError(f'only networks of one architecture can be blended; these differ:\n  {listed}')
    nearer = other if alpha > 0.5 else net
    states = (one.state_dict().values() for one in (net, other, nearer))
    with torch.no_grad():
        for mine, theirs, blended in zip(*states, strict=True):
            if blended.is_floating_point():
                blended.copy_((1 - alpha) * mine.double() + alpha * theirs.double())
    return nearer
