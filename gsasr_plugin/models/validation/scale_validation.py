"""Validation and testing at several scales: a data set goes through a network, image by image."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from basicsr.utils import get_root_logger, imwrite, tensor2img
from torch import Tensor
from torch.utils.data import default_collate
from tqdm import tqdm

from gsasr_plugin.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset
from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.data.eight_bit import to_8_bit
from gsasr_plugin.data.evaluation_items import EvaluationItem
from gsasr_plugin.data.image_files import list_some
from gsasr_plugin.models.validation.image_values import WHOLE_IMAGE, ImageValues, ValuesFile
from gsasr_plugin.models.validation.metric_values import computed, measure
from gsasr_plugin.models.validation.validation_grids import Grids
from gsasr_plugin.processes import Processes, in_order
from gsasr_plugin.run_errors import ends_run
from gsasr_plugin.sizes import Scale, Size, format_scale
from gsasr_plugin.whole_file import replacing

# A batch of one image -> lq (1, 3, h, w), result (1, 3, H, W) and, where known, gt (1, 3, H, W), RGB, on the CPU.
SuperResolve = Callable[[dict[str, Any]], Mapping[str, Tensor]]

IMAGES_NAMED = 5  # of those that fail for the same reason


@dataclass(frozen=True, kw_only=True)
class ValidationOptions:
    """How a data set is validated.

    Attributes:
        label: the iteration of a training, or the name of a run that tests.
        folder: where the data set's pictures go.
        suffix: ends the names of a test's pictures.
        device: where metrics that are networks compute.
        auto_resume: go on with what an earlier test has left.
        save_img: write the results as PNG files.
        metrics, compare_bicubic, grids, pbar: as in `val`.
    """

    is_train: bool
    label: int | str
    folder: Path
    suffix: str
    device: str
    auto_resume: bool = False
    save_img: bool = False
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    compare_bicubic: bool = False
    grids: int = 0
    pbar: bool = False

    def picture(self, name: str, scale: Scale) -> Path:
        """The file of a result, named as BasicSR does, with the scale; `name` may be in a sub-folder."""
        stem = f'{Path(name).name}_x{format_scale(scale)}'
        if self.is_train:
            return self.folder / name / f'{stem}_{self.label}.png'
        return (self.folder / name).with_name(f'{stem}_{self.suffix}.png')


def validate(
    super_resolve: SuperResolve,
    dataset: ArbitraryScalePairedDataset,
    options: ValidationOptions,
    *,
    tb_logger: Any = None,
    values_file: ValuesFile | None = None,
) -> list[ImageValues]:
    """Super-resolves a data set, writes pictures, and computes the metrics of each image.

    What an image raises is logged and leaves it out: neither a training nor the other images end with it. Several
    processes take a share of the images each.

    Args:
        dataset: of GT and LR images, or of either.
        tb_logger: tensorboard's, which gets the grids of a training.
        values_file: where a test keeps each image's values as soon as they are known. With `auto_resume`, images that
            are in it already, and whose pictures are there, are not computed again.

    Returns:
        Of each image, in the data set's order; in all processes but the first, nothing.

    Raises:
        RunError: another process is gone.
    """
    name, items = dataset.opt['name'], dataset.items
    with Processes(f'validation of {name}') as processes:
        shown = options.grids if processes.rank == 0 else 0
        grids = Grids(options.folder / 'grids', name, options.label, shown, tb_logger)
        known, left = processes.by_first(lambda: _known_and_left(name, items, options, values_file, grids))
        if known:
            get_root_logger().info(f'{name}: {len(known)} images are known from an earlier run')
        mine: list[ImageValues] = []
        for position in tqdm(
            left[processes.rank :: processes.count], desc=name, unit='image', disable=not options.pbar
        ):
            mine.append(_validate_image(super_resolve, dataset, position, options, grids))
            if values_file is not None and not mine[-1].failed:
                values_file.add(mine[-1])
        grids.finish()
        found = known | dict(zip(left, in_order(processes.gather(mine))))
    if processes.rank > 0:
        return []
    values = [found[position] for position in range(len(items))]
    _log_failures(values)
    return values


def _validate_image(
    super_resolve: SuperResolve,
    dataset: ArbitraryScalePairedDataset,
    position: int,
    options: ValidationOptions,
    grids: Grids,
) -> ImageValues:
    """One image: super-resolution, its picture, its metrics, its row of a grid."""
    item = dataset.items[position]
    values = ImageValues(dataset.opt['name'], format_scale(item.scale), item.named.stem, item.named.path)
    try:
        images = super_resolve(default_collate([dataset[position]]))
        sr = tensor2img([images['result']])  # (H, W, 3), BGR, 8 bit
        if options.save_img:
            with replacing(options.picture(item.named.stem, item.scale)) as path:
                imwrite(sr, str(path))
        _add_metrics(values, sr, images, item.scale, options)
        grids.add(item.scale, images['lq'], images['result'], images.get('gt'))
    except Exception as error:  # a network, a metric, a file: whatever it is, it is this image's
        if ends_run(error):
            raise
        values.failed[WHOLE_IMAGE] = _describe(error)
    return values


def _add_metrics(
    values: ImageValues, sr: np.ndarray, images: Mapping[str, Tensor], scale: Scale, options: ValidationOptions
) -> None:
    """Computes all metrics of an image, and of its bicubic enlargement where asked for."""
    gt = tensor2img([images['gt']]) if 'gt' in images else None
    metrics = computed(options.metrics, with_gt=gt is not None)
    compared = [sr]
    if metrics and options.compare_bicubic:
        compared.append(_bicubic(images['lq'], sr.shape[:2]))
    for name, metric in metrics.items():
        try:
            values.model[name], *others = measure(metric, compared, gt, scale=scale, device=options.device)
        except Exception as error:  # what a metric raises is its own affair
            values.failed[name] = _describe(error)
        else:
            if others:
                values.bicubic[name] = others[0]


def _bicubic(lq: Tensor, size: Size) -> np.ndarray:
    """LR (1, 3, h, w), RGB in 0..1, enlarged to (H, W, 3), BGR, 8 bit."""
    image = resize_bicubic(lq[0].permute(1, 2, 0).contiguous().numpy(), size)  # (H, W, 3)
    return np.ascontiguousarray(to_8_bit(image)[..., ::-1])


def _known_and_left(
    dataset: str,
    items: Sequence[EvaluationItem],
    options: ValidationOptions,
    values_file: ValuesFile | None,
    grids: Grids,
) -> tuple[dict[int, ImageValues], list[int]]:
    """What an earlier test knew of a data set, by position, and the positions that are left to compute.

    Images of a grid that is not there are computed again.
    """
    if values_file is None:
        return {}, list(range(len(items)))
    kept = values_file.read(dataset) if options.auto_resume else []
    of_image = {(image.scale, image.file): image for image in kept}
    found = {position: of_image.get((format_scale(item.scale), item.named.path)) for position, item in enumerate(items)}
    known = {
        position: image
        for position, image in found.items()
        if image and (not options.save_img or options.picture(image.image, items[position].scale).exists())
    }
    grids.begin({item.scale for item in items}, goes_on=bool(known))
    seen: Counter[Scale] = Counter()
    left = []
    for position, item in enumerate(items):
        seen[item.scale] += 1
        if position not in known or (seen[item.scale] <= grids.most and item.scale not in grids.drawn):
            left.append(position)
    return known, left


def _describe(error: Exception) -> str:
    return f'{type(error).__name__}: {error}'


def _log_failures(values: Sequence[ImageValues]) -> None:
    """A line for each reason why images of a scale were left out."""
    reasons: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for image in values:
        for what, error in image.failed.items():
            reasons[image.dataset, image.scale, what, error].append(image.image)
    for (dataset, scale, what, error), images in reasons.items():
        get_root_logger().error(
            f'{dataset}, x{scale}: {what} of {list_some(images, IMAGES_NAMED)} is left out: {error}'
        )
