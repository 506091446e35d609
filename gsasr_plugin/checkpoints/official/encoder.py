"""The released encoders (EDSRNOUP, RDNNOUP, SwinIRNOUP, HATNOUP_ROPE_AMP) under their own keys."""

import re
from typing import Any

from gsasr_plugin.checkpoints.official.released_networks import Place, ReleasedNetwork, rename
from gsasr_plugin.checkpoints.official.shapes import Shapes, ratio, side_of_square, window_of_table


def _edsr_options(shapes: Shapes) -> dict[str, Any]:
    return {
        'num_feat': shapes.size(r'conv_first\.(weight|bias)', 0, 64),
        'num_block': shapes.count(r'body\.(\d+)\..+'),
    }


EDSR = ReleasedNetwork(
    name='EDSR',
    title='encoder EDSR (EDSRNOUP)',
    signature=r'body\.\d+\.conv[12]\.(weight|bias)',
    options=_edsr_options,
)


def _rdn_options(shapes: Shapes) -> dict[str, Any]:
    return {
        'num_feat': shapes.size(r'SFENet[12]\.(weight|bias)', 0, 64),
        'num_block': max(1, shapes.count(r'RDBs\.(\d+)\..+')),
        'num_layer': max(1, shapes.count(r'RDBs\.\d+\.convs\.(\d+)\..+')),
        'num_grow_ch': shapes.size(r'RDBs\.\d+\.convs\.\d+\.conv\.0\.(weight|bias)', 0, 64),
    }


_RDN_RENAMES = (
    (r'^conv_first\.', 'SFENet1.'),
    (r'^conv_second\.', 'SFENet2.'),
    (r'^body\.(\d+)\.convs\.(\d+)\.', r'RDBs.\1.convs.\2.conv.0.'),
    (r'^body\.(\d+)\.local_fusion\.', r'RDBs.\1.LFF.'),
    (r'^global_fusion\.', 'GFF.'),
)

RDN = ReleasedNetwork(
    name='RDN',
    title='encoder RDN (RDNNOUP)',
    signature=r'(SFENet[12]|RDBs|GFF)\..+',
    options=_rdn_options,
    place=lambda key: Place((rename(key, _RDN_RENAMES),)),
)


def _swinir_options(shapes: Shapes) -> dict[str, Any]:
    embed_dim = shapes.size(r'(conv_first|norm)\.(weight|bias)', 0, 180)
    groups = max(1, shapes.count(r'layers\.(\d+)\..+'))
    blocks = [rf'layers\.{i}\.residual_group\.blocks' for i in range(groups)]
    hidden = shapes.size(r'.+\.mlp\.fc1\.(weight|bias)', 0, 2 * embed_dim)
    return {
        'embed_dim': embed_dim,
        'depths': [max(1, shapes.count(rf'{block}\.(\d+)\..+')) for block in blocks],
        'num_heads': [shapes.size(rf'{block}\.\d+\.attn\.relative_position_bias_table', 1, 6) for block in blocks],
        'window_size': window_of_table(shapes.size(r'.+\.relative_position_bias_table', 0, 225)),
        'mlp_ratio': ratio(hidden, embed_dim),
        'qkv_bias': shapes.has(r'.+\.attn\.qkv\.bias'),
        'patch_norm': shapes.has(r'patch_embed\.norm\..+'),
        'resi_connection': '3conv' if shapes.has(r'(layers\.\d+\.conv|conv_after_body)\.\d+\..+') else '1conv',
    }


SWINIR = ReleasedNetwork(
    name='SwinIR',
    title='encoder SwinIR (SwinIRNOUP)',
    signature=r'layers\.(?!.*(rope_|overlap_attn|conv_block)).+',
    options=_swinir_options,
)


def _hat_options(shapes: Shapes) -> dict[str, Any]:
    embed_dim = shapes.size(r'(conv_first|norm)\.(weight|bias)', 0, 192)
    groups = max(1, shapes.count(r'layers\.(\d+)\..+'))
    parts = [rf'layers\.{i}\.residual_group' for i in range(groups)]
    window_size = side_of_square(shapes.size(r'.+\.attn\.rope_t_[xy]', 0, 256))
    overlap_size = side_of_square(shapes.size(r'.+\.overlap_attn\.rope_t_[xy]', 0, (window_size * 3 // 2) ** 2))
    compressed = shapes.size(r'.+\.cab\.0\.(weight|bias)', 0, embed_dim // 3)
    squeezed = shapes.size(r'.+\.cab\.3\.attention\.1\.(weight|bias)', 0, embed_dim // 32)
    return {
        'embed_dim': embed_dim,
        'depths': [max(1, shapes.count(rf'{part}\.blocks\.(\d+)\..+')) for part in parts],
        'num_heads': [shapes.size(rf'{part}\..+\.rope_freqs', 1, 6) for part in parts],
        'window_size': window_size,
        'mlp_ratio': ratio(shapes.size(r'.+\.mlp\.fc1\.(weight|bias)', 0, 2 * embed_dim), embed_dim),
        'compress_ratio': embed_dim // max(1, compressed),
        'squeeze_factor': embed_dim // max(1, squeezed),
        'overlap_ratio': ratio(overlap_size - window_size, window_size),
        'num_feat': shapes.size(r'conv_before_upsample\.0\.(weight|bias)', 0, 64),
    }


# A block's norms, MLP and heads are called alike in both kinds of block.
_HAT_RENAMES = (
    (r'^embed_norm\.', 'patch_embed.norm.'),
    (r'^conv_features\.', 'conv_before_upsample.'),
    (r'^groups\.(\d+)\.(blocks\.\d+|overlap)\.', r'layers.\1.residual_group.\2.'),
    (r'^groups\.', 'layers.'),
    (r'\.overlap\.(query|key|value|out|rope)\.', r'.overlap.attention.\1.'),
    (r'\.attention_norm\.', '.norm1.'),
    (r'\.mlp_norm\.', '.norm2.'),
    (r'\.mlp\.0\.', '.mlp.fc1.'),
    (r'\.mlp\.2\.', '.mlp.fc2.'),
    (r'\.conv_branch\.convs\.', '.conv_block.cab.'),
    (r'\.conv_branch\.channel_weights\.', '.conv_block.cab.3.attention.'),
    (r'\.attention\.(query|key|value)\.', '.attention.qkv.'),
    (r'\.attention\.out\.', '.attention.proj.'),
    (r'\.attention\.rope\.freqs$', '.attention.rope_freqs'),
    (r'\.overlap\.attention\.', '.overlap_attn.'),
    (r'\.overlap\.', '.overlap_attn.'),
    (r'\.attention\.(qkv|proj|rope_freqs)', r'.attn.\1'),
)


def _hat_place(key: str) -> Place:
    """Where the tensor of our HAT under a key comes from: queries, keys and values are one projection there."""
    third = re.search(r'\.(query|key|value)\.', key)
    if third is None:
        return Place((rename(key, _HAT_RENAMES),))
    part = ('query', 'key', 'value').index(third[1])
    return Place((rename(key, _HAT_RENAMES),), lambda qkv: qkv.tensor_split(3)[part])


HAT = ReleasedNetwork(
    name='HAT',
    title='encoder HAT with RoPE (HATNOUP_ROPE_AMP)',
    signature=r'layers\.(?!.*(relative_position|attn_mask)).+',
    options=_hat_options,
    place=_hat_place,
)

ENCODERS = (EDSR, RDN, HAT, SWINIR)
