"""Networks of all option files, on traces of GPUs, in other ways than the paper's protocol: odd sizes, several images,
tiles, any layout and precision; and training steps by the options that change what a step asks of a GPU.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gsasr_plugin.archs.encoders import build_encoder
from gsasr_plugin.archs.inference import for_inference
from tests.archs.test_encoders import SMALL
from tests.archs.test_on_gpus import check_attention
from tests.benchmarks.trace.runs import FEW_CALLS, FEW_LAYERS, PRECISIONS, inference, networks, on_cuda, training_step
from tests.benchmarks.trace.tracer import Trace, fake_cuda, tracing

# Every network that there is an option file for, with the options in which those without a test differ.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in (*networks(), 'gsasr_base')}
NETWORKS |= {f'density {n}': ('gsasr_edsr', {'gaussian_density': n}) for n in (1, 4, 9)}
NETWORKS['no reference points'] = ('gsasr_edsr', {'use_reference_points': False})
NETWORKS['gsasr_ultra_hat'] = ('gsasr_ultra_hat', FEW_LAYERS)
# Calls of attention, of which there are none in the others.
CALLS = {'gsasr_edsr': 38, 'gsasr_enhanced_edsr': 38, 'gsasr_rdn': 38, 'gsasr_swinir': 74}
CALLS |= {'gsasr_enhanced_rdn': 40, 'gsasr_enhanced_swinir': 80, 'gsasr_ultra_hat': FEW_CALLS}


def check(trace: Trace, calls: int) -> None:
    """Fused attention; no wait; nothing is made of weights that the pass before has made."""
    check_attention(trace, calls)
    assert not trace.waits and not trace.remade


@pytest.mark.slow
@pytest.mark.parametrize('name', NETWORKS)
def test_odd_sizes_of_several_images(name: str) -> None:
    """In fp16, with channels_last, of other factors along rows than along columns."""
    base, changes = NETWORKS[name]
    trace = inference(base, 'fp16', (2, 29, 37), {'size': (70, 111)}, channels_last=True, **changes)
    check(trace, CALLS.get(base, 0))
    assert not trace.copies


TILED = [('gsasr_small', precision) for precision in PRECISIONS]
TILED += [('gsasr_enhanced_rdn', 'fp16'), ('gsasr_ultra_hat', 'bf16')]


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'precision'), TILED)
def test_tiles(name: str, precision: str) -> None:
    """Four, of two images; the weights with which they fade are copied, and nobody waits for that."""
    base, changes = NETWORKS[name]
    trace = inference(base, precision, (2, 50, 59), {'scale': 2.5, 'tile': 48, 'tile_overlap': 24}, **changes)
    check(trace, 4 * CALLS.get(base, 0))
    assert set(trace.copies) == {'to'}


@pytest.mark.slow
def test_an_offset_does_not_wait() -> None:
    trace = inference('gsasr_edsr', 'tf32', (1, 24, 24), {'scale': 2.6, 'size': (40, 40), 'offset': (0.3, 0.6)})
    check(trace, 38)
    assert trace.copies == ['to']


@pytest.mark.slow
@pytest.mark.parametrize('precision', PRECISIONS)
@pytest.mark.parametrize('name', SMALL)
def test_every_encoder_in_every_precision(name: str, precision: str) -> None:
    """Weights of widths that no kernel wants, of two images: nothing is cast, joined or padded twice."""
    dtype, _ = PRECISIONS[precision]
    half = None if dtype == 'float32' else {'bf16': torch.bfloat16, 'fp16': torch.float16}[dtype]
    encoder = build_encoder(SMALL[name][0])
    with fake_cuda(), torch.no_grad():
        snapshot = for_inference(on_cuda(encoder))
        lq = torch.zeros(2, 3, 12, 24).to('cuda')
        with torch.autocast('cuda', half, enabled=half is not None):
            for _ in range(2):
                with tracing(snapshot.parameters()) as trace:
                    snapshot(lq)
    check(trace, {'HAT': 6, 'SwinIR': 4}.get(name, 0))
    assert not trace.copies


GAN = {'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1}}
STEPS: dict[str, dict[str, Any]] = {
    'fp16': {'precision': 'fp16'},
    'against a discriminator': GAN,
    'against a discriminator in fp16': {'precision': 'fp16', **GAN},
    'in parts': {'precision': 'bf16', 'accumulate': 3},
    'in float32, without clipping': {'precision': 'tf32', 'grad_clip': None},
}


@pytest.mark.slow
@pytest.mark.parametrize('case', STEPS)
def test_a_training_step_waits_once_however_it_is_made(case: str) -> None:
    trace = training_step('gsasr_small', **STEPS[case])
    assert trace.waits == ['tolist']


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'precision'), [('gsasr_edsr', 'float32'), ('gsasr_swinir', 'fp16')])
def test_training_steps_in_other_precisions(name: str, precision: str) -> None:
    trace = training_step(name, precision)
    check_attention(trace, CALLS[name])
    assert trace.waits == ['tolist']
