"""The items of validation and testing, every image at every scale: all images of one scale, then those of the next."""

from collections.abc import Sequence
from typing import NamedTuple

from gsasr_plugin.data.arbitrary_scale_paired_options import ArbitraryScalePairedDatasetOptions, ImageRoot
from gsasr_plugin.data.data_roots import named_paths
from gsasr_plugin.data.image_files import ImageFile, image_sizes, list_images, list_some
from gsasr_plugin.data.log import note
from gsasr_plugin.data.pairs import fitting_pairs, lq_candidates, match, told_scales
from gsasr_plugin.run_errors import DataError
from gsasr_plugin.sizes import (
    Scale,
    Size,
    as_scale,
    enlarged_size,
    format_scale,
    paired_gt_size,
    protocol_sizes,
)


class EvaluationItem(NamedTuple):
    """One image at one scale.

    Attributes:
        scale: the nominal scale, which names the result (the sizes may give another in the third decimal).
        gt: the GT image, or None.
        lq: the LR image, or None where it is made from GT.
        size: (H, W) of the result, by the images' headers.
    """

    scale: Scale
    gt: ImageFile | None
    lq: ImageFile | None
    size: Size

    @property
    def named(self) -> ImageFile:
        """The image that the result is named after: LR, or GT where LR is made from it."""
        image = self.lq or self.gt
        assert image is not None, 'an item has at least one image'
        return image


def list_gt_images(options: ArbitraryScalePairedDatasetOptions) -> list[ImageFile]:
    """All GT images, root by root."""
    return [image for images in list_gt_by_root(options) for image in images]


def list_gt_by_root(options: ArbitraryScalePairedDatasetOptions) -> list[list[ImageFile]]:
    """The GT images of each root."""
    roots = named_paths(options.dataroot_gt)
    meta_info_files: Sequence[str | None] = named_paths(options.meta_info_file) or [None] * len(roots)
    return [list_images(root, options.io_backend['type'], file) for root, file in zip(roots, meta_info_files)]


def list_evaluation_items(options: ArbitraryScalePairedDatasetOptions) -> list[EvaluationItem]:
    """All items of a data set for validation or testing.

    Raises:
        MissingDataError, DataError: images are missing, surplus or not readable, or their sizes do not fit; they are
            named.
    """
    if options.dataroot_lq is not None and options.dataroot_gt is not None:
        return _list_pairs(options)
    if options.dataroot_lq is None:
        images = list_gt_images(options)
    else:
        backend = options.io_backend['type']
        images = [image for root in named_paths(options.dataroot_lq) for image in list_images(root, backend)]
    sizes = list(zip(images, image_sizes(images)))
    items = []
    for scale in _scales(options):
        if options.dataroot_lq is None:
            items += [EvaluationItem(scale, gt, None, size) for gt, size in _cropped(options, scale, sizes)]
        else:
            items += [EvaluationItem(scale, None, lq, enlarged_size(size, scale)) for lq, size in sizes]
    return items


def _cropped(
    options: ArbitraryScalePairedDatasetOptions, scale: Scale, sizes: list[tuple[ImageFile, Size]]
) -> list[tuple[ImageFile, Size]]:
    """GT images with what is left of their sizes when LR is made; every LR image has at least one pixel."""
    made = [(image, *protocol_sizes(size, scale)) for image, size in sizes]
    small = [str(image) for image, lq_size, _ in made if 0 in lq_size]
    if small:
        raise DataError(
            f'too small for scale {format_scale(scale)}: {list_some(small)}. Leave the images or the scale out'
        )
    return [(image, size) for image, _, size in made]


def _list_pairs(options: ArbitraryScalePairedDatasetOptions) -> list[EvaluationItem]:
    gt_images = list_gt_images(options)
    sizes = dict(zip(gt_images, image_sizes(gt_images)))
    roots = named_paths(options.dataroot_lq)
    scales: Sequence[Scale | None]
    if isinstance(options.dataroot_lq, dict):
        scales = [as_scale(scale) for scale in options.dataroot_lq]
    else:
        scales = _scales(options) or [None] * len(roots)

    items = []
    for root, scale, template in zip(roots, scales, options.templates(), strict=True):
        paired = ImageRoot(0, root, scale, template)
        matched, faults = match(paired, gt_images, lq_candidates(root, options), options)
        if faults:
            raise faults[0]
        lq_sizes = image_sizes([lq for _, lq in matched])
        pairs, faults = fitting_pairs(matched, [(sizes[gt], size) for (gt, _), size in zip(matched, lq_sizes)], scale)
        if faults:
            raise faults[0]
        items += [EvaluationItem(pair.nominal, pair.gt, pair.lq, pair.gt_size) for pair in pairs]
    note(f'data set {options.name}: pairs: {told_scales([item.scale for item in items])}')
    return items


def pair_crop(item: EvaluationItem, gt_size: Size, lq_size: Size) -> Size:
    """The part of the GT image that the LR image shows, (H, W) from the top-left corner.

    Raises:
        ValueError: the files have changed since they were listed.
    """
    size = paired_gt_size(gt_size, lq_size, item.scale)
    if size is None:
        raise DataError(
            f'sizes {gt_size} of GT {item.gt} and {lq_size} of LR {item.lq} do not fit scale {format_scale(item.scale)}'
        )
    return size


def _scales(options: ArbitraryScalePairedDatasetOptions) -> list[Scale]:
    return [as_scale(scale) for scale in options.scales or ()]
