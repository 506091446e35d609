"""What tests know of the authors' models: keys and shapes, weights by the rule of the golden files, and their units."""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gsasr_plugin.archs.decoder import GaussianDecoder
from gsasr_plugin.archs.encoders import Encoder, build_encoder
from gsasr_plugin.checkpoints.official.convert import ReleasedState, built
from gsasr_plugin.checkpoints.official.decoder import DECODER
from gsasr_plugin.checkpoints.official.encoder import ENCODERS
from gsasr_plugin.checkpoints.state_file import StateSource
from tests.archs.decoders import make_decoder

GOLDEN = Path(__file__).parents[2] / 'golden'

# Of each golden file of a decoder, the salt of its weights; of an encoder, its released layout.
DECODER_SALTS = {
    'decoder_paper': 'p1',
    'decoder_paper_1x': 'p2',
    'decoder_paper_9x': 'p3',
    'decoder_enhanced': 'p4',
    'decoder_enhanced_w16': 'p5',
}
ENCODER_LAYOUTS = {'edsr': 'EDSRNOUP', 'rdn': 'RDNNOUP', 'swinir': 'SwinIRNOUP', 'hat': 'HATNOUP_ROPE_AMP'}

Layout = dict[str, tuple[list[int], str]]  # key: (shape, dtype)


@cache
def released() -> dict[str, Any]:
    """The released variants, and the layouts of their networks by name."""
    held = json.loads(gzip.decompress((GOLDEN / 'official_state_dicts.json.gz').read_bytes()))
    layouts = {
        name: {key: (shape, dtype) for key, shape, dtype in entries} for name, entries in held['state_dicts'].items()
    }
    return {'variants': held['variants'], 'layouts': layouts}


def layout(name: str) -> Layout:
    """Keys, shapes and dtypes of a released network."""
    return released()['layouts'][name]


def weights(layout: Layout, salt: str) -> dict[str, Tensor]:
    """A state dict: floating-point weights by the rule of the golden files, buffers with the values that they have.

    `relative_position_index` and SwinIR's `attn_mask` are left to the caller.
    """
    state = {}
    for key, (shape, dtype) in layout.items():
        if key.endswith(('.rope_t_x', '.rope_t_y')):
            side, token = math.isqrt(shape[0]), torch.arange(shape[0])
            state[key] = (token % side if key.endswith('_x') else token // side).float()
            continue
        if dtype != 'float32' or key.endswith('.attn_mask'):
            continue
        x = np.random.default_rng(zlib.crc32(f'{salt}:{key}'.encode())).standard_normal(shape).astype(np.float32)
        if key in ('gs_embedding', 'pos_embedding'):
            pass
        elif key.endswith('rope_freqs'):
            x = np.float32(0.3) * x
        elif len(shape) >= 2 and key.endswith('weight'):
            x = x / np.float32(math.sqrt(math.prod(shape[1:])))
        elif 'norm' in key and key.endswith('weight'):
            x = 1 + np.float32(0.1) * x
        else:
            x = np.float32(0.1) * x
        state[key] = torch.from_numpy(x)
    return state


def golden_encoder(name: str) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
    """The released state dict of a golden encoder, of `ENCODER_LAYOUTS`, and the arrays of its file."""
    golden = dict(np.load(GOLDEN / f'encoder_{name}.npz'))
    keys = layout(ENCODER_LAYOUTS[name])
    # The released SwinIR's index is the regular one.
    row, column = np.divmod(np.arange(8**2), 8)
    dy, dx = (torch.from_numpy(axis[:, None] - axis[None, :] + 7) for axis in (row, column))
    index = {key: dy * 15 + dx for key in keys if key.endswith('.relative_position_index')}
    return weights(keys, str(golden['salt'])) | index, golden


def golden_decoder(name: str) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
    """The released state dict of a golden decoder, of `DECODER_SALTS`, and the arrays of its file."""
    golden = dict(np.load(GOLDEN / f'{name}.npz'))
    shapes = json.loads(str(golden['shapes']))
    state = weights({key: (shape, 'float32') for key, shape in shapes.items()}, DECODER_SALTS[name])
    for key in [key for key in shapes if key.endswith('.relative_position_bias_table')]:
        index = golden['cross_index' if 'crossattn' in key else 'self_index']
        state[key.replace('bias_table', 'index')] = torch.from_numpy(index).long()
    return state, golden


def parameters(raw: np.ndarray, lq_size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Raw outputs (B, N, 9) to the fields of `Gaussians`, in float64."""

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    raw = raw.astype(np.float64)
    h, w = lq_size
    return {
        'means': raw[..., 7:9] * (w, h),
        'sigmas': (0.99999 * sigmoid(raw[..., [1, 0]]) + 1e-6) / 1.2,
        'rhos': 0.999999 * np.tanh(raw[..., 2]),
        'opacities': sigmoid(raw[..., 3]),
        'colors': sigmoid(raw[..., 4:7]),
    }


def shuffled_index(window: int, seed: int) -> Tensor:
    """A relative position index whose rows are in an arbitrary order, as the released ones are."""
    order = torch.randperm((2 * window - 1) ** 2, generator=torch.Generator().manual_seed(seed))
    row, column = np.divmod(np.arange(window**2), window)
    dy, dx = (torch.from_numpy(axis[:, None] - axis[None, :]) for axis in (row, column))
    return order[(dy + window - 1) * (2 * window - 1) + dx + window - 1]


def resized(name: str, sizes: dict[int, int], kept: dict[str, int]) -> Layout:
    """A smaller network of a released kind: sizes replaced, repeated parts left out.

    Args:
        name: of the released layout.
        sizes: replacement of every size that changes.
        kept: for a regular expression with one group, the number of values of this group that stay.
    """
    small = {}
    for key, (shape, dtype) in layout(name).items():
        numbers = ((re.match(pattern, key), count) for pattern, count in kept.items())
        if all(match is None or int(match[1]) < count for match, count in numbers):
            small[key] = ([sizes.get(size, size) for size in shape], dtype)
    return small


def encoder_from_official(source: StateSource) -> Encoder:
    """A released encoder alone, as `gsasr_from_official` makes it."""
    released = ReleasedState(source, ENCODERS)
    encoder = built(released.name, build_encoder, released.options)
    released.fill(encoder.net)
    return encoder.eval()


def decoder_from_official(source: StateSource) -> GaussianDecoder:
    """A released decoder alone, as `gsasr_from_official` makes it."""
    released = ReleasedState(source, (DECODER,))
    decoder = built(released.name, lambda options: make_decoder(**options), released.options)
    released.fill(decoder)
    return decoder.eval()
