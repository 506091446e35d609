"""What is measured: the package's decoder beside the plain transcription of the released one, with the same weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from gsasr_ops import rasterize_gaussians
from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.gaussians import Gaussians
from gsasr_plugin.archs.inference import for_inference
from tests.checkpoints.official.released import decoder_from_official, layout, released, shuffled_index, weights
from tests.checkpoints.official.transcription import raw_gaussians

VARIANTS = {'paper': 'paper/EDSR', 'enhanced': 'enhanced/EDSR_DIV2K|EDSR_DF2K'}
SCALE = 4.0
TRAINING_SCALES = (1.7, 3.4)  # of the two samples of a training batch, 48 x 48 LR pixels each

Decode = Callable[[Tensor, Tensor], Gaussians]


def state_dict(variant: str) -> dict[str, Tensor]:
    """Full size, under the released keys; weights by the rule of the golden files."""
    full = layout(released()['variants'][VARIANTS[variant]]['decoder_state'])
    state = weights(full, 'benchmark')
    index = shuffled_index(math.isqrt(full['gs_embedding'][0][0]), 0)
    return state | {key: index for key, (_, dtype) in full.items() if dtype == 'int64'}


def plain_decoder(state: dict[str, Tensor]) -> Decode:
    """The baseline: full scale attention, explicit softmax, each head applied to all Gaussians at once."""

    def decode(features: Tensor, scale: Tensor) -> Gaussians:
        raw = raw_gaussians(state, features, scale)
        h, w = features.shape[2:]
        return Gaussians(
            means=raw[..., 7:9] * raw.new_tensor((w, h)),
            sigmas=(0.99999 * raw[..., :2].flip(-1).sigmoid() + 1e-6) / 1.2,
            rhos=0.999999 * raw[..., 2].tanh(),
            opacities=raw[..., 3].sigmoid(),
            colors=raw[..., 4:7].sigmoid(),
            lq_size=(h, w),
        )

    return decode


def decoder(which: str, variant: str) -> tuple[Decode, list[nn.Parameter]]:
    """`baseline` or one of ours, and its parameters."""
    state = state_dict(variant)
    if which == 'baseline':
        trained = {key: nn.Parameter(value) for key, value in state.items() if value.is_floating_point()}
        return plain_decoder({**state, **trained}), list(trained.values())
    net = decoder_from_official(state)
    net.checkpoint_gradients('heads' if which == 'recomputed' else None)
    return net, list(net.parameters())


def precision(which: str) -> AbstractContextManager[Any]:
    return torch.autocast('cpu', torch.bfloat16) if which == 'bf16' else nullcontext()


def inference(which: str, variant: str, side: int) -> Callable[[], Gaussians]:
    """A call that decodes a map of side x side LR pixels."""
    decode, _ = decoder(which, variant)
    decode = for_inference(decode) if isinstance(decode, nn.Module) else decode
    features, scale = decoder_inputs(side)

    def call() -> Gaussians:
        with torch.inference_mode(), precision(which):
            return decode(features, scale)

    return call


def decoder_inputs(side: int) -> tuple[Tensor, Tensor]:
    """Features of side x side LR pixels, and the factor."""
    return torch.randn(1, 64, side, side, generator=torch.Generator().manual_seed(0)), torch.tensor((SCALE,))


def picture(gaussians: Gaussians) -> Tensor:
    h, w = gaussians.lq_size
    fields = (gaussians.means, gaussians.sigmas, gaussians.rhos, gaussians.opacities, gaussians.colors)
    return rasterize_gaussians(*fields, (round(SCALE * h), round(SCALE * w)), SCALE)[0]


def training_step(which: str, variant: str) -> Callable[[], None]:
    """A call that trains EDSR and decoder on a batch of two scales: forward, L1, backward, Adam."""
    encoder = GSASR(encoder_opt={'type': 'EDSR'}, num_interaction_blocks=0).encoder
    decode, parameters = decoder(which, variant)
    optimizer = torch.optim.Adam([*parameters, *encoder.parameters()], 1e-6)
    lq = torch.rand(len(TRAINING_SCALES), 3, 48, 48, generator=torch.Generator().manual_seed(0))
    sizes = [(round(48 * s), round(48 * s)) for s in TRAINING_SCALES]
    gts = [torch.rand(3, *size, generator=torch.Generator().manual_seed(1)) for size in sizes]

    def call() -> None:
        optimizer.zero_grad()
        with precision(which):
            gaussians = decode(encoder(lq), torch.tensor(TRAINING_SCALES))
        fields = (gaussians.means, gaussians.sigmas, gaussians.rhos, gaussians.opacities, gaussians.colors)
        images = rasterize_gaussians(*(f.float() for f in fields), sizes, [H / 48 for H, _ in sizes])
        torch.stack([(image - gt).abs().mean() for image, gt in zip(images, gts)]).mean().backward()
        optimizer.step()

    return call
