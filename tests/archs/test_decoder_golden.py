"""The paper's decoder against outputs of the authors' networks."""

import numpy as np
import pytest
import torch

from tests.archs.released_decoder import DENSITIES, load_golden

# The networks ran in float32 with attention in another order of sums: agreement to about 1e-6, and a margin of 20.
RELATIVE = 2e-5


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize('name', DENSITIES)
def test_decoder_gives_the_authors_gaussians(name: str) -> None:
    decoder, golden = load_golden(name)
    with torch.no_grad():
        gaussians = decoder(torch.from_numpy(golden['feat']), torch.from_numpy(golden['scale']))

    h, w = golden['feat'].shape[2:]
    assert gaussians.lq_size == (h, w)
    assert gaussians.means.shape[1] == DENSITIES[name] * h * w
    raw = golden['raw_gaussians'].astype(np.float64)  # (B, N / step, 9)
    expected = {
        'means': raw[..., 7:9] * (w, h),
        'sigmas': (0.99999 * sigmoid(raw[..., [1, 0]]) + 1e-6) / 1.2,
        'rhos': 0.999999 * np.tanh(raw[..., 2]),
        'opacities': sigmoid(raw[..., 3]),
        'colors': sigmoid(raw[..., 4:7]),
    }
    for field, values in expected.items():
        got = getattr(gaussians, field).numpy()[:, :: int(golden['step'])]
        assert np.abs(got - values).max() <= RELATIVE * np.abs(values).max(), field
