"""Encoders and decoders of the released variants with the weights of the golden files, for which the authors' networks
have told what is right: a GPU is as near to that as a CPU.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from gsasr_plugin.archs.inference import for_inference
from tests.checkpoints.official.released import (
    DECODER_SALTS,
    ENCODER_LAYOUTS,
    decoder_from_official,
    encoder_from_official,
    golden_decoder,
    golden_encoder,
    parameters,
)
from tests.gpu.precision import computed_in
from tests.gpu.report import Report

# The authors' numbers are of float32, as all of these: sums in another order, and large ones split otherwise. With
# these weights the networks pass on what is rounded undiminished, so that TF32 and bfloat16 say nothing here.
OF_ANOTHER_ORDER = 4.0
# The tests hold CPUs to that, in parts of the largest number.
OF_A_CPU = 2e-5

Differences = Callable[[nn.Module, str], float]


def run(report: Report, rehearsed: bool) -> None:
    for name in list(ENCODER_LAYOUTS)[:1] if rehearsed else ENCODER_LAYOUTS:
        state, golden = golden_encoder(name)
        _compare(report, f'encoder {name}', encoder_from_official(state), _of_features(golden))
    for name in list(DECODER_SALTS)[:1] if rehearsed else DECODER_SALTS:
        state, golden = golden_decoder(name)
        _compare(report, name, decoder_from_official(state), _of_gaussians(golden))


def _compare(report: Report, name: str, net: nn.Module, differs: Differences) -> None:
    report.at_most(f'{name}: CPU - the authors, of the largest', differs(net, 'cpu'), OF_A_CPU)
    net.to('cuda')
    with computed_in('float32'):
        for how, made in (('GPU', net), ('GPU, for inference', for_inference(net))):
            report.at_most(
                f'{name}: {how} - the authors, of the largest', differs(made, 'cuda'), OF_ANOTHER_ORDER * OF_A_CPU
            )


def _of_features(golden: dict[str, np.ndarray]) -> Differences:
    def differs(encoder: nn.Module, device: str) -> float:
        with torch.inference_mode():
            features = encoder(torch.from_numpy(golden['image']).to(device)).cpu().numpy()
        return _difference(features[:, :: int(golden.get('step', 1))], golden['features'])

    return differs


def _of_gaussians(golden: dict[str, np.ndarray]) -> Differences:
    h, w = golden['feat'].shape[2:]
    expected = parameters(golden['raw_gaussians'], (h, w))

    def differs(decoder: nn.Module, device: str) -> float:
        with torch.inference_mode():
            gaussians = decoder(*(torch.from_numpy(golden[key]).to(device) for key in ('feat', 'scale')))
        step = int(golden['step'])
        return max(_difference(getattr(gaussians, key).cpu().numpy()[:, ::step], expected[key]) for key in expected)

    return differs


def _difference(given: np.ndarray, expected: np.ndarray) -> float:
    assert given.shape == expected.shape
    return float(np.abs(given - expected).max() / np.abs(expected).max())
