"""Perceptual metrics that need no download: LPIPS and DISTS."""

from typing import Any

__all__ = ['calculate_dists', 'calculate_lpips']


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    # Only then: they take torch, which other files of this room do without.
    from gsasr_plugin.metrics import dists, lpips

    return {'calculate_dists': dists.calculate_dists, 'calculate_lpips': lpips.calculate_lpips}[name]
