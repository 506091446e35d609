"""Pairs of GT and LR images: which belong together, and at which scale."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gsasr_plugin.data.arbitrary_scale_paired_options import ArbitraryScalePairedDatasetOptions, ImageRoot
from gsasr_plugin.data.image_files import ImageFile, list_images, list_some
from gsasr_plugin.run_errors import DataError, MissingDataError
from gsasr_plugin.sizes import Scale, Size, format_scale, nominal_scale, paired_gt_size


class Pair(NamedTuple):
    """A GT image and its LR image.

    Attributes:
        nominal: the scale that the pair is known under.
        gt_size: (H, W) of the part of GT that LR shows, from the top-left corner.
        lq_size: (h, w) of the LR image.
    """

    gt: ImageFile
    lq: ImageFile
    nominal: Scale
    gt_size: Size
    lq_size: Size

    @property
    def scale(self) -> Scale:
        """GT pixels per LR pixel: the ratio of the sizes, or a whole factor, of which GT may lack the last pixels."""
        rows, columns = (
            factor if factor.is_integer() else gt / lq
            for factor, gt, lq in zip(self.nominal, self.gt_size, self.lq_size)
        )
        return (rows, columns)


Fault = DataError | MissingDataError


def lq_candidates(root: str, options: ArbitraryScalePairedDatasetOptions) -> list[ImageFile]:
    """All images of a root of LR images."""
    # A meta_info_file may name GT images in sub-folders.
    return list_images(root, options.io_backend['type'], recursive=options.meta_info_file is not None)


def match(
    root: ImageRoot,
    gt_images: list[ImageFile],
    lq_images: list[ImageFile],
    options: ArbitraryScalePairedDatasetOptions,
) -> tuple[list[tuple[ImageFile, ImageFile]], list[Fault]]:
    """GT images with their LR images, in the order of GT, and what is wrong with the others.

    Raises:
        DataError: the names cannot be made, fit no GT image, belong to two LR images each, or to the GT images
            themselves.
    """
    gt_root, template, gt_template = gt_images[0].root, root.template, options.gt_filename_tmpl
    if '{scale}' in template and root.scale is None:
        raise DataError(
            f'filename_tmpl {template!r} needs the scale of {root.lq!r}: give dataroot_lq as {{scale: path}}'
            f'{"" if options.phase == "train" else ", or `scales`"}'
        )
    scale = format_scale(root.scale) if root.scale else None
    if gt_template != '{}':
        of_gt, of_lq = _pattern(gt_template), _pattern(template.format('{}', scale=scale))
        gt_images = [image for image in gt_images if of_gt.fullmatch(_name(image))]
        lq_images = [image for image in lq_images if of_lq.fullmatch(_name(image))]
        if not gt_images:
            raise DataError(f'no image in {gt_root!r} has a name of the form {gt_template!r} (gt_filename_tmpl)')
    by_stem = {image.stem: image for image in lq_images}
    if len(by_stem) < len(lq_images):
        twice = sorted(str(image) for image in lq_images if by_stem[image.stem] is not image)
        raise DataError(f'LR images that differ in the extension only: {list_some(twice)}')
    # LR images lie in the sub-folders of their GT images or in none; the templates are for the name alone.
    names = []
    for image in gt_images:
        folder = image.stem.removesuffix(_name(image))
        before, _, after = gt_template.partition('{}')
        name = template.format(_name(image).removeprefix(before).removesuffix(after), scale=scale)
        names.append(folder + name if folder + name in by_stem else name)
    matched = [(gt, by_stem[name]) for gt, name in zip(gt_images, names) if name in by_stem]
    same = [str(gt) for gt, lq in matched if gt.stem == lq.stem]
    if same and os.path.realpath(gt_root) == os.path.realpath(lq_images[0].root):
        raise DataError(
            f'LR images of {root.lq!r} that are the GT images themselves: {list_some(same)}; filename_tmpl and '
            'gt_filename_tmpl tell the images of one root apart'
        )
    faults: list[Fault] = []
    missing = [f'{gt} (LR {name})' for gt, name in zip(gt_images, names) if name not in by_stem]
    if missing:
        faults.append(MissingDataError(f'GT images without an LR image in {root.lq!r}: {list_some(missing)}'))
    surplus = sorted(set(by_stem) - set(names))
    if surplus and options.meta_info_file is None:
        fault = f'LR images in {root.lq!r} without a GT image in {gt_root!r}: {list_some(surplus)}'
        faults.append(MissingDataError(fault))
    return matched, faults


def _name(image: ImageFile) -> str:
    """Its name without folders and extension."""
    return image.stem.rpartition('/')[2]


def _pattern(template: str) -> re.Pattern[str]:
    """What names are like in which {} stands for something."""
    return re.compile('.+'.join(map(re.escape, template.split('{}'))))


def fitting_pairs(
    matched: Sequence[tuple[ImageFile, ImageFile]], sizes: Sequence[tuple[Size, Size]], scale: Scale | None
) -> tuple[list[Pair], list[Fault]]:
    """Pairs with their scales, and what is wrong with those whose sizes do not fit the scale, or any.

    Args:
        matched: GT and LR images.
        sizes: of each of them, (H, W) and (h, w).
        scale: of all of them, if it is given; otherwise one that all fit, or each pair's own.
    """
    common = scale or (nominal_scale(sizes) if sizes else None)
    pairs: list[Pair] = []
    faults: list[Fault] = []
    for (gt, lq), (gt_size, lq_size) in zip(matched, sizes, strict=True):
        # Pairs of several scales in one folder: each is known under its own.
        own = common or nominal_scale([(gt_size, lq_size)])
        part = own and paired_gt_size(gt_size, lq_size, own)
        if own is not None and part is not None:
            pairs.append(Pair(gt, lq, own, part, lq_size))
            continue
        wanted = f'scale {format_scale(own)}' if own else 'any scale of at least 1'
        faults.append(
            DataError(
                f'sizes of a pair do not fit {wanted}: GT {gt} has {gt_size[0]} x {gt_size[1]} pixels '
                f'(rows x columns), LR {lq} {lq_size[0]} x {lq_size[1]}'
            )
        )
    return pairs, faults


def pairs_of(
    root: ImageRoot,
    gt_images: list[ImageFile],
    lq_images: list[ImageFile],
    sizes: Mapping[ImageFile, Size],
    options: ArbitraryScalePairedDatasetOptions,
) -> tuple[list[Pair], list[Fault]]:
    """The pairs of a root, and what is wrong with the others; see `match` and `fitting_pairs`.

    Args:
        sizes: (H, W) of the images that can be read; nothing is said of others here.
    """
    matched, missing = match(root, gt_images, lq_images, options)
    matched = [both for both in matched if all(image in sizes for image in both)]
    pairs, misfits = fitting_pairs(matched, [(sizes[gt], sizes[lq]) for gt, lq in matched], root.scale)
    return pairs, missing + misfits


def told_scales(scales: Sequence[Scale]) -> str:
    """How many pairs there are of each scale, in words."""
    counts = {scale: scales.count(scale) for scale in sorted(set(scales))}
    return list_some([f'{count} at x{format_scale(scale)}' for scale, count in counts.items()])
