"""The 2D Gaussians that represent an image (Sec. 3.1 of the paper), as a plain record of tensors."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gsasr_plugin.archs.completion import Completion


@dataclass(frozen=True)
class Gaussians:
    """N Gaussians for each of B images; their sum over the continuous plane is the image (Eq. 1-3), or completed to it.

    Positions and deviations are in LR pixels, as (x, y), with the origin at the image's top-left corner, so that the
    centre of the first pixel is (0.5, 0.5).

    Attributes:
        means: centres mu, (B, N, 2). Unbounded: a Gaussian may sit outside the image.
        sigmas: standard deviations sigma, (B, N, 2), positive.
        rhos: correlations rho, (B, N), in (-1, 1).
        opacities: opacities alpha, (B, N), in (0, 1].
        colors: peak colours c, (B, N, 3), in (0, 1); of any sign where they are added to an enlargement.
        lq_size: (h, w), the size of the LR image in the units of `means`.
        completion: what makes the image of the sum; None: the sum is the image.
    """

    means: Tensor
    sigmas: Tensor
    rhos: Tensor
    opacities: Tensor
    colors: Tensor
    lq_size: tuple[int, int]
    completion: Completion | None = None
