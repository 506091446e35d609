"""2D Gaussians drawn into images of any size: the rasterizer of GSASR as PyTorch operators. Knows torch only."""

from .extension import backend
from .rasterize import rasterize_gaussians, rasterize_gaussians_reference

__all__ = ['backend', 'rasterize_gaussians', 'rasterize_gaussians_reference']
