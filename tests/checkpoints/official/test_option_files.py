"""The option files describe the released variants: the network of each has just the released sizes."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.encoders import encoder_class
from gsasr_plugin.checkpoints.official.decoder import decoder_options
from gsasr_plugin.checkpoints.official.encoder import ENCODERS
from gsasr_plugin.checkpoints.official.shapes import Shapes
from tests.checkpoints.official.released import layout, released

OPTIONS = Path(__file__).parents[3] / 'options'
VARIANTS = {
    'gsasr_edsr': 'paper/EDSR',
    'gsasr_rdn': 'paper/RDN',
    'gsasr_swinir': 'paper/SWIN',
    'gsasr_enhanced_edsr': 'enhanced/EDSR_DIV2K|EDSR_DF2K',
    'gsasr_enhanced_rdn': 'enhanced/RDN_DIV2K|RDN_DF2K',
    'gsasr_enhanced_swinir': 'enhanced/SWIN_DIV2K|SWIN_DF2K',
    'gsasr_ultra_hat': 'ultra/HATL_SA1B',
}


def with_defaults(options: dict[str, Any], signature: inspect.Signature) -> dict[str, Any]:
    defaults = {
        name: parameter.default
        for name, parameter in signature.parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    return {key: list(x) if isinstance(x, tuple) else x for key, x in (defaults | options).items()}


def released_options(variant: dict[str, Any]) -> dict[str, Any]:
    def shapes(part: str) -> Shapes:
        sizes = {key: shape for key, (shape, _) in layout(variant[f'{part}_state']).items()}
        return Shapes({key: torch.empty(shape, device='meta') for key, shape in sizes.items()})

    kind = {'EDSRNOUP': 'EDSR', 'RDNNOUP': 'RDN', 'SwinIRNOUP': 'SwinIR', 'HATNOUP_ROPE_AMP': 'HAT'}
    name = kind[variant['encoder_state']]
    encoder = next(encoder for encoder in ENCODERS if encoder.name == name)
    decoder = decoder_options(shapes('decoder'))
    assert decoder.pop('num_features') == 64
    return {'encoder_opt': {'type': name, **encoder.options(shapes('encoder'))}, **decoder}


@pytest.mark.parametrize('task', ['train', 'test'])
@pytest.mark.parametrize('name', VARIANTS)
def test_network_is_the_released_one(name: str, task: str) -> None:
    file = yaml.safe_load((OPTIONS / f'{task}_{name}.yml').read_text())
    network = file['network_g']
    assert network.pop('type') == 'GSASR'
    expected = released_options(released()['variants'][VARIANTS[name]])
    encoders = []
    for options in (network, expected):
        encoder = options.pop('encoder_opt')
        type_name = encoder.pop('type')
        encoder = with_defaults(encoder, inspect.signature(encoder_class(type_name)))
        if type_name == 'RDN':  # the sizes are those of its configuration
            sizes = {'num_block': 16, 'num_layer': 8, 'num_grow_ch': 64}
            encoder |= {key: sizes[key] for key in sizes if encoder[key] is None}
        encoders.append((type_name, encoder))
    assert encoders[0] == encoders[1]
    signature = inspect.signature(GSASR)
    assert with_defaults(network, signature) == with_defaults(expected, signature)
