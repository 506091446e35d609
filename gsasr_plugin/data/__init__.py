"""Data sets of images at any scale: which files, which crops, in which order."""

from typing import Any

__all__ = ['ArbitraryScalePairedDataset']


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    # Only then: it takes BasicSR, which other files of this room do without.
    from gsasr_plugin.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset

    return ArbitraryScalePairedDataset
