"""The network GSASR and its encoders; importing it registers them with the host."""

from gsasr_plugin.archs.gsasr_arch import GSASR

__all__ = ['GSASR']
