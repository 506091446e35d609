"""Gaussian primary head: embeddings to the properties of the Gaussians (Sec. 3.2 of the paper).

Letters: B images, h x w LR map, d channels, k * k Gaussians per LR pixel, N = k * h * k * w Gaussians.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gsasr_plugin.archs.gaussians import Gaussians
from gsasr_plugin.archs.linear import Linear
from gsasr_plugin.archs.map_conv import MapConv, MapShuffle

# The two enlargement steps (r1, r2) that lay out each density, k = r1 * r2 (the paper's ablation, Table 8).
UPSAMPLING_STEPS = {1: (1, 1), 4: (2, 1), 9: (3, 1), 16: (2, 2)}

# The bounds that keep the released models' sigmas above 0 and their rhos inside (-1, 1) (activations of `forward`).
SIGMA_GAIN, SIGMA_FLOOR = 0.99999, 1e-6
RHO_BOUND = 0.999999

# Work is cut into pieces that bound the memory and fit the caches; no piece changes a result.
BAND_PIXELS = 16384  # LR pixels that are enlarged together, without gradients
HALO = 2  # LR rows beyond a band that the two 3 x 3 convolutions see
SLICE_CPU = 1024  # Gaussians per thread whose hidden layers are computed together
SLICE_GPU = 65536
# Without gradients: the widest layer of so many is 24 MB in bfloat16, which the level 2 cache of large GPUs holds.
SLICE_GPU_EVALUATION = 16384


def reference_points(
    h: int, w: int, k: int, device: torch.device | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Centres of the cells of the (k * h) x (k * w) grid over an h x w LR image.

    Returns:
        (N, 2) as (x, y) in LR pixels, raster order.
    """
    y = (torch.arange(k * h, device=device, dtype=dtype) + 0.5) / k
    x = (torch.arange(k * w, device=device, dtype=dtype) + 0.5) / k
    grid_y, grid_x = torch.meshgrid(y, x, indexing='ij')
    return torch.stack((grid_x, grid_y), -1).view(-1, 2)


class GaussianPrimaryHead(nn.Module):
    """Enlarges the map of embeddings to one per Gaussian, and reads the properties from each.

    Activations: sigma = sigma_max * (0.99999 * sigmoid + 1e-6), rho = 0.999999 * tanh, opacity and colour = sigmoid,
    mean = reference point + offset in cells of the Gaussian grid. With `bicubic_skip` colour = contrast * number, and
    opacity = 1 without a number: predicted opacities would fall to 0, from where nothing comes back.

    Args:
        embed_dim: d.
        gaussian_density: Gaussians per LR pixel, k * k: 1, 4, 9 or 16.
        sigma_max: the bound of sigma, in LR pixels.
        use_reference_points: False for the paper's ablation (Fig. 10): the head then regresses the position itself, as
            a fraction of the image.
        relative_colors: the colour is predicted as a difference in logits to a given one (see `forward`), from 0.
        initial_sigma: if given, all Gaussians start at their reference points with this sigma in LR pixels, rho 0, and
            the opacity at which the overlapping Gaussians sum to 1 (or as near as it can be).
        bicubic_skip: the colour is predicted in units of a given contrast (see `forward`), of any sign, from 0.
        joint_head: one perceptron with one hidden layer for all numbers, instead of one with two for each property.

    Attributes:
        widths: how many numbers each property has, in their order.
        recompute: compute the hidden layers again in the backward pass, slice by slice, instead of keeping them.

    Raises:
        ValueError: initial_sigma is not less than sigma_max.
    """

    def __init__(
        self,
        *,
        embed_dim: int,
        gaussian_density: int,
        sigma_max: float,
        use_reference_points: bool,
        relative_colors: bool,
        initial_sigma: float | None,
        bicubic_skip: bool,
        joint_head: bool,
    ) -> None:
        super().__init__()
        if initial_sigma is not None and not initial_sigma < sigma_max:
            raise ValueError(f'initial_sigma must be less than sigma_max, {sigma_max:.4g}, got {initial_sigma}')
        self.density_per_axis = math.isqrt(gaussian_density)  # k
        self.sigma_max = sigma_max
        self.use_reference_points = use_reference_points
        self.relative_colors = relative_colors
        self.bicubic_skip = bicubic_skip
        self.joint_head = joint_head
        self.recompute = False

        steps = []
        for r in UPSAMPLING_STEPS[gaussian_density]:
            steps += [MapConv(embed_dim, embed_dim * r * r), MapShuffle(r)]
        self.upsample = nn.Sequential(*steps)
        # The released weights' order: sigmas as (y, x), offsets as (x, y).
        self.widths = {'sigma': 2, 'rho': 1, 'opacity': 1, 'color': 3, 'offset': 2}
        if bicubic_skip:
            del self.widths['opacity']
        d = embed_dim
        if joint_head:
            self.properties = nn.Sequential(
                Linear(d, 4 * d), nn.ReLU(inplace=True), nn.Linear(4 * d, sum(self.widths.values()))
            )
        else:
            for name, width in self.widths.items():
                self.add_module(name, self._property(d, width))
        self._start(gaussian_density, initial_sigma)

    @staticmethod
    def _property(d: int, width: int) -> nn.Sequential:
        return nn.Sequential(
            Linear(d, d),
            nn.ReLU(inplace=True),
            Linear(d, 4 * d),
            nn.ReLU(inplace=True),
            nn.Linear(4 * d, width),
        )

    def _start(self, density: int, initial_sigma: float | None) -> None:
        """Initial weights of the properties whose first values are chosen."""
        first = {}
        if initial_sigma is not None:
            coverage = density * 2 * math.pi * initial_sigma**2
            first['sigma'] = math.log(initial_sigma / (self.sigma_max - initial_sigma))
            first['opacity'] = -math.log(max(coverage - 1, 1e-2))
            first['rho'] = first['offset'] = 0.0
        if self.relative_colors or self.bicubic_skip:
            first['color'] = 0.0
        rows = 0
        for name, width in self.widths.items():
            head: nn.Sequential = self.properties if self.joint_head else getattr(self, name)
            last: Any = head[-1]
            here = slice(rows, rows + width) if self.joint_head else slice(None)
            if name in first:
                last.weight.data[here] = 0
                last.bias.data[here] = first[name]
            rows += width

    def forward(self, x: Tensor, base: Tensor | None = None) -> Gaussians:
        """Predicts the Gaussians of each image.

        Args:
            x: Gaussian embeddings, (B, h, w, d).
            base: what the colours are relative to: with `relative_colors` logits (B, N, 3), with `bicubic_skip` the
                local contrast (B, N, 1), else None.
        """
        h, w = x.shape[1:3]
        k = self.density_per_axis
        raw = torch.cat([self._properties(self._enlarged(x, band)) for band in self._bands(x)], 1)  # (B, N, numbers)
        numbers = dict(zip(self.widths, raw.split(tuple(self.widths.values()), -1)))
        offsets, rhos = numbers['offset'], numbers['rho'][..., 0]
        if self.use_reference_points:
            means = reference_points(h, w, k, x.device, offsets.dtype) + offsets / k
        else:
            means = torch.stack((offsets[..., 0] * w, offsets[..., 1] * h), -1)
        return Gaussians(
            means=means,
            sigmas=self.sigma_max * (SIGMA_GAIN * numbers['sigma'].flip(-1).sigmoid() + SIGMA_FLOOR),
            rhos=RHO_BOUND * rhos.tanh(),
            opacities=numbers['opacity'][..., 0].sigmoid() if 'opacity' in numbers else torch.ones_like(rhos),
            colors=self._colors(numbers['color'], base),
            lq_size=(h, w),
        )

    def _colors(self, numbers: Tensor, base: Tensor | None) -> Tensor:
        if not self.relative_colors and not self.bicubic_skip:
            return numbers.sigmoid()
        assert base is not None
        return numbers * base if self.bicubic_skip else (numbers + base).sigmoid()

    @staticmethod
    def _bands(x: Tensor) -> list[range]:
        """Rows of the map that are enlarged together: all of them where gradients keep them all in memory anyway."""
        B, h, w, _ = x.shape
        rows = h if torch.is_grad_enabled() else max(1, BAND_PIXELS // (B * w))
        return [range(first, min(first + rows, h)) for first in range(0, h, rows)]

    def _enlarged(self, x: Tensor, band: range) -> Tensor:
        """The embeddings of the Gaussians of some rows of a map (B, h, w, d): (B, k * len(band) * k * w, d)."""
        k = self.density_per_axis
        above, below = min(HALO, band.start), min(HALO, x.shape[1] - band.stop)
        x = x[:, band.start - above : band.stop + below]
        x = self.upsample(x)  # (B, k * rows, k * w, d)
        return x[:, k * above : x.shape[1] - k * below].flatten(1, 2)

    def _properties(self, x: Tensor) -> Tensor:
        """The numbers of each Gaussian before activation: (B, n, d) to (B, n, 9), or 8 without opacities.

        In slices: the hidden layers have 4 to 25 d numbers for each Gaussian, in all far more than any cache holds.
        """
        if x.device.type == 'cpu':
            count = SLICE_CPU * torch.get_num_threads()
        else:
            count = SLICE_GPU if torch.is_grad_enabled() else SLICE_GPU_EVALUATION
        slices = x.flatten(0, 1).split(count)
        if self.recompute and torch.is_grad_enabled():
            raw = [checkpoint(self.raw, part, use_reentrant=False, preserve_rng_state=False) for part in slices]
        else:
            raw = [self.raw(part) for part in slices]
        numbers = torch.cat(raw).view(*x.shape[:2], -1)
        # From here on in float32 under autocast too: positions need more than eight bits.
        return numbers if numbers.dtype == torch.float64 else numbers.float()

    def raw(self, x: Tensor) -> Tensor:
        """The numbers of some Gaussians: (n, d) to (n, 9), or (n, 8)."""
        return torch.cat([_perceptron(head, x) for head in self.heads()], -1)

    def heads(self) -> list[nn.Sequential]:
        """The perceptrons, in the order of their numbers."""
        if self.joint_head:
            return [self.properties]
        return [getattr(self, name) for name in self.widths]


def _perceptron(layers: nn.Sequential, x: Tensor) -> Tensor:
    """What the layers make of x, each ReLU together with the layer before it."""
    *hidden, last = (layer for layer in layers.children() if not isinstance(layer, nn.ReLU))
    for layer in hidden:
        assert isinstance(layer, Linear)
        x = layer.relu(x)
    return last(x)
