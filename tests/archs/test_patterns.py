"""Brightness and flatness hold by construction: whatever the weights, on pictures where they are easily lost."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.consistency import resized
from gsasr_plugin.archs.inference import for_inference
from gsasr_plugin.checkpoints.loading import load
from gsasr_plugin.checkpoints.packaged import packaged_models
from tests.archs.test_completion import make_net
from tests.patterns import patterns

# In levels of 8 bits, of each channel: the mean of a picture, and of each of its blocks of 8 x 8 LR pixels.
MEAN, BLOCK, FLAT = 2, 8, 1
STEPS = 4  # of back-projection; after three the worst block is off by 8.7, at x1.3

PATTERNS = patterns()
NAMES = np.array(list(PATTERNS))
IS_FLAT = np.char.startswith(NAMES, 'flat')


def images(names: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack([PATTERNS[name] for name in names])).permute(0, 3, 1, 2) / 255


def random_network(consistency: int) -> GSASR:
    """Of Gaussians that are wide enough to be seen, and of colours many times the contrast."""
    net = make_net(consistency=consistency, joint_head=True, support=4.5)
    torch.manual_seed(0)
    for name, p in net.named_parameters():
        if name.endswith('weight'):
            torch.nn.init.normal_(p, std=1.4 * p[0].numel() ** -0.5)
    numbers = net.decoder.primary_head.properties[2].weight.data
    numbers[:3] *= 0.1  # sigmas, rho
    numbers[3:6] *= 0.5  # colours
    numbers[6:] *= 0.1  # offsets
    return net


def networks() -> dict[str, GSASR]:
    """Random weights; and the packaged models that are built to keep brightness."""
    found = {'random': random_network(STEPS)}
    for name in packaged_models():
        net = load(name)
        if net.bicubic_skip and net.consistency:
            found[name] = for_inference(net)
    return found


NETWORKS = networks()


def in_8_bits(net: GSASR, names: np.ndarray, scale: float) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
    """Of some patterns at a time: their names, LR and SR, in levels."""
    for some in np.array_split(names, -(-len(names) * scale**2 // 500)):
        lq = images(some)
        with torch.inference_mode():
            sr = net(lq, scale=scale)
        yield some, 255 * lq.double(), (255 * sr.clamp(0, 1)).round().double()


def test_there_are_two_hundred() -> None:
    assert len({image.tobytes() for image in PATTERNS.values()}) > 195  # some halftones of some greys are the same
    assert len(PATTERNS) == 200


def test_random_weights_draw_far_more_than_there_is() -> None:
    net = random_network(0)
    lq = images(NAMES[~IS_FLAT][::8])
    with torch.inference_mode():
        detail = net(lq, scale=3) - resized(lq, (96, 96))
    assert (detail.std() > 2) and detail.abs().max() > 10


# All patterns at small scales, and each of them at one of the large ones.
ALL = [pytest.param(scale, 1, marks=pytest.mark.slow) for scale in (1.3, 2)]


@pytest.mark.parametrize(('scale', 'part'), [*ALL, (3, 2), (4.7, 4), (7, 8), (12, 12)])
@pytest.mark.parametrize('net', NETWORKS.values(), ids=NETWORKS)
def test_brightness_is_kept(net: GSASR, scale: float, part: int) -> None:
    for names, lq, sr in in_8_bits(net, NAMES[~IS_FLAT][int(scale) % part :: part], scale):
        difference = resized(sr, (32, 32)) - lq
        means = difference.mean((2, 3)).abs().amax(1)
        blocks = F.avg_pool2d(difference, 8).abs().amax((1, 2, 3))
        assert means.max() <= MEAN, (names[means.argmax()], means.max())
        assert blocks.max() <= BLOCK, (names[blocks.argmax()], blocks.max())


@pytest.mark.parametrize(('scale', 'part'), [(1, 1), *ALL, (3, 2), (4.7, 4), (7, 8), (12, 12)])
@pytest.mark.parametrize('net', NETWORKS.values(), ids=NETWORKS)
def test_flat_stays_flat(net: GSASR, scale: float, part: int) -> None:
    for names, lq, sr in in_8_bits(net, NAMES[IS_FLAT][::part], scale):
        worst = (sr - lq[..., :1, :1]).abs().amax((1, 2, 3))
        assert worst.max() <= FLAT, names[worst.argmax()]
