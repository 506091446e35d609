"""What GSASR computes in kernels of its own, as PyTorch operators: 2D Gaussians drawn into images of any size, and the
layers of its decoder. Knows torch only."""

from .attention import window_attention
from .convolutions import PackedConvolution, convolution, pack_convolution
from .extension import backend
from .layers import MULTIPLIED
from .perceptrons import PackedPerceptron, pack_perceptron, perceptron
from .rasterizer import rasterize_gaussians, rasterize_gaussians_reference

__all__ = [
    'MULTIPLIED',
    'PackedConvolution',
    'PackedPerceptron',
    'backend',
    'convolution',
    'pack_convolution',
    'pack_perceptron',
    'perceptron',
    'rasterize_gaussians',
    'rasterize_gaussians_reference',
    'window_attention',
]
