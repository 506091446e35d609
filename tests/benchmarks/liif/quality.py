"""PSNR of networks on data sets, by this package's metric and protocol."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gsasr_plugin.archs.inference import for_inference
from gsasr_plugin.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset
from gsasr_plugin.models.compute import autocast
from gsasr_plugin.models.validation.image_values import ImageValues, ValuesFile
from gsasr_plugin.models.validation.scale_validation import ValidationOptions, validate
from gsasr_plugin.models.validation.tables import means

PSNR = 'psnr'


def psnr_values(
    net: nn.Module,
    section: Mapping[str, Any],
    metric: Mapping[str, Any],
    compute: Mapping[str, Any],
    *,
    values_file: ValuesFile | None = None,
) -> list[ImageValues]:
    """PSNR of each image of a data set at each scale, and bicubic's.

    Args:
        net: takes LR images and the size of the result.
        section: of the data set, in an option file.
        metric: its entry in `val.metrics`.
        compute: how (`autocast`).
        values_file: where values are kept and found.
    """
    dataset = ArbitraryScalePairedDataset({'phase': 'val', **section})
    snapshot = for_inference(net)

    def super_resolve(data: dict[str, Any]) -> dict[str, Tensor]:
        size = tuple(data['size'][0].tolist())
        with torch.inference_mode(), autocast(data['lq'].device, dict(compute)):
            return {'lq': data['lq'], 'result': snapshot(data['lq'], size=size), 'gt': data['gt'][0][None]}

    options = ValidationOptions(
        is_train=False,
        label='',
        folder=Path(),
        suffix='',
        device='cpu',
        auto_resume=True,
        metrics={PSNR: metric},
        compare_bicubic=True,
    )
    values = validate(super_resolve, dataset, options, values_file=values_file)
    failed = [error for image in values for error in image.failed.values()]
    if failed:
        raise RuntimeError(failed[0])
    return values


def mean_psnr(net: nn.Module, *sections: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """By scale: the means over the images of a data set, the network's and bicubic's; arguments of `psnr_values`."""
    found = means(psnr_values(net, *sections), {PSNR: sections[1]})
    return {mean.scale: (mean.model, mean.bicubic) for mean in found}
