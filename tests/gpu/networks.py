"""Networks of the released variants' sizes, with random weights: nothing has to be fetched."""

from __future__ import annotations

import math

import torch
from torch import nn

from gsasr_plugin.archs import GSASR
from gsasr_plugin.checkpoints.official.decoder import DECODER
from gsasr_plugin.checkpoints.official.encoder import ENCODERS
from gsasr_plugin.checkpoints.official.released_networks import recognise
from gsasr_plugin.checkpoints.official.shapes import Shapes
from tests.checkpoints.official.released import layout, released

ENCODERS_OF_THE_PAPER = ('EDSR', 'RDN', 'SwinIR')


def variants() -> list[str]:
    """The names of the released variants, such as 'paper/EDSR'."""
    return list(released()['variants'])


def released_network(variant: str) -> GSASR:
    """A network of a released variant's sizes, in evaluation mode, with weights like those of the golden files."""
    parts = released()['variants'][variant]
    encoder, decoder = (
        _options(parts[f'{part}_state'], kinds) for part, kinds in (('encoder', ENCODERS), ('decoder', (DECODER,)))
    )
    decoder.pop('num_features')
    net = GSASR(encoder_opt=encoder, **decoder).eval()
    fill(net)
    return net


def paper_network(encoder: str = 'EDSR') -> GSASR:
    """The paper's network with its initial weights."""
    torch.manual_seed(0)
    return GSASR(encoder_opt={'type': encoder})


def fill(net: nn.Module) -> None:
    """Random weights that keep the size of what passes through them, as those of the golden files do."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim >= 2:
                noise /= math.sqrt(math.prod(parameter.shape[1:]))
            elif name.endswith('weight'):  # of a normalisation
                noise = 1 + 0.1 * noise
            else:
                noise *= 0.1
            parameter.copy_(noise)


def _options(name: str, kinds: tuple) -> dict:
    shapes = {key: torch.empty(shape, device='meta') for key, (shape, _) in layout(name).items()}
    kind = recognise(shapes, kinds, name)
    options = dict(kind.options(Shapes(shapes)))
    return {'type': kind.name, **options} if kinds is ENCODERS else options
