"""The model classes GSASRModel and GSASRGANModel, which train and test."""

# Before any file of this room: its classes are made from BasicSR's, and BasicSR's import registers them.
import basicsr  # noqa: F401

from gsasr_plugin.models.gsasr_gan_model import GSASRGANModel
from gsasr_plugin.models.gsasr_model import GSASRModel

__all__ = ['GSASRGANModel', 'GSASRModel']
