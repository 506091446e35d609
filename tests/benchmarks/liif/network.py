"""LIIF on any of our encoders.

Letters: B images, h x w LR size, H x W output size, C feature channels, D width of the hidden layers, n output pixels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gsasr_ops
from gsasr_plugin.archs.encoders import build_encoder
from gsasr_plugin.archs.padding import pad_to_multiple
from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.sizes import ScaleLike, Size, SizesLike, output_sizes

GREY = 0.5  # what the network's output is added to where there is no skip
QUERIES = 4096  # output pixels computed together without gradients: 16 MB for each hidden layer


class LIIF(nn.Module):
    """Encoder -> feature unfolding -> an MLP at each output pixel, with cell decoding and local ensemble.

    Args:
        encoder_opt: as for GSASR; features are those that GSASR's decoder gets.
        width: of the MLP's hidden layers, D.
        depth: how many hidden layers it has.
        skip: add the exact bicubic enlargement of the input to the output. Not in LIIF's paper; LTE, its successor,
            adds a bilinear one.
    """

    def __init__(self, *, encoder_opt: dict[str, Any], width: int = 256, depth: int = 4, skip: bool = False) -> None:
        super().__init__()
        self.encoder = build_encoder(encoder_opt)
        self.decoder = LocalDecoder(self.encoder.num_features, width=width, depth=depth)
        self.skip = skip

    def forward(
        self,
        lq: Tensor,
        scale: ScaleLike | None = None,
        size: SizesLike | None = None,
        *,
        pixels: Sequence[Tensor] | None = None,
    ) -> Tensor | list[Tensor]:
        """Super-resolves a batch, as GSASR does, or computes some of its pixels.

        Args:
            lq: (B, 3, h, w), RGB in 0..1.
            scale, size: as for GSASR.
            pixels: of each image the output pixels to compute, (n,), in raster order from 0. None: all.

        Returns:
            (B, 3, H, W), or a list of (3, H_i, W_i) where the sizes differ; a list of (3, n_i) for `pixels`. Not
            clipped to 0..1.
        """
        h, w = lq.shape[-2:]
        sizes = output_sizes((h, w), len(lq), scale, size)
        padded = pad_to_multiple(lq, self.encoder.multiple)
        codes = self.decoder.codes(self.encoder(padded)[..., :h, :w])  # (B, h, w, D)
        bases = [self._base(image, H_W) for image, H_W in zip(lq, sizes)]
        if pixels is not None:
            values = self._together(codes, sizes, pixels)
            return [base.flatten(1)[:, at] + value for base, at, value in zip(bases, pixels, values)]
        images = [base + self._whole(image_codes, base.shape[-2:]) for image_codes, base in zip(codes, bases)]
        return torch.stack(images) if len(set(sizes)) == 1 else images

    def _base(self, lq: Tensor, size: Size) -> Tensor:
        """What the network's output is added to, (3, H, W)."""
        if not self.skip:
            return lq.new_full((3, *size), GREY)
        image = resize_bicubic(lq.detach().permute(1, 2, 0).cpu().contiguous().numpy(), size)
        return torch.from_numpy(image).to(lq.device).permute(2, 0, 1)

    def _together(self, codes: Tensor, sizes: Sequence[Size], pixels: Sequence[Tensor]) -> list[Tensor]:
        """Some pixels of all images, by one pass through the MLP: (3, n) of each."""
        h, w = codes.shape[1:3]
        parts = [neighbours(at, (h, w), size).shifted(b * h * w) for b, (at, size) in enumerate(zip(pixels, sizes))]
        every = Neighbours(*(torch.cat(tensors, 1) for tensors in zip(*parts)))
        values = self.decoder(codes.flatten(0, 2), every)  # (sum of n, 3)
        return [part.T for part in values.split([len(at) for at in pixels])]

    def _whole(self, codes: Tensor, size: Size) -> Tensor:
        """(h, w, D) to (3, H, W)."""
        h, w, _ = codes.shape
        every = torch.arange(size[0] * size[1], device=codes.device)
        parts = every.split(len(every) if torch.is_grad_enabled() else QUERIES)
        values = [self.decoder(codes.flatten(0, 1), neighbours(part, (h, w), size)) for part in parts]
        return torch.cat(values).T.reshape(3, *size)


class Neighbours(NamedTuple):
    """The four latent codes around each of n output pixels, and what the MLP and the local ensemble take of them.

    Attributes:
        index: (4, n), of the codes in raster order.
        coordinates: (4, n, 4): the pixel's position relative to the code, then the size of its cell, both as (y, x), in
            halves of an LR pixel.
        weights: (4, n), in 0..1, which sum to 1 over the codes.
    """

    index: Tensor
    coordinates: Tensor
    weights: Tensor

    def shifted(self, by: int) -> Neighbours:
        """The same where the codes begin at another index."""
        return self._replace(index=self.index + by)


def neighbours(pixels: Tensor, lq_size: Size, size: Size) -> Neighbours:
    """The codes around output pixels.

    Codes lie at the centres of LR pixels and go on mirrored beyond the border, so that every pixel has four around it.
    The weight of a code is the area of the rectangle between the pixel and the code diagonally opposite (the paper's
    Eq. 4).

    Args:
        pixels: (n,), in raster order.
        lq_size: (h, w).
        size: (H, W).
    """
    axes = []  # for rows and columns: of both codes along it, which, how far, how much
    for at, length, enlarged in zip((pixels // size[1], pixels % size[1]), lq_size, size):
        position = (at.double() + 0.5) * (length / enlarged) - 0.5  # in LR pixels from the first code
        first = position.floor()
        rest = position - first  # 0..1
        numbers = first.long()
        axes.append(
            [
                (numbers.clamp(0, length - 1), 2 * rest, 1 - rest),
                ((numbers + 1).clamp(0, length - 1), 2 * (rest - 1), rest),
            ]
        )
    cell = [torch.full_like(rest, 2 * length / enlarged) for length, enlarged in zip(lq_size, size)]
    index, coordinates, weights = [], [], []
    for (row, dy, weight_y), (column, dx, weight_x) in itertools.product(*axes):
        index.append(row * lq_size[1] + column)
        coordinates.append(torch.stack((dy, dx, *cell), -1))
        weights.append(weight_y * weight_x)
    return Neighbours(torch.stack(index), torch.stack(coordinates), torch.stack(weights))


class LocalDecoder(nn.Module):
    """The MLP f(z, x) with its unfolded features.

    Its first layer is linear in the unfolded features, in the relative position and in the cell. Its part of the
    features is the same for all pixels around a code, so it is computed once for each code: as the 3 x 3 convolution
    that it is.

    Args:
        num_features: C.
        width: D.
        depth: hidden layers.
    """

    def __init__(self, num_features: int, *, width: int, depth: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(num_features, width, 3, padding=1)
        self.coordinates = nn.Linear(4, width, bias=False)
        bound = 1 / math.sqrt(9 * num_features + 4)  # as PyTorch starts the layer that these two are
        for parameter in (*self.features.parameters(), *self.coordinates.parameters()):
            nn.init.uniform_(parameter, -bound, bound)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.layers.append(nn.Linear(width, 3))

    def codes(self, features: Tensor) -> Tensor:
        """Features (B, C, h, w) to their part of the first layer, (B, h, w, D)."""
        return self.features(features).permute(0, 2, 3, 1)

    def forward(self, codes: Tensor, around: Neighbours) -> Tensor:
        """The colours of n pixels.

        Args:
            codes: (number of codes, D).
            around: the pixels.

        Returns:
            (n, 3), float32 or more.
        """
        x = codes.index_select(0, around.index.flatten())
        x = x + self.coordinates(around.coordinates.flatten(0, 1).to(self.coordinates.weight.dtype))
        colors = self._rest(x.relu_()).unflatten(0, around.index.shape)  # (4, n, 3)
        return (around.weights[..., None].to(colors.dtype) * colors).sum(0)

    def _rest(self, x: Tensor) -> Tensor:
        """The layers after the first, (m, D) to (m, 3), by GSASR's own kernel where that is what GSASR would use."""
        operands = torch.get_autocast_dtype('cpu') if torch.is_autocast_enabled('cpu') else x.dtype
        if x.device.type == 'cpu' and not torch.is_grad_enabled() and operands in gsasr_ops.MULTIPLIED:
            weights, biases = zip(*((layer.weight, layer.bias) for layer in self.layers))
            return gsasr_ops.perceptron(x, weights, biases, operands=operands)
        *hidden, last = self.layers
        for layer in hidden:
            x = F.relu(layer(x))
        x = last(x)
        return x if x.dtype == torch.float64 else x.float()
