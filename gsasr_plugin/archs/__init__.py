"""The network GSASR and its encoders."""

from gsasr_plugin.archs.gsasr_arch import GSASR

__all__ = ['GSASR']
