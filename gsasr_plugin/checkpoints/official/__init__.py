"""The authors' released models: their state dicts become networks of this package, exactly.

A released model is two files, an encoder and a decoder. Variant and sizes are read from keys and shapes; each released
key is used or named in `unused_keys.UNUSED_KEYS`.
"""

from gsasr_plugin.checkpoints.official.convert import gsasr_from_official
from gsasr_plugin.checkpoints.official.released_networks import OfficialCheckpointError

__all__ = ['OfficialCheckpointError', 'gsasr_from_official']
