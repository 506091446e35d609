"""The plugin's data sets; importing this package registers them with the host."""

from gsasr_plugin.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset

__all__ = ['ArbitraryScalePairedDataset']
