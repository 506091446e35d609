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

# Of random matrices. With 1, as in the golden files, the network is chaotic: float32's rounding grows to 1 % of the
# picture and bfloat16's to all of it, where with 0.7 it stays at 2e-7 and 3e-4.
GAIN = 0.7
ENCODERS_OF_THE_PAPER = ('EDSR', 'RDN', 'SwinIR')


def variants() -> list[str]:
    """The names of the released variants, such as 'paper/EDSR'."""
    return list(released()['variants'])


def released_network(variant: str) -> GSASR:
    """A network of a released variant's sizes, in evaluation mode, with random weights."""
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
    """Random weights by the rule of the golden files, but for the matrices' gain."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim >= 2:
                noise *= GAIN / math.sqrt(math.prod(parameter.shape[1:]))
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
