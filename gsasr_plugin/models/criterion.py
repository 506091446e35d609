"""The losses of a training: named, weighted terms between results and ground truth, and one of a discriminator's."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from basicsr.losses import build_loss
from basicsr.losses.gan_loss import GANLoss
from torch import Tensor

LOSSES = 'losses'
# The keys that BasicSR has for a term each, and what the log calls the values of one.
BASICSR_TERMS = {'pixel_opt': ('l_pix',), 'perceptual_opt': ('l_percep', 'l_style'), 'gan_opt': ('l_g_gan',)}
# What the log says of a discriminator's own step, beside its verdicts.
OF_DISCRIMINATOR = ('l_d_real', 'l_d_fake')

Losses = OrderedDict[str, Tensor]  # by the names in the log


class Term(NamedTuple):
    """One term.

    Attributes:
        path: where it stands below `train`.
        section: `type`, the class of the loss, its weight, and what else that takes.
        names: what the log calls its values; all but BasicSR's PerceptualLoss have one.
    """

    path: tuple[str, ...]
    section: Any
    names: tuple[str, ...]


def terms_of(train_opt: Mapping[str, Any]) -> list[Term]:
    """The terms of a section `train`, those under BasicSR's keys first; none of `losses` that are no mapping."""
    old = [Term((key,), train_opt[key], names) for key, names in BASICSR_TERMS.items() if train_opt.get(key)]
    given = train_opt.get(LOSSES)
    named = given if isinstance(given, Mapping) else {}
    new = [Term((LOSSES, name), section, (f'l_{name}', f'l_{name}_style')) for name, section in named.items()]
    return [*old, *new]


class Criterion:
    """What a training minimizes: the sum of the terms of `train`.

    Args:
        train_opt: the section; one term at least.
        device: where the results will be.

    Attributes:
        adversarial: the loss of a discriminator's verdicts, BasicSR's GANLoss, and its name in the log; None: no term
            is one.

    Raises:
        ValueError: no term, or several adversarial ones.
    """

    def __init__(self, train_opt: Mapping[str, Any], device: torch.device) -> None:
        terms = [(build_loss(term.section).to(device), term.names) for term in terms_of(train_opt)]
        if not terms:
            raise ValueError(f'train has no loss: neither {LOSSES} nor {", ".join(BASICSR_TERMS)}')
        self.pairs = [(loss, names) for loss, names in terms if not isinstance(loss, GANLoss)]
        adversarial = [(loss, names[0]) for loss, names in terms if isinstance(loss, GANLoss)]
        if len(adversarial) > 1:
            raise ValueError(f'train has {len(adversarial)} adversarial losses: at most one is accepted')
        self.adversarial = adversarial[0] if adversarial else None

    def __call__(self, output: Sequence[Tensor], gt: Sequence[Tensor], count: int) -> Losses:
        """What some of `count` samples contribute to each term but the adversarial one.

        A term is the mean over the samples of each sample's own loss (not over all pixels).

        Args:
            output: results (3, H_i, W_i).
            gt: as many images of the same sizes.
        """
        losses: Losses = OrderedDict()
        for loss, names in self.pairs:
            for sr, image in zip(output, gt, strict=True):
                values = loss(sr[None], image[None])
                for value, name in zip(values if isinstance(values, tuple) else (values,), names):
                    if value is not None:  # a perceptual or style term that is switched off
                        losses[name] = losses.get(name, 0) + value / count
        return losses
