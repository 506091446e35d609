"""AlexNet and VGG16 as feature extractors: five stages of convolutions, each after the first behind a pooling."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gsasr_plugin.metrics.weights import Convolution, Net

# How many convolutions each stage has, and which stages begin with a pooling.
_STAGES: dict[Net, tuple[tuple[int, bool], ...]] = {
    'alex': ((1, False), (1, True), (1, True), (1, False), (1, False)),
    'vgg': ((2, False), (2, True), (3, True), (3, True), (3, True)),
}
_ALEX_FIRST_STRIDE, _ALEX_FIRST_PADDING = 4, 2
# Images that are smaller lose all of their pixels in the max poolings.
LEAST_SIDE: dict[Net, int] = {'alex': 31, 'vgg': 16}


class Normalize(nn.Module):
    """(image - mean) / std of each channel, as a backbone wants its images (B, 3, H, W)."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer('mean', torch.tensor(mean)[:, None, None])
        self.register_buffer('std', torch.tensor(std)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.get_buffer('mean')) / self.get_buffer('std')


class MaxPool(nn.Module):
    """The networks' own pooling: 3 x 3 in AlexNet, 2 x 2 in VGG16."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.kernel = 3 if net == 'alex' else 2

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, self.kernel, stride=2)


class L2Pool(nn.Module):
    """DISTS's pooling: the root of the squares' mean under a 3 x 3 Hann window, stride 2."""

    def __init__(self) -> None:
        super().__init__()
        hann = torch.hann_window(5, periodic=False, dtype=torch.float64)[1:-1]
        self.register_buffer('window', (hann[:, None] * hann[None, :] / hann.sum() ** 2)[None, None])

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        window = self.get_buffer('window').expand(channels, 1, -1, -1)
        return (F.conv2d(x * x, window, stride=2, padding=1, groups=channels) + 1e-12).sqrt()


class Backbone(nn.Module):
    """The features after the last ReLU of each stage.

    Args:
        convolutions: its weights, in their order.
        pool: what stands between stages; None: the network's max pooling.
    """

    def __init__(self, net: Net, convolutions: Sequence[Convolution], pool: nn.Module | None = None) -> None:
        super().__init__()
        remaining = iter(convolutions)
        stages: list[nn.Module] = []
        for count, pooled in _STAGES[net]:
            layers: list[nn.Module] = [pool or MaxPool(net)] if pooled else []
            for _ in range(count):
                layers += [_convolution(next(remaining), first_of_alex=net == 'alex' and not stages), nn.ReLU()]
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> Iterator[Tensor]:
        """Yields (B, C, H', W') for each stage; earlier ones need not be kept.

        Args:
            x: (B, 3, H, W), normalized as the network wants it.
        """
        for stage in self.stages:
            x = stage(x)
            yield x


def _convolution(weights: Convolution, *, first_of_alex: bool) -> nn.Conv2d:
    out_channels, in_channels, kernel, _ = weights.weight.shape
    stride, padding = (_ALEX_FIRST_STRIDE, _ALEX_FIRST_PADDING) if first_of_alex else (1, kernel // 2)
    layer = nn.Conv2d(in_channels, out_channels, kernel, stride, padding)
    layer.weight = nn.Parameter(weights.weight, requires_grad=False)
    layer.bias = nn.Parameter(weights.bias, requires_grad=False)
    return layer
