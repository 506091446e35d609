"""EDSR, RDN and SwinIR reproduce the authors' features, from weights under the released key names.

`tests/golden/encoder_*.npz` hold an image and the features that the authors' networks gave in float32. The weights are
not stored: each is drawn by a rule from a salt and its released key (`released_weights`). `encoder_state_keys.json`
lists the keys of the released files: [shape] for float32, [shape, dtype] for others.
"""

import json
import math
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from gsasr_plugin.archs.encoders import build_encoder

GOLDEN = Path(__file__).parents[1] / 'golden'
RELEASED_KEYS = json.loads((GOLDEN / 'encoder_state_keys.json').read_text())
RELEASED_NAME = {'EDSR': 'EDSRNOUP', 'RDN': 'RDNNOUP', 'SwinIR': 'SwinIRNOUP'}

RDN_RENAMES = (
    (r'^SFENet1\.', 'conv_first.'),
    (r'^SFENet2\.', 'conv_second.'),
    (r'^RDBs\.(\d+)\.convs\.(\d+)\.conv\.0\.', r'body.\1.convs.\2.'),
    (r'^RDBs\.(\d+)\.LFF\.', r'body.\1.local_fusion.'),
    (r'^GFF\.', 'global_fusion.'),
)


def our_key(type_name: str, released_key: str) -> str | None:
    """Key of the encoder's network for a released key; None for the redundant ones.

    EDSR and SwinIR carry the host's names already. SwinIR's attention masks are redundant: they follow from the size of
    the input, and the released ones are those of 48 x 48 patches.
    """
    if released_key.endswith('.attn_mask'):
        return None
    if type_name == 'RDN':
        for pattern, replacement in RDN_RENAMES:
            released_key = re.sub(pattern, replacement, released_key)
    return released_key


def released_weights(type_name: str, salt: str) -> dict[str, torch.Tensor]:
    """Floating-point weights under the released keys; integer buffers keep the values that the network computes."""
    weights = {}
    for key, shape in RELEASED_KEYS[RELEASED_NAME[type_name]].items():
        if isinstance(shape[-1], str):  # an integer buffer
            continue
        x = np.random.default_rng(zlib.crc32(f'{salt}:{key}'.encode())).standard_normal(shape).astype(np.float32)
        if len(shape) >= 2 and key.endswith('weight'):
            x = x / np.float32(math.sqrt(math.prod(shape[1:])))
        elif 'norm' in key and key.endswith('weight'):
            x = 1 + np.float32(0.1) * x
        else:
            x = np.float32(0.1) * x
        weights[key] = torch.from_numpy(x)
    return weights


@pytest.mark.parametrize('type_name', ['EDSR', 'RDN', 'SwinIR'])
def test_features_equal_the_authors(type_name):
    with np.load(GOLDEN / f'encoder_{type_name.lower()}.npz') as golden:
        image = torch.from_numpy(golden['image'])
        expected = torch.from_numpy(golden['features'])
        salt = str(golden['salt'])
    encoder = build_encoder({'type': type_name}).eval()
    state = {our_key(type_name, key): value for key, value in released_weights(type_name, salt).items()}
    state.pop(None, None)
    loaded = encoder.net.load_state_dict(state, strict=False)
    assert not loaded.unexpected_keys
    assert all(key.endswith('relative_position_index') for key in loaded.missing_keys)  # integer buffers

    with torch.no_grad():
        features = encoder(image)

    assert features.shape == expected.shape
    # Both sides are float32, each about 1e-6 of the largest feature away from float64 (measured); a skip or a layer
    # left out, or another order of the channels, changes the features by more than 1 %.
    assert (features - expected).abs().max() <= 2e-5 * expected.abs().max()


@pytest.mark.parametrize('type_name', ['EDSR', 'RDN', 'SwinIR'])
def test_every_released_key_has_a_place(type_name):
    ours = {key: list(value.shape) for key, value in build_encoder({'type': type_name}).net.state_dict().items()}
    released = {}
    redundant = []
    for key, shape in RELEASED_KEYS[RELEASED_NAME[type_name]].items():
        place = our_key(type_name, key)
        if place is None:
            redundant.append(key)
        else:
            assert place not in released, f'two released keys map to {place}'
            released[place] = [size for size in shape if not isinstance(size, str)]
    assert released == ours
    assert len(redundant) == (18 if type_name == 'SwinIR' else 0)  # every second one of 6 x 6 blocks is shifted
