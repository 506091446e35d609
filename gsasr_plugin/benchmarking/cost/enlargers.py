"""What enlarges images, and whose cost is measured: GSASR, other networks of BasicSR, bicubic interpolation."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.inference import for_inference
from gsasr_plugin.checkpoints.loading import load
from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.models.validation.paper_tables import PaperRow, paper_row
from gsasr_plugin.sizes import Size


class DoesNotFitError(ValueError):
    """A network that makes another size than asked for: it is of a fixed scale, and this is not it."""


@dataclass
class Enlarger:
    """Something that enlarges images.

    Attributes:
        name: what tables call it.
        enlarge: LR (1, 3, h, w), RGB in 0..1, and a size (H, W) -> (1, 3, H, W).
        stages: the parts that are timed each, by name.
        network: what is moved to the device; None for bicubic.
        paper_row: the row of the paper that has its cost, if any.
    """

    name: str
    enlarge: Callable[[Tensor, Size], Tensor]
    stages: dict[str, nn.Module]
    network: nn.Module | None = None
    paper_row: PaperRow | None = None


def bicubic() -> Enlarger:
    """Bicubic enlargement, on the CPU whatever the device."""

    def enlarge(lq: Tensor, size: Size) -> Tensor:
        image = lq[0].permute(1, 2, 0).cpu().contiguous().numpy()  # (h, w, 3)
        return torch.from_numpy(resize_bicubic(image, size)).permute(2, 0, 1)[None]

    return Enlarger('bicubic (CPU)', enlarge, {})


def from_options(name: str, section: Mapping[str, Any], weights: str | list[str] | None) -> Enlarger:
    """The network that a section `network_g` describes.

    Args:
        name: what tables call it.
        section: with `type`, any of BasicSR's ARCH_REGISTRY.
        weights: a source of `load` for a GSASR; its absence, or None, means random weights, and the name says so.

    Raises:
        KeyError, TypeError, ValueError: no network can be built.
    """
    if section.get('type') == 'GSASR' and weights is not None:
        try:
            return from_network(name, load(weights, section))
        except FileNotFoundError:
            pass  # an option file to train with
    from basicsr.archs import build_network

    return from_network(f'{name} (random weights)', build_network(copy.deepcopy(dict(section))))


def from_network(name: str, network: nn.Module) -> Enlarger:
    """A network that is there: a GSASR, or one of a fixed scale that takes the LR image alone."""
    network = for_inference(network)
    if isinstance(network, GSASR):

        def draw(lq: Tensor, size: Size) -> Tensor:
            return network(lq, size=size, tile=None)  # the whole image at once

        stages: dict[str, nn.Module] = {'encoder': network.encoder, 'decoder': network.decoder}
        return Enlarger(name, draw, stages, network, paper_row(network.options))

    def enlarge(lq: Tensor, size: Size) -> Tensor:
        image = network(lq)
        if image.shape[-2:] != size:
            raise DoesNotFitError(f'{name} makes {tuple(image.shape[-2:])} of {tuple(lq.shape[-2:])}, not {size}')
        return image

    return Enlarger(name, enlarge, {}, network)
