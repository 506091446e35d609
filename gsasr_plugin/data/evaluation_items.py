"""The items of validation and testing, every image at every scale: all images of one scale, then those of the next."""

from collections.abc import Sequence
from typing import NamedTuple

from gsasr_plugin.data.arbitrary_scale_paired_options import ArbitraryScalePairedDatasetOptions
from gsasr_plugin.data.data_roots import named_paths
from gsasr_plugin.data.image_files import ImageFile, image_sizes, list_images, list_some
from gsasr_plugin.run_errors import DataError, MissingDataError
from gsasr_plugin.sizes import (
    Scale,
    Size,
    as_scale,
    enlarged_size,
    format_scale,
    nominal_scale,
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
    roots = named_paths(options.dataroot_gt)
    meta_info_files: Sequence[str | None] = named_paths(options.meta_info_file) or [None] * len(roots)
    backend = options.io_backend['type']
    return [image for root, file in zip(roots, meta_info_files) for image in list_images(root, backend, file)]


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
            f'data set {options.name}: too small for scale {format_scale(scale)}: {list_some(small)}. Leave the '
            'images or the scale out'
        )
    return [(image, size) for image, _, size in made]


def _list_pairs(options: ArbitraryScalePairedDatasetOptions) -> list[EvaluationItem]:
    gt_images = list_gt_images(options)
    gt_sizes = image_sizes(gt_images)
    roots = named_paths(options.dataroot_lq)
    scales: Sequence[Scale | None]
    if isinstance(options.dataroot_lq, dict):
        scales = [as_scale(scale) for scale in options.dataroot_lq]
    else:
        scales = _scales(options) or [None] * len(roots)

    items = []
    for root, scale in zip(roots, scales):
        # A meta_info_file may name GT images in sub-folders.
        candidates = list_images(root, options.io_backend['type'], recursive=options.meta_info_file is not None)
        lq_images = _match(gt_images, candidates, root, scale, options)
        sizes = list(zip(gt_sizes, image_sizes(lq_images)))
        common = scale or nominal_scale(sizes)
        for gt, lq, (gt_size, lq_size) in zip(gt_images, lq_images, sizes):
            # Pairs of several scales in one folder: each is known under its own.
            own = common or nominal_scale([(gt_size, lq_size)])
            size = own and paired_gt_size(gt_size, lq_size, own)
            if own is None or size is None:
                wanted = format_scale(own) if own else 'any of at least 1'
                raise DataError(
                    f'sizes of a pair do not fit scale {wanted}: GT {gt} has {gt_size[0]} x {gt_size[1]} pixels '
                    f'(rows x columns), LR {lq} {lq_size[0]} x {lq_size[1]}'
                )
            items.append(EvaluationItem(own, gt, lq, size))
    return items


def _match(
    gt_images: list[ImageFile],
    lq_images: list[ImageFile],
    root: str,
    scale: Scale | None,
    options: ArbitraryScalePairedDatasetOptions,
) -> list[ImageFile]:
    """The LR images of the GT images, in their order."""
    template = options.filename_tmpl
    if '{scale}' in template and scale is None:
        raise DataError(
            f'filename_tmpl {template!r} needs the scale of {root!r}: give `scales`, or dataroot_lq as {{scale: path}}'
        )
    by_stem = {image.stem: image for image in lq_images}
    if len(by_stem) < len(lq_images):
        twice = sorted(str(image) for image in lq_images if by_stem[image.stem] is not image)
        raise DataError(f'LR images that differ in the extension only: {list_some(twice)}')
    # LR images lie in the sub-folders of their GT images or in none; the template is for the name alone.
    names = []
    for image in gt_images:
        folder, slash, name = image.stem.rpartition('/')
        name = template.format(name, scale=format_scale(scale) if scale else None)
        names.append(folder + slash + name if folder + slash + name in by_stem else name)
    missing = [f'{gt} (LR {name})' for gt, name in zip(gt_images, names) if name not in by_stem]
    if missing:
        raise MissingDataError(f'GT images without an LR image in {root!r}: {list_some(missing)}')
    surplus = sorted(set(by_stem) - set(names))
    if surplus and options.meta_info_file is None:
        raise MissingDataError(
            f'LR images in {root!r} without a GT image in {options.dataroot_gt!r}: {list_some(surplus)}'
        )
    return [by_stem[name] for name in names]


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
