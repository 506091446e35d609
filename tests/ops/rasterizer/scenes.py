"""Inputs for the tests of the rasterizer, and the sum they are compared with: plain numpy in float64, straight from
Eq. 1-4 of the paper, sharing no line with the package."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def sample_inputs(
    device: str = 'cpu',
    dtype: torch.dtype = torch.float32,
    *,
    B: int = 2,
    N: int = 40,
    C: int = 3,
    h: int = 6,
    w: int = 7,
    seed: int = 0,
    requires_grad: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gaussians over an LR image of h x w pixels, some with their centre outside of it: means (B, N, 2), sigmas
    (B, N, 2) from 0.1 to 0.83, rhos (B, N) up to 0.95, opacities (B, N), colors (B, N, C)."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    means = uniform(B, N, 2) * torch.tensor([w + 2.0, h + 2.0], dtype=torch.float64) - 1
    tensors = (
        means,
        0.1 + 0.73 * uniform(B, N, 2),
        1.9 * uniform(B, N) - 0.95,
        0.2 + 0.8 * uniform(B, N),
        uniform(B, N, C),
    )
    means, sigmas, rhos, opacities, colors = (
        tensor.to(device=device, dtype=dtype).requires_grad_(requires_grad) for tensor in tensors
    )
    return means, sigmas, rhos, opacities, colors


def grid_inputs(
    h: int,
    w: int,
    *,
    sigma: float | None,
    density: int = 16,
    C: int = 3,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What the network makes: `density` Gaussians per LR pixel on a jittered grid, and opacities with which the image
    stays within 0..1, the range that the error bounds are stated for. `sigma=None`: sigmas spread over 0.1..0.834."""
    generator = np.random.default_rng(seed)
    k = round(density**0.5)
    y, x = np.meshgrid((np.arange(k * h) + 0.5) / k, (np.arange(k * w) + 0.5) / k, indexing='ij')
    N = x.size
    means = np.stack((x, y), -1).reshape(1, N, 2) + generator.normal(0, 0.1, (1, N, 2))
    sigmas = generator.uniform(0.1, 0.834, (1, N, 2)) if sigma is None else np.full((1, N, 2), sigma)
    rhos = generator.uniform(-0.95, 0.95, (1, N))
    # The overlapping weights sum to about one: a Gaussian covers 2 pi sigma_x sigma_y sqrt(1 - rho^2).
    area = 2 * np.pi * sigmas.prod(-1) * np.sqrt(1 - rhos**2)
    opacities = np.minimum(1.0, 0.9 / (density * area))
    colors = generator.uniform(0, 1, (1, N, C))
    tensors = [torch.from_numpy(array).to(dtype) for array in (means, sigmas, rhos, opacities, colors)]
    return tensors[0], tensors[1], tensors[2], tensors[3], tensors[4]


def dense_sum(
    means: Tensor,
    sigmas: Tensor,
    rhos: Tensor,
    opacities: Tensor,
    colors: Tensor,
    size: tuple[int, int],
    scale: float | tuple[float, float],
    *,
    image: int = 0,
    support: float | None = None,
    window: float | None = None,
    rows: Sequence[int] | None = None,
) -> np.ndarray:
    """One image (C, H, W) of a batch in float64, every Gaussian at every pixel; with `support` and `window` the terms
    outside of the box are left out. `rows` restricts the result to some rows."""
    mu, sigma, rho, alpha, color = (
        tensor[image].detach().cpu().double().numpy() for tensor in (means, sigmas, rhos, opacities, colors)
    )
    scale_y, scale_x = scale if isinstance(scale, tuple) else (scale, scale)
    i = np.arange(size[0]) if rows is None else np.asarray(rows)
    y, x = (i + 0.5) / scale_y, (np.arange(size[1]) + 0.5) / scale_x
    total = np.zeros((color.shape[1], len(i), size[1]))
    for n in range(len(mu)):
        dx, dy = x[None, :] - mu[n, 0], y[:, None] - mu[n, 1]
        q = (
            dx**2 / sigma[n, 0] ** 2 - 2 * rho[n] * dx * dy / (sigma[n, 0] * sigma[n, 1]) + dy**2 / sigma[n, 1] ** 2
        ) / (1 - rho[n] ** 2)
        f = np.exp(-0.5 * q)
        if support is not None:
            f = np.where((np.abs(dx) <= support * sigma[n, 0]) & (np.abs(dy) <= support * sigma[n, 1]), f, 0.0)
        if window is not None:
            # In coordinates in which the image spans -1..1 an LR pixel is 2 / w wide.
            inside_x = np.abs(dx) * 2 / (size[1] / scale_x) < window
            inside_y = np.abs(dy) * 2 / (size[0] / scale_y) < window
            f = np.where(inside_x & inside_y, f, 0.0)
        total += alpha[n] * color[n][:, None, None] * f
    return total
