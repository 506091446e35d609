"""Upscaling of whole pictures with a network: on which device, in which precision, to which size."""

from gsasr_plugin.upscaling.images import upscale
from gsasr_plugin.upscaling.target import Target
from gsasr_plugin.upscaling.upscaler import Upscaler

__all__ = ['Target', 'Upscaler', 'upscale']
