"""Every released variant: all keys used or named as redundant, and the authors' parameters minus the redundant ones."""

import math

import pytest
import torch
from torch import nn

from gsasr_plugin.official import gsasr_from_official
from gsasr_plugin.official.redundant import REDUNDANT_KEYS, redundant
from tests.official.released import layout, released, shuffled_index

VARIANTS = released()['variants']
KINDS = {
    'EDSRNOUP': 'EDSR',
    'RDNNOUP': 'RDN',
    'SwinIRNOUP': 'SwinIR',
    'HATNOUP_ROPE_AMP': 'HAT',
}
NETWORKS = sorted({variant[f'{part}_state'] for variant in VARIANTS.values() for part in ('encoder', 'decoder')})
# Options that a network of each variant has to have (facts of the authors' configurations).
PAPER = {'embed_dim': 180, 'window_size': 12, 'position_encoding': 'bias', 'closing_conv': False}
ENHANCED = {'embed_dim': 192, 'position_encoding': 'rope', 'closing_conv': True}
DECODERS = {
    'paper/EDSR': {**PAPER, 'num_injection_blocks': 1, 'num_injection_layers': 2},
    'paper/RDN': {**PAPER, 'num_injection_blocks': 1, 'num_injection_layers': 2},
    'paper/SWIN': {**PAPER, 'num_injection_blocks': 1, 'num_injection_layers': 2},
    'enhanced/EDSR_DIV2K|EDSR_DF2K': {**ENHANCED, 'window_size': 12, 'num_injection_blocks': 1},
    'enhanced/RDN_DIV2K|RDN_DF2K': {**ENHANCED, 'window_size': 12, 'num_injection_blocks': 2},
    'enhanced/SWIN_DIV2K|SWIN_DF2K': {
        **ENHANCED,
        'window_size': 16,
        'num_injection_blocks': 2,
        'num_injection_layers': 4,
    },
    'ultra/HATL_SA1B': {
        **ENHANCED,
        'window_size': 16,
        'num_injection_blocks': 4,
        'num_injection_layers': 4,
        'num_interaction_blocks': 8,
    },
}


def kind_of(network: str) -> str:
    return KINDS.get(network, 'decoder')


def unlike_zeros(name: str) -> dict[str, torch.Tensor]:
    """A state dict in which every tensor is filled with a number of its own."""
    state = {}
    for i, (key, (shape, dtype)) in enumerate(layout(name).items()):
        if dtype == 'int64' and shape[0] == shape[1]:
            state[key] = shuffled_index(math.isqrt(shape[0]), 0)
        elif key.endswith(('.rope_t_x', '.rope_t_y')):
            side, token = math.isqrt(shape[0]), torch.arange(shape[0])
            state[key] = (token % side if key.endswith('_x') else token // side).float()
        else:
            state[key] = torch.tensor(i + 1, dtype=getattr(torch, dtype)).expand(shape)
    return state


def test_every_entry_of_the_redundant_list_is_needed() -> None:
    for entry in REDUNDANT_KEYS:
        keys = [key for name in NETWORKS if kind_of(name) == entry.kind for key in layout(name)]
        assert any(redundant(entry.kind, key) is entry for key in keys), entry
        assert entry.reason


@pytest.mark.parametrize('variant', VARIANTS)
def test_the_stated_sizes(variant: str) -> None:
    """The layouts are those of the models that the authors state: millions of elements, buffers included."""
    for part in ('encoder', 'decoder'):
        stated = VARIANTS[variant][part]['params_M']
        entries = layout(VARIANTS[variant][f'{part}_state']).values()
        assert round(sum(math.prod(shape) for shape, _ in entries) / 1e6, 2) == stated


@pytest.mark.parametrize('variant', VARIANTS)
def test_every_key_is_used_or_redundant(variant: str) -> None:
    encoder, decoder = (unlike_zeros(VARIANTS[variant][f'{part}_state']) for part in ('encoder', 'decoder'))
    net = gsasr_from_official(encoder, decoder)
    check_parameters(net.encoder.net, KINDS[VARIANTS[variant]['encoder_state']], encoder)
    check_parameters(net.decoder, 'decoder', decoder)

    assert not net.training
    assert net.padding_multiple == VARIANTS[variant]['pad_multiple']
    assert net.options['encoder_opt']['type'] == KINDS[VARIANTS[variant]['encoder_state']]
    expected = {'num_heads': 6, 'num_interaction_layers': 6, 'gaussian_density': 16, **DECODERS[variant]}
    expected.setdefault('num_interaction_blocks', 6)
    assert {key: net.options[key] for key in expected} == expected


def check_parameters(net: nn.Module, kind: str, state: dict[str, torch.Tensor]) -> None:
    """Each key is used or redundant, never both, and the count is the authors' minus that of the redundant."""
    values = {float(p.detach().flatten()[0]) for p in net.parameters()}
    left_out = 0
    for i, (key, tensor) in enumerate(state.items()):
        entry = redundant(kind, key)
        if entry is not None and entry.part == 'all':
            left_out += tensor.numel() if tensor.is_floating_point() else 0
            assert i + 1 not in values, f'{key} is redundant, and yet used'
            continue
        if entry is not None:
            left_out += tensor.numel() * 2 // 3
        assert i + 1 in values or not tensor.is_floating_point(), f'{key} is neither used nor redundant'
    total = sum(tensor.numel() for tensor in state.values() if tensor.is_floating_point())
    assert sum(p.numel() for p in net.parameters()) == total - left_out
