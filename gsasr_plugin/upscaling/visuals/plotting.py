"""matplotlib, which is an optional extra."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gsasr_plugin.run_errors import CommandError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXTRA = "pip install 'gsasr-plugin[plots]'"


class PlotsMissing(CommandError, ImportError):
    """matplotlib is not installed; the message says how to install it."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, which needs no display.

    Raises:
        PlotsMissing: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotsMissing(f'matplotlib is needed: {EXTRA} ({error})') from error
    return Figure(figsize=(width, height), layout='constrained')
