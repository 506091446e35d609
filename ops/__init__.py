"""What GSASR computes in kernels of its own, as PyTorch operators: 2D Gaussians drawn into images of any size, and the
layers of its decoder. Knows torch only."""

from .attention import window_attention
from .convolutions import convolution
from .extension import backend
from .operands import MULTIPLIED
from .perceptrons import perceptron
from .rasterize import rasterize_gaussians, rasterize_gaussians_reference

__all__ = [
    'MULTIPLIED',
    'backend',
    'convolution',
    'perceptron',
    'rasterize_gaussians',
    'rasterize_gaussians_reference',
    'window_attention',
]
