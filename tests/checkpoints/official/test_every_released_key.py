"""Every released network: all keys used or named as redundant, and the authors' parameters minus the redundant ones.

Full-size networks are loaded for real by the golden tests; here only keys, shapes and counts matter.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gsasr_plugin.archs.encoders import build_encoder
from gsasr_plugin.checkpoints.official.decoder import DECODER
from gsasr_plugin.checkpoints.official.encoder import ENCODERS
from gsasr_plugin.checkpoints.official.released_networks import ReleasedNetwork, recognise
from gsasr_plugin.checkpoints.official.shapes import Shapes
from gsasr_plugin.checkpoints.official.unused_keys import UNUSED_KEYS, unused_key
from tests.archs.decoders import make_decoder
from tests.checkpoints.official.released import layout, released

VARIANTS = released()['variants']
NETWORKS = sorted({variant[f'{part}_state'] for variant in VARIANTS.values() for part in ('encoder', 'decoder')})


def kind_of(name: str) -> ReleasedNetwork:
    return recognise(shapes_of(name), [DECODER, *ENCODERS], name)


def shapes_of(name: str) -> dict[str, torch.Tensor]:
    return {key: torch.empty(shape, device='meta') for key, (shape, _) in layout(name).items()}


def built(kind: ReleasedNetwork, name: str) -> nn.Module:
    options = kind.options(Shapes(shapes_of(name)))
    if kind.name == 'SwinIR':  # the host's constructor reads values
        return build_encoder({'type': kind.name, **options}).net
    with torch.device('meta'):
        if kind is DECODER:
            return make_decoder(**options)
        return build_encoder({'type': kind.name, **options}).net


@pytest.mark.slow
@pytest.mark.parametrize('name', NETWORKS)
def test_every_key_is_used_or_redundant_and_no_parameter_is_lost(name: str) -> None:
    kind = kind_of(name)
    net = built(kind, name)
    sources = [key for target in net.state_dict() for key in kind.place(target).keys]
    left_out = 0
    for key, (shape, dtype) in layout(name).items():
        entry = unused_key(kind.name, key)
        used = sources.count(key)
        if entry is None or entry.part == 'first two thirds':
            assert used == (3 if key.endswith(('.qkv.weight', '.qkv.bias')) and kind.name == 'HAT' else 1), key
        else:
            assert used == 0, key
        if entry is not None and dtype == 'float32':
            left_out += math.prod(shape) * 2 // 3 if entry.part == 'first two thirds' else math.prod(shape)
    assert set(sources) <= set(layout(name))
    total = sum(math.prod(shape) for shape, dtype in layout(name).values() if dtype == 'float32')
    assert sum(p.numel() for p in net.parameters()) == total - left_out


def test_every_entry_of_the_redundant_list_is_needed() -> None:
    for entry in UNUSED_KEYS:
        keys = [key for name in NETWORKS if kind_of(name).name == entry.kind for key in layout(name)]
        assert any(unused_key(entry.kind, key) is entry for key in keys), entry
        assert entry.reason


@pytest.mark.parametrize('variant', VARIANTS)
def test_the_stated_sizes(variant: str) -> None:
    """The layouts are those of the models that the authors state: millions of elements, buffers included."""
    for part in ('encoder', 'decoder'):
        stated = VARIANTS[variant][part]['params_M']
        entries = layout(VARIANTS[variant][f'{part}_state']).values()
        assert round(sum(math.prod(shape) for shape, _ in entries) / 1e6, 2) == stated


@pytest.mark.parametrize('variant', VARIANTS)
def test_the_padding(variant: str) -> None:
    """Encoder and decoder windows together ask for the multiple to which the authors pad."""
    encoder, decoder = (VARIANTS[variant][f'{part}_state'] for part in ('encoder', 'decoder'))
    options = kind_of(encoder).options(Shapes(shapes_of(encoder)))
    window = kind_of(decoder).options(Shapes(shapes_of(decoder)))['window_size']
    assert math.lcm(options.get('window_size', 1), window) == VARIANTS[variant]['pad_multiple']
