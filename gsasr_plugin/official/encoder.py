"""The released encoders (EDSRNOUP, RDNNOUP, SwinIRNOUP, HATNOUP_ROPE_AMP) under their own keys."""

from __future__ import annotations

from typing import Any

from gsasr_plugin.official.kinds import Kind, Place, rename
from gsasr_plugin.official.shapes import Shapes, ratio, window_of_table


def same_place(key: str) -> Place:
    """For networks whose keys are the released ones."""
    return Place((key,))


def edsr_options(shapes: Shapes) -> dict[str, Any]:
    """The arguments of our EDSR for a released state dict."""
    return {
        'num_feat': shapes.size(r'conv_first\.(weight|bias)', 0, 64),
        'num_block': shapes.count(r'body\.(\d+)\..+'),
    }


EDSR = Kind(
    name='EDSR',
    title='encoder EDSR (EDSRNOUP)',
    signature=r'body\.\d+\.conv[12]\.(weight|bias)',
    options=edsr_options,
    place=same_place,
)


def rdn_options(shapes: Shapes) -> dict[str, Any]:
    """The arguments of our RDN for a released state dict."""
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

RDN = Kind(
    name='RDN',
    title='encoder RDN (RDNNOUP)',
    signature=r'(SFENet[12]|RDBs|GFF)\..+',
    options=rdn_options,
    place=lambda key: Place((rename(key, _RDN_RENAMES),)),
)


def swinir_options(shapes: Shapes) -> dict[str, Any]:
    """The arguments of our SwinIR for a released state dict."""
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


SWINIR = Kind(
    name='SwinIR',
    title='encoder SwinIR (SwinIRNOUP)',
    signature=r'layers\.\d+\.(residual_group\.blocks\.\d+\.(norm[12]|attn|mlp)|conv)\..+',
    options=swinir_options,
    place=same_place,
)

ENCODERS = (EDSR, RDN, SWINIR)
