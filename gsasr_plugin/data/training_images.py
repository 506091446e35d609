"""The images of a training: GT alone, of which LR is made, and pairs, from all roots."""

from typing import NamedTuple

from gsasr_plugin.data.arbitrary_scale_paired_options import ArbitraryScalePairedDatasetOptions
from gsasr_plugin.data.evaluation_items import list_gt_by_root
from gsasr_plugin.data.image_files import ImageFile, list_some
from gsasr_plugin.data.log import note, warn
from gsasr_plugin.data.pairs import Fault, Pair, lq_candidates, pairs_of, told_scales
from gsasr_plugin.data.usable_images import large_enough, readable_for_training
from gsasr_plugin.run_errors import DataError
from gsasr_plugin.sizes import Size


class TrainingImage(NamedTuple):
    """A GT image, with its pair where LR is not made from it.

    Attributes:
        sizes: (H, W) of the GT file and (h, w) of the LR file.
    """

    gt: ImageFile
    pair: Pair | None = None
    sizes: tuple[Size, ...] = ()

    @property
    def files(self) -> tuple[ImageFile, ...]:
        """GT and, of a pair, LR."""
        return (self.gt,) if self.pair is None else (self.gt, self.pair.lq)


def list_training_images(options: ArbitraryScalePairedDatasetOptions, largest: Size) -> list[TrainingImage]:
    """All images of a training, those of each root as often as `root_repeats` says.

    Args:
        largest: (H, W) of the largest crop where LR is made from GT.

    Raises:
        MissingDataError, DataError: images cannot be used, and must not be left out, or none is left; they are named.
    """
    roots = options.training_roots()
    gt_images = list_gt_by_root(options)
    lq_images = [[] if root.lq is None else lq_candidates(root.lq, options) for root in roots]
    files = [image for images in (*gt_images, *lq_images) for image in images]
    sizes = readable_for_training(list(dict.fromkeys(files)), options)
    found: list[TrainingImage] = []
    faults: list[Fault] = []
    for root, candidates, repeats in zip(roots, lq_images, options.root_repeats or [1] * len(roots)):
        images = [image for image in gt_images[root.gt] if image in sizes]
        if root.lq is None:
            made = [TrainingImage(gt, sizes=(sizes[gt],)) for gt in large_enough(images, sizes, options, largest)]
            found += made * repeats
        else:
            pairs, unfit = pairs_of(root, gt_images[root.gt], candidates, sizes, options)
            faults += unfit
            pairs = _large_pairs(pairs, sizes, options)
            found += [TrainingImage(pair.gt, pair, (sizes[pair.gt], pair.lq_size)) for pair in pairs] * repeats
    message = list_some(map(str, faults))
    if faults and options.on_error == 'stop':
        raise DataError(f'{message}. Set on_error: skip to leave them out')
    if not found:
        raise DataError(f'{message}; none is left' if faults else 'no pair can be read')
    if faults:
        warn(f'data set {options.name}: {message}; left out')
    scales = [image.pair.nominal for image in found if image.pair is not None]
    if scales:
        note(f'data set {options.name}: pairs: {told_scales(scales)}; LR made from GT: {len(found) - len(scales)}')
    return found


def _large_pairs(
    pairs: list[Pair], sizes: dict[ImageFile, Size], options: ArbitraryScalePairedDatasetOptions
) -> list[Pair]:
    """The pairs of which LR patches can be cut."""
    least = (options.lq_size, options.lq_size)
    large = set(large_enough([pair.lq for pair in pairs], sizes, options, least, of_lq=True) if pairs else ())
    return [pair for pair in pairs if pair.lq in large]
