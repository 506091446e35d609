"""What is measured: whole images of 720 x 720 at the paper's scales, and a training batch of 16 mixed scales."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

DENSITY = 16  # Gaussians per LR pixel
SUPPORT = 4.5
SIGMA_INITIAL = 0.5 / 1.2


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        name: for the table.
        lq_sizes: (h, w) of each image; all equal.
        sizes: (H, W) of each image.
        scales: of each image.
        window: of the authors' rasterizer, their dmax.
    """

    name: str
    lq_size: tuple[int, int]
    sizes: list[tuple[int, int]]
    scales: list[float]
    window: float

    def inputs(self, device: str) -> list[Tensor]:
        """Gaussians as the network makes them at first: on a grid, jittered by a tenth of a pixel, initial sigmas."""
        generator = torch.Generator().manual_seed(0)
        B, (h, w) = len(self.sizes), self.lq_size
        k = round(DENSITY**0.5)
        y, x = torch.meshgrid((torch.arange(k * h) + 0.5) / k, (torch.arange(k * w) + 0.5) / k, indexing='ij')
        means = torch.stack((x, y), dim=-1).reshape(1, -1, 2).repeat(B, 1, 1)
        N = means.shape[1]
        means += 0.1 * torch.randn(B, N, 2, generator=generator)
        tensors = [
            means,
            torch.full((B, N, 2), SIGMA_INITIAL),
            torch.rand(B, N, generator=generator) - 0.5,
            torch.rand(B, N, generator=generator),
            torch.rand(B, N, 3, generator=generator),
        ]
        return [tensor.to(device).contiguous() for tensor in tensors]

    def pairs(self) -> int:
        """(pixel, Gaussian) pairs inside the boxes."""
        means, sigmas, *_ = self.inputs('cpu')
        total = 0
        for b, (size, scale) in enumerate(zip(self.sizes, self.scales)):
            limit = torch.tensor([size[1], size[0]], dtype=torch.float64)
            reach = SUPPORT * sigmas[b].double()
            first = torch.ceil((means[b].double() - reach) * scale - 0.5).clamp(min=0)
            end = torch.minimum(torch.floor((means[b].double() + reach) * scale - 0.5) + 1, limit)
            total += int((end - first).clamp(min=0).prod(dim=1).sum())
        return total


def all_cases(side: int) -> list[Case]:
    """side: of the whole images, 720 in the paper."""
    cases = []
    for scale in (1, 2, 4, 8, 12, 30):
        lq = side // scale
        cases.append(Case(f'x{scale}', (lq, lq), [(lq * scale, lq * scale)], [float(scale)], 0.1))
    # As the paper trains: 48 x 48 LR pixels, one scale per sample, uniform in 1..4.
    scales = [1 + 3 * k / 15 for k in range(16)]
    sizes = [(round(48 * scale), round(48 * scale)) for scale in scales]
    cases.append(Case('train', (48, 48), sizes, [size[0] / 48 for size in sizes], 0.5))
    return cases
