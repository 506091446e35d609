"""Encoders from released state dicts against the authors' features, and against plain transcriptions at other sizes.

`tests/golden/encoder_*.npz` hold an image and the features (every n-th channel) that the authors' networks gave in
float32. Their weights are not stored: each is drawn by a rule from a salt and its released key.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.checkpoints.official.encoder_transcriptions import edsr, hat, rdn
from tests.checkpoints.official.released import (
    ENCODER_LAYOUTS,
    encoder_from_official,
    golden_encoder,
    resized,
    shuffled_index,
    weights,
)


@pytest.mark.parametrize(
    'name', [pytest.param(n, marks=() if n == 'edsr' else pytest.mark.slow) for n in ENCODER_LAYOUTS]
)
def test_the_authors_features(name: str, computed: Callable[[Any], Any]) -> None:
    state, golden = golden_encoder(name)
    encoder = encoder_from_official(state)

    with torch.no_grad():
        features = computed(encoder)(torch.from_numpy(golden['image'])).numpy()

    assert features.shape[1] == encoder.num_features == 64
    features = features[:, :: int(golden['step']) if 'step' in golden else 1]
    expected = golden['features']
    assert features.shape == expected.shape
    # Both sides are float32, each about 1e-6 of the largest feature away from float64 (measured); a skip or a layer
    # left out, or another order of the channels, changes the features by more than 1 %.
    assert np.abs(features - expected).max() <= 2e-5 * np.abs(expected).max()


def compare(state: dict[str, Tensor], transcription, size: tuple[int, int]) -> dict[str, object]:
    """The converted encoder against a transcription in float64; returns what it was deduced to be."""
    encoder = encoder_from_official(state).double()
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        features = encoder(image)
        expected = transcription({key: x.double() if x.is_floating_point() else x for key, x in state.items()}, image)
    # Float64 on both sides, in another order of sums.
    torch.testing.assert_close(features, expected, rtol=1e-10, atol=1e-10)
    return {'features': encoder.num_features, 'multiple': encoder.multiple}


def test_edsr_of_another_size() -> None:
    small = resized('EDSRNOUP', {64: 12}, {r'body\.(\d+)\.': 3})
    assert compare(weights(small, 'other'), edsr, (7, 9)) == {'features': 12, 'multiple': 1}


def test_rdn_of_another_size() -> None:
    kept = {r'RDBs\.(\d+)\.': 3, r'RDBs\.\d+\.convs\.(\d+)\.': 2}
    small = resized('RDNNOUP', {64: 6}, kept)
    for key, (shape, dtype) in small.items():  # growth 5
        if key.startswith('RDBs.') and '.convs.' in key:
            small[key] = ([5, 6 + 5 * int(key.split('.')[3]), 3, 3] if len(shape) == 4 else [5], dtype)
        elif key.endswith('.LFF.weight'):
            small[key] = ([6, 6 + 2 * 5, 1, 1], dtype)
    small['GFF.0.weight'] = ([6, 3 * 6, 1, 1], 'float32')
    assert compare(weights(small, 'other'), rdn, (7, 9)) == {'features': 6, 'multiple': 1}


def test_hat_of_another_size() -> None:
    # Width 24, 3 heads, window 4 in one of 8 (overlap ratio 1), hidden widths 72, 8 and 4, 8 features.
    sizes = {192: 24, 576: 72, 384: 72, 64: 8, 6: 3, 16: 4, 256: 16}
    kept = {r'layers\.(\d+)\.': 2, r'layers\.\d+\.residual_group\.blocks\.(\d+)\.': 3}
    small = resized('HATNOUP_ROPE_AMP', sizes, kept)
    for key in small:
        if '.cab.3.attention.' in key:
            small[key] = ([4 if size == 3 else size for size in small[key][0]], 'float32')
        elif '.overlap_attn.' in key and '.rope_t_' in key:
            small[key] = ([64], 'float32')
        elif '.overlap_attn.qkv' in key or '.attn.qkv' in key:
            small[key] = ([72, *small[key][0][1:]], 'float32')
    assert compare(weights(small, 'other'), hat, (8, 12)) == {'features': 8, 'multiple': 4}


@pytest.mark.parametrize('shuffled', [False, True])
def test_swinir_of_another_size(shuffled: bool) -> None:
    """Against the host's own SwinIR, with other depths and heads in each group, and any order of the bias tables."""
    from basicsr.archs.swinir_arch import SwinIR

    arguments = {'embed_dim': 24, 'depths': [2, 3], 'num_heads': [2, 3], 'window_size': 4, 'mlp_ratio': 55 / 24 + 1e-6}
    host = SwinIR(img_size=16, in_chans=3, upscale=2, upsampler='pixelshuffle', **arguments)
    host.mean = torch.zeros(1, 3, 1, 1)
    keys = host.state_dict()
    state = weights({key: (list(x.shape), 'float32') for key, x in keys.items() if x.is_floating_point()}, 'other')
    state |= {key: x for key, x in keys.items() if key not in state}  # masks and indices
    if shuffled:
        index = shuffled_index(4, 3)
        state |= {key: index for key in state if key.endswith('.relative_position_index')}
    seen = []
    host.upsample.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))

    def transcription(state: dict[str, Tensor], image: Tensor) -> Tensor:
        host.double().load_state_dict(state | {key: x for key, x in host.state_dict().items() if key not in state})
        host.eval()(image)
        return seen[0]

    released = {key: x for key, x in state.items() if not key.startswith(('upsample.', 'conv_last.'))}
    assert compare(released, transcription, (8, 12)) == {'features': 64, 'multiple': 4}
