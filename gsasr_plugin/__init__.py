"""GSASR for BasicSR: importing this package repairs the host and registers the network, the data set and the model.

The host is repaired first, because BasicSR cannot even be imported beside a current torchvision. Worker processes that
unpickle anything of this package import it, and with it the repairs, before anything of the host.
"""

from gsasr_plugin.host.repairs import repair_host

repair_host()

from gsasr_plugin import archs, data, metrics, models  # noqa: E402  (registration; needs the repaired host)
from gsasr_plugin.archs import GSASR  # noqa: E402
from gsasr_plugin.checkpoints.loading import load  # noqa: E402
from gsasr_plugin.upscaling.images import upscale  # noqa: E402

__all__ = ['GSASR', 'archs', 'data', 'load', 'metrics', 'models', 'upscale']
