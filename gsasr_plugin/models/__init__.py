"""The model class GSASRModel; importing it registers it with the host."""

from gsasr_plugin.models.gsasr_model import GSASRModel

__all__ = ['GSASRModel']
