"""What GSASR computes in kernels of its own, as PyTorch operators: 2D Gaussians drawn into images of any size, and the
attention inside windows. Knows torch only."""

from .attention import window_attention
from .extension import backend
from .perceptrons import MULTIPLIES_BFLOAT16, perceptron
from .rasterize import rasterize_gaussians, rasterize_gaussians_reference
from .reference import rotate

__all__ = [
    'MULTIPLIES_BFLOAT16',
    'backend',
    'perceptron',
    'rasterize_gaussians',
    'rasterize_gaussians_reference',
    'rotate',
    'window_attention',
]
