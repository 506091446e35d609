"""The released Gaussian decoders under their own keys: Fea2GS (paper) and Fea2GS_ROPE_AMP (enhanced version)."""

import re
from typing import Any

import torch
from torch import Tensor

from gsasr_plugin.archs.primary_head import UPSAMPLING_STEPS
from gsasr_plugin.archs.window_attention import by_offset
from gsasr_plugin.checkpoints.official.released_networks import Place, ReleasedNetwork, rename
from gsasr_plugin.checkpoints.official.shapes import Shapes, side_of_square

# Our names and the released ones, applied in turn. The two stacks number their norms differently.
_INJECTION = r'^(window_crossattn_blocks\.\d+\.blocks\.\d+)'
_INTERACTION = r'^(gs_selfattn_blocks\.\d+\.blocks\.\d+)'
_RENAMES = (
    (r'^gaussian_embed$', 'gs_embedding'),
    (r'^query_pos$', 'pos_embedding'),
    (r'^scale_embedding\.mlp\.', 'scale_mlp.'),
    (r'^feature_projection\.', 'img_feat_proj.'),
    (r'^interaction_conv\.', 'conv_final.'),
    (r'^primary_head\.upsample\.', 'UPNet.'),
    (r'^primary_head\.(sigma|rho)\.', r'mlp_block_\1.'),
    (r'^primary_head\.opacity\.', 'mlp_block_alpha.'),
    (r'^primary_head\.color\.', 'mlp_block_rgb.'),
    (r'^primary_head\.offset\.', 'mlp_block_mean.'),
    (r'^condition_injection\.(\d+)\.mlp\.fc1\.', r'window_crossattn_blocks.\1.mlp.0.'),
    (r'^condition_injection\.(\d+)\.mlp\.fc2\.', r'window_crossattn_blocks.\1.mlp.2.'),
    (r'^gaussian_interaction\.(\d+)\.mlp\.fc1\.', r'gs_selfattn_blocks.\1.mlp.0.'),
    (r'^gaussian_interaction\.(\d+)\.mlp\.fc2\.', r'gs_selfattn_blocks.\1.mlp.2.'),
    (r'^condition_injection\.', 'window_crossattn_blocks.'),
    (r'^gaussian_interaction\.', 'gs_selfattn_blocks.'),
    (r'^(\w+\.\d+)\.layers\.', r'\1.blocks.'),
    (_INJECTION + r'\.scale_norm\.', r'\1.norm2.'),
    (_INJECTION + r'\.attention_norm\.', r'\1.norm3.'),
    (_INJECTION + r'\.mlp_norm\.', r'\1.norm4.'),
    (_INTERACTION + r'\.attention_norm\.', r'\1.norm1.'),
    (_INTERACTION + r'\.mlp_norm\.', r'\1.norm2.'),
    (_INTERACTION + r'\.scale_norm\.', r'\1.norm4.'),
    (_INJECTION + r'\.scale_mlp\.', r'\1.mlp_crossattn_scale.'),
    (_INJECTION + r'\.mlp\.', r'\1.mlp_crossattn_feature.'),
    (_INTERACTION + r'\.scale_mlp\.', r'\1.mlp_crossattn.'),
    (_INTERACTION + r'\.mlp\.', r'\1.mlp_selfattn.'),
    (r'\.scale_attention\.value\.', '.gs_cross_attn_scale.in_proj_'),
    (r'\.scale_attention\.out\.', '.gs_cross_attn_scale.out_proj.'),
    (_INJECTION + r'\.attention\.', r'\1.window_cross_attn.'),
    (_INTERACTION + r'\.attention\.', r'\1.gs_self_attn.'),
    (r'attn\.query\.', 'attn.qhead.'),
    (r'attn\.key\.', 'attn.khead.'),
    (r'attn\.value\.', 'attn.vhead.'),
    (r'attn\.out\.', 'attn.proj.'),
    (r'attn\.bias\.table$', 'attn.relative_position_bias_table'),
    (r'attn\.rope\.freqs$', 'attn.rope_freqs'),
)


def decoder_options(shapes: Shapes) -> dict[str, Any]:
    """The arguments of `GaussianDecoder` for a released state dict."""
    embed_dim = shapes.size('(gs|pos)_embedding', 1, 180)
    steps = tuple(side_of_square(shapes.size(rf'UPNet\.{i}\.weight', 0, 4 * embed_dim) // embed_dim) for i in (0, 2))
    return {
        'num_features': shapes.size(r'img_feat_proj\.0\.weight', 1, 64),
        'embed_dim': embed_dim,
        'num_heads': shapes.size(r'.+\.(relative_position_bias_table|rope_freqs)', 1, 6),
        'window_size': side_of_square(shapes.size('(gs|pos)_embedding', 0, 144)),
        'num_injection_blocks': max(1, shapes.count(r'window_crossattn_blocks\.(\d+)\..+')),
        'num_injection_layers': max(1, shapes.count(r'window_crossattn_blocks\.\d+\.blocks\.(\d+)\..+')),
        'num_interaction_blocks': shapes.count(r'gs_selfattn_blocks\.(\d+)\..+'),
        'num_interaction_layers': max(1, shapes.count(r'gs_selfattn_blocks\.\d+\.blocks\.(\d+)\..+')),
        # Steps that no density has do not fit the tensors of the paper's, and are reported as such.
        'gaussian_density': next((density for density, r in UPSAMPLING_STEPS.items() if r == steps), 16),
        'position_encoding': 'rope' if shapes.has(r'.+\.rope_freqs') else 'bias',
        'closing_conv': shapes.has(r'conv_final\..+') or shapes.has(r'\w+_blocks\.\d+\.conv\..+'),
    }


def decoder_place(key: str) -> Place:
    """Where the tensor of `GaussianDecoder` under a key comes from."""
    released = rename(key, _RENAMES)
    if key in ('gaussian_embed', 'query_pos'):
        return Place((released,), _square)
    if '.gs_cross_attn_scale.in_proj_' in released:
        return Place((released,), _values)
    if released.endswith('.relative_position_bias_table'):
        return Place((released, re.sub('bias_table$', 'index', released)), regular_table)
    return Place((released,))


def _square(embeddings: Tensor) -> Tensor:
    """(T, d) to (side, side, d)."""
    return embeddings.unflatten(0, (side_of_square(len(embeddings)), -1))


def _values(in_proj: Tensor) -> Tensor:
    """The projection to values of those to queries, keys and values."""
    return in_proj.tensor_split(3)[2]


def regular_table(table: Tensor, index: Tensor) -> Tensor:
    """Rewrites a table of relative position biases whose rows are in the arbitrary order of the checkpoint's index.

    Args:
        table: ((2 * window - 1) ** 2, heads).
        index: (T, T), the row for each pair of query and key.

    Returns:
        The table in the order of `by_offset`; it gives the same biases, exactly.

    Raises:
        IndexError: the index does not fit the table, or gives biases that depend on more than the offset between query
            and key.
    """
    side = side_of_square(index.shape[0])
    biases = table[index.long()]  # (T, T, heads)
    rows = torch.zeros((2 * side - 1) ** 2, table.shape[1], dtype=table.dtype)
    (regular,) = by_offset(torch.arange(len(rows))[:, None], side)  # (T, T)
    rows[regular.flatten()] = biases.flatten(0, 1)
    if not torch.equal(rows[regular], biases):
        raise IndexError('the biases depend on more than the offset between query and key')
    return rows


DECODER = ReleasedNetwork(
    name='decoder',
    title='decoder of a released GSASR (Fea2GS, Fea2GS_ROPE_AMP)',
    signature=r'(gs|pos)_embedding|(window_crossattn|gs_selfattn)_blocks\..+|mlp_block_.+|UPNet\..+',
    options=decoder_options,
    place=decoder_place,
)
