"""In which options two sections differ."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.gsasr_arch import OF_DRAWING
from gsasr_plugin.checkpoints.network_sections import differences

EDSR = {'type': 'GSASR', 'encoder_opt': {'type': 'EDSR'}}

# What the weights of a checkpoint mean depends on these.
BINDING_OPTIONS = [
    'encoder_opt',
    'embed_dim',
    'num_heads',
    'window_size',
    'num_injection_blocks',
    'num_injection_layers',
    'num_interaction_blocks',
    'num_interaction_layers',
    'gaussian_density',
    'sigma_max',
    'use_reference_points',
    'scale_condition',
    'position_encoding',
    'closing_conv',
    'relative_colors',
    'initial_sigma',
    'feature_skip',
    'bicubic_skip',
    'joint_head',
]


def test_every_option_is_binding_or_free() -> None:
    """A new option of the network has to be put into one of the two lists."""
    assert set(inspect.signature(GSASR).parameters) == {*BINDING_OPTIONS, *OF_DRAWING}


@pytest.mark.parametrize(
    ('given', 'stored', 'lines'),
    [
        ({}, {}, []),
        ({'embed_dim': 180, 'sigma_max': 1 / 1.2}, {}, []),  # the defaults
        ({'support': 6, 'raster_ratio': 0.1}, {}, []),
        ({}, {'embed_dim': 192}, ['embed_dim: 180 in network_g, 192 in the checkpoint']),
        (
            {'relative_colors': True, 'initial_sigma': 0.3},
            {'relative_colors': False},
            [
                'relative_colors: True in network_g, False in the checkpoint',
                'initial_sigma: 0.3 in network_g, None in the checkpoint',
            ],
        ),
        (
            {'encoder_opt': {'type': 'EDSR', 'num_feat': 32}},
            {'encoder_opt': {'type': 'EDSR', 'num_block': 16}},
            ['encoder_opt.num_feat: 32 in network_g, 64 in the checkpoint'],
        ),
        (
            {'encoder_opt': {'type': 'RDN', 'config': 'B'}},
            {'encoder_opt': {'type': 'RDN', 'num_block': 16, 'num_layer': 8, 'num_grow_ch': 64}},
            [],
        ),
        (
            {'encoder_opt': {'type': 'RDN', 'config': 'A'}},
            {'encoder_opt': {'type': 'RDN', 'num_block': 16, 'num_layer': 8, 'num_grow_ch': 64}},
            ['encoder_opt.config: A in network_g, B in the checkpoint'],
        ),
        ({}, {'encoder_opt': {'type': 'RDN'}}, ['encoder_opt.type: EDSR in network_g, RDN in the checkpoint']),
        (
            {},
            {'encoder_opt': {'type': 'Elsewhere', 'depth': 3}, 'num_heads': 3},
            [
                'encoder_opt.type: EDSR in network_g, Elsewhere in the checkpoint',
                'num_heads: 6 in network_g, 3 in the checkpoint',
            ],
        ),
        ({}, {'tint': 1}, ['tint: nothing in network_g, 1 in the checkpoint']),
    ],
)
def test_differences(given: dict[str, Any], stored: dict[str, Any], lines: list[str]) -> None:
    assert differences({**EDSR, **given}, {**EDSR, **stored}) == lines


def test_lists_and_tuples_are_alike() -> None:
    sizes: dict[str, Any] = {'type': 'SwinIR', 'depths': [6, 6], 'num_heads': [6, 6]}
    tuples = {key: tuple(x) if isinstance(x, list) else x for key, x in sizes.items()}
    assert differences({'encoder_opt': sizes}, {'encoder_opt': tuples}) == []
