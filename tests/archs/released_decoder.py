"""The decoder under the authors' names: golden weights by rule, and their way into `GaussianDecoder`."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gsasr_plugin.archs.decoder import GaussianDecoder
from gsasr_plugin.archs.window_attention import relative_position_index

GOLDEN = Path(__file__).parents[1] / 'golden'
DENSITIES = {'decoder_paper': 16, 'decoder_paper_1x': 1, 'decoder_paper_9x': 9}
SALTS = {'decoder_paper': 'p1', 'decoder_paper_1x': 'p2', 'decoder_paper_9x': 'p3'}

# Patterns of the released keys, in the order in which they are tried on a key, and ours.
RENAMES = [
    (r'^img_feat_proj\.', 'feature_projection.'),
    (r'^scale_mlp\.', 'scale_embedding.mlp.'),
    (r'^UPNet\.', 'primary_head.upsample.'),
    (r'^mlp_block_sigma\.', 'primary_head.sigma.'),
    (r'^mlp_block_rho\.', 'primary_head.rho.'),
    (r'^mlp_block_alpha\.', 'primary_head.opacity.'),
    (r'^mlp_block_rgb\.', 'primary_head.color.'),
    (r'^mlp_block_mean\.', 'primary_head.offset.'),
    (r'^(\w+attn_blocks\.\d+\.mlp)\.0\.', r'\1.fc1.'),
    (r'^(\w+attn_blocks\.\d+\.mlp)\.2\.', r'\1.fc2.'),
    (r'^window_crossattn_blocks\.(\d+)\.blocks\.(\d+)\.norm2\.', r'condition_injection.\1.layers.\2.scale_norm.'),
    (r'^window_crossattn_blocks\.(\d+)\.blocks\.(\d+)\.norm3\.', r'condition_injection.\1.layers.\2.attention_norm.'),
    (r'^window_crossattn_blocks\.(\d+)\.blocks\.(\d+)\.norm4\.', r'condition_injection.\1.layers.\2.mlp_norm.'),
    (r'^gs_selfattn_blocks\.(\d+)\.blocks\.(\d+)\.norm1\.', r'gaussian_interaction.\1.layers.\2.attention_norm.'),
    (r'^gs_selfattn_blocks\.(\d+)\.blocks\.(\d+)\.norm2\.', r'gaussian_interaction.\1.layers.\2.mlp_norm.'),
    (r'^gs_selfattn_blocks\.(\d+)\.blocks\.(\d+)\.norm4\.', r'gaussian_interaction.\1.layers.\2.scale_norm.'),
    (r'^window_crossattn_blocks\.', 'condition_injection.'),
    (r'^gs_selfattn_blocks\.', 'gaussian_interaction.'),
    (r'\.blocks\.', '.layers.'),
    (r'\.(mlp_crossattn_scale|mlp_crossattn)\.', '.scale_mlp.'),
    (r'\.(mlp_crossattn_feature|mlp_selfattn)\.', '.mlp.'),
    (r'\.(window_cross_attn|gs_self_attn)\.', '.attention.'),
    (r'\.qhead\.', '.query.'),
    (r'\.khead\.', '.key.'),
    (r'\.vhead\.', '.value.'),
    (r'\.attention\.proj\.', '.attention.out.'),
    (r'\.gs_cross_attn_scale\.out_proj\.', '.scale_attention.out.'),
    (r'\.gs_cross_attn_scale\.in_proj_', '.scale_attention.value.'),
    (r'\.relative_position_bias_table$', '.relative_position_bias'),
]
# The norm before the scale attention: its output does not depend on its queries.
REDUNDANT = re.compile(
    r'window_crossattn_blocks\.\d+\.blocks\.\d+\.norm1\.|gs_selfattn_blocks\.\d+\.blocks\.\d+\.norm3\.'
)


def golden_weights(shapes: dict[str, list[int]], salt: str) -> dict[str, Tensor]:
    """The weights of a golden decoder, by the rule that made them."""
    state = {}
    for key, shape in shapes.items():
        x = np.random.default_rng(zlib.crc32(f'{salt}:{key}'.encode())).standard_normal(shape).astype(np.float32)
        if key in ('gs_embedding', 'pos_embedding'):
            pass
        elif len(shape) >= 2 and key.endswith('weight'):
            x = x / np.sqrt(np.prod(shape[1:]))
        elif 'norm' in key and key.endswith('weight'):
            x = 1 + 0.1 * x
        else:
            x = 0.1 * x
        state[key] = torch.from_numpy(x.astype(np.float32))
    return state


def to_ours(released: dict[str, Tensor], cross_index: Tensor, self_index: Tensor) -> dict[str, Tensor]:
    """A state dict of `GaussianDecoder` from one under the released keys."""
    d = released['gs_embedding'].shape[1]
    window_size = int(len(released['gs_embedding']) ** 0.5)
    ours = {
        'gaussian_embed': released['gs_embedding'].view(window_size, window_size, d),
        'query_pos': released['pos_embedding'].view(window_size, window_size, d),
    }
    regular = relative_position_index(window_size)
    for key, value in released.items():
        if key in ('gs_embedding', 'pos_embedding') or REDUNDANT.match(key):
            continue
        name = key
        for pattern, replacement in RENAMES:
            name = re.sub(pattern, replacement, name)
        if '.in_proj_' in key:
            value = value[2 * d :]  # queries, keys, values: only the last matter
        if name.endswith('relative_position_bias'):
            index = cross_index if 'crossattn' in key else self_index
            table = torch.empty_like(value)
            table[regular.flatten()] = value[index.flatten().long()]
            value = table
        ours[name] = value
    return ours


def load_golden(name: str) -> tuple[GaussianDecoder, dict[str, np.ndarray]]:
    """A golden decoder with its weights, and the arrays of its file."""
    golden = dict(np.load(GOLDEN / f'{name}.npz'))
    config = json.loads(str(golden['config']))
    decoder = GaussianDecoder(
        num_features=config['inchannel'],
        embed_dim=config['channel'],
        num_heads=config['num_heads'],
        window_size=config['window_size'],
        num_injection_blocks=config['num_crossattn_blocks'],
        num_injection_layers=config['num_crossattn_layers'],
        num_interaction_blocks=config['num_selfattn_blocks'],
        num_interaction_layers=config['num_selfattn_layers'],
        gaussian_density=DENSITIES[name],
    )
    released = golden_weights(json.loads(str(golden['shapes'])), SALTS[name])
    cross_index, self_index = (torch.from_numpy(golden[key]) for key in ('cross_index', 'self_index'))
    decoder.load_state_dict(to_ours(released, cross_index, self_index))
    return decoder, golden
