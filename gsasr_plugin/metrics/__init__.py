"""Perceptual metrics; importing this package registers them with the host."""

from gsasr_plugin.metrics.dists import calculate_dists
from gsasr_plugin.metrics.lpips import calculate_lpips

__all__ = ['calculate_dists', 'calculate_lpips']
