"""What GSASR computes in kernels of its own, as PyTorch operators: 2D Gaussians drawn into images of any size, and the
attention inside windows. Knows torch only."""

from .attention import window_attention
from .extension import backend
from .rasterize import rasterize_gaussians, rasterize_gaussians_reference

__all__ = ['backend', 'rasterize_gaussians', 'rasterize_gaussians_reference', 'window_attention']
