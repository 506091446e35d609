"""The model class GSASRModel, which trains and tests."""

# Before any file of this room: its classes are made from BasicSR's, and BasicSR's import registers them.
import basicsr  # noqa: F401

from gsasr_plugin.models.gsasr_model import GSASRModel

__all__ = ['GSASRModel']
