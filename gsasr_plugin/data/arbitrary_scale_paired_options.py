"""The options of ArbitraryScalePairedDataset: every key that may stand in its section of an option file, once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from gsasr_plugin.data.degradation.options import DegradationOptions, Preset
from gsasr_plugin.data.loader_options import LoaderOptions
from gsasr_plugin.option_types import NonNegativeInt, PositiveInt, build_options
from gsasr_plugin.sizes import Scale, as_scale

Factor = Annotated[float, Field(ge=1, allow_inf_nan=False)]
TwoFactors = Annotated[list[Factor], Field(min_length=2, max_length=2)]
RootsByScale = Annotated[dict[Factor, str], Field(title='a mapping from scales, at least 1, to texts')]
Scales = Annotated[
    list[Factor | TwoFactors],
    Field(min_length=1, title='a list of scales, each a number of at least 1 or a pair [rows, columns] of such'),
]
# Below that a GT patch might have no whole pixel.
LEAST_PAIRED_LQ_SIZE = 4
_BACKEND = 'a mapping {type: disk} or {type: lmdb}'


class ImageRoot(NamedTuple):
    """GT images, and the LR images that belong to them.

    Attributes:
        gt: which of dataroot_gt, from 0.
        lq: the root of their LR images; None: LR is made from GT.
        scale: of the pairs, if it is given.
        template: which of them belong together, see `filename_tmpl`.
    """

    gt: int
    lq: str | None = None
    scale: Scale | None = None
    template: str = '{}'


@dataclass(kw_only=True)
class ArbitraryScalePairedDatasetOptions(LoaderOptions):
    """A section `datasets.train`, `datasets.val*` or `datasets.test*` of an option file.

    Attributes:
        phase: train, val or test; BasicSR works it out from the name of the section.

        dataroot_gt: folder or LMDB of GT images, or a list of several (in val and test not with pairs). None: LR images
            without GT.
        dataroot_lq: folder or LMDB of the LR images that belong to the GT images; a list, or a mapping {scale: path},
            has one per scale. Scales are worked out from the sizes unless they are given. None: LR is made from GT.
            train: with several dataroot_gt a list of one for each; null in a list: LR is made from GT. val, test:
            without dataroot_gt, the LR images to enlarge by each of `scales`.
        root_repeats: train: how often the images of each dataroot_lq (without, of each dataroot_gt) count in an epoch,
            a list, to mix pairs and images whose LR is made. None: once each.
        meta_info_file: text file with the names of the GT images to use, one a line, name first, in this order; a list
            has one per dataroot_gt. None: all images.
        io_backend: {type: disk}: dataroots are folders of files; {type: lmdb}: databases made by BasicSR, folders
            whose names end in .lmdb.
        filename_tmpl: name of the LR file of a GT file, both without extension: '{}' stands for the GT name,
            '{scale}' for the scale (2 or 3.7), so that '{}x{scale}' fits DIV2K. A list has one per dataroot_lq.
        gt_filename_tmpl: pairs: name of the GT file, without extension; filename_tmpl is given what its '{}' stands
            for. With another than '{}' images whose names fit neither are left out: dataroot_gt and dataroot_lq may be
            one folder, as RealSR's, with '{}_HR' here and '{}_LR{scale}' there.
        cache: disk: decode each image once, when it is first used, into a file of 3 bytes per pixel (6 of 16 bits), of
            which crops then read the rows that they need; 5 GiB of the disk are kept free. memory: decode all images
            once, at the start, and keep them; forked workers share them. none: decode an image each time.
        cache_dir: folder of `cache: disk`, which several runs and data sets may share; may be deleted between
            runs. None: decoded_images below the current folder.

        scale_range: train: [lowest, highest] SR factor (the paper's s), drawn uniformly for each sample. None: [1, 4],
            the paper's, unless `scales` is given.
        scales: SR factors, or [rows, columns] pairs of them. train: each sample draws one. val, test: every image at
            every scale where LR is made from GT or there is no GT; with pairs, the scale of each dataroot_lq (None:
            worked out from the sizes).
        unequal_scales: train: draw the factors of rows and of columns independently from scale_range.
        lq_size: train: side of the square LR patch, LR pixels; GT crops have round(lq_size * s) GT pixels a side.
        degradation: train: make LR as it is in the real world, blurred, noisy and compressed: light (photographs from
            phones and the web), real_esrgan, or a section of options. None: the bicubic reduction of GT.
        quantize_lq: round LR images made from GT to 8 bits, as if stored as PNG. None: in val and test, as the paper's
            protocol does (its training is not said to round), and where there is a degradation.
        small_images: train: what to do about GT images smaller than the largest crop, and LR images of pairs smaller
            than lq_size: error, or skip them and log their names.
        on_error: train: what to do about images that cannot be read, lack their partner, or are a pair whose sizes fit
            no scale: stop, or skip them and log their names (another image takes the place of one that fails later than
            at the start).
        check_images: decode every image before anything else, as `gsasr check-data` does; of several processes the
            first one does, for all.

        use_hflip: train: flip half of the samples left to right.
        use_rot: train: flip half of the samples upside down and transpose half of them, which with use_hflip gives
            all rotations by 90 degrees.
        seed: train: with epoch and index it determines scale, crop and flips, for any number of workers and processes.
            None: manual_seed, which determines the order of the images too.

    Raises:
        ValueError: options contradict each other or are out of range.
    """

    name: str = 'ArbitraryScalePairedDataset'
    type: str = 'ArbitraryScalePairedDataset'
    phase: Literal['train', 'val', 'test'] | None = None

    # Images
    dataroot_gt: str | list[str] | None = None
    dataroot_lq: str | list[str | None] | RootsByScale | None = None
    root_repeats: Annotated[list[PositiveInt], Field(min_length=1)] | None = None
    meta_info_file: str | list[str] | None = None
    io_backend: Annotated[dict[Literal['type'], Literal['disk', 'lmdb']], Field(min_length=1, title=_BACKEND)] = field(
        default_factory=lambda: {'type': 'disk'}
    )
    filename_tmpl: str | list[str] = '{}'
    gt_filename_tmpl: str = '{}'
    cache: Literal['none', 'memory', 'disk'] = 'none'
    cache_dir: str | None = None

    # Scales and sizes
    scale_range: Annotated[list[Factor], Field(min_length=2, max_length=2)] | None = None
    scales: Scales | None = None
    unequal_scales: bool = False
    lq_size: PositiveInt = 48
    degradation: Preset | dict[str, Any] | None = None
    quantize_lq: bool | None = None
    small_images: Literal['error', 'skip'] = 'error'
    on_error: Literal['stop', 'skip'] = 'stop'
    check_images: bool = False

    # Augmentation and randomness
    use_hflip: bool = True
    use_rot: bool = True
    seed: NonNegativeInt | None = None

    # The loader's, see `TrainLoaderOptions` and `EvalLoaderOptions`
    batch_size_per_gpu: int | None = None
    num_worker_per_gpu: int | None = None
    use_shuffle: bool = True

    def __post_init__(self) -> None:
        if self.dataroot_gt is None and self.dataroot_lq is None:
            raise ValueError('dataroot_gt or dataroot_lq is needed')
        for name in ('dataroot_gt', 'dataroot_lq'):
            roots = getattr(self, name)
            if roots is not None and len(roots) == 0:
                raise ValueError(f'{name} names no folder, got {roots!r}')
        if self.scale_range is not None and self.scales is not None:
            raise ValueError(f'scale_range {self.scale_range} and scales {self.scales} exclude each other')
        if self.scale_range is not None and self.scale_range[0] > self.scale_range[1]:
            raise ValueError(f'scale_range must be [lowest, highest], got {self.scale_range}')
        self._check_templates()
        if self.meta_info_file is not None and _count(self.meta_info_file) != _count(self.dataroot_gt):
            raise ValueError(
                f'meta_info_file needs one file per dataroot_gt, got {self.meta_info_file} for {self.dataroot_gt}'
            )
        if self.phase == 'train':
            self._check_training()
        elif self.phase is not None:
            self._check_evaluation()

    def _check_templates(self) -> None:
        for template in self.templates():
            try:
                template.format('name', scale='2')
            except (AttributeError, LookupError, TypeError, ValueError):
                raise ValueError(
                    f"filename_tmpl is a text in which '{{}}' stands for the GT name and '{{scale}}' for the scale, "
                    f'got {template!r}'
                ) from None
        if isinstance(self.filename_tmpl, list) and len(self.filename_tmpl) != _count(self.dataroot_lq):
            raise ValueError(
                f'filename_tmpl needs one text per dataroot_lq, got {self.filename_tmpl} for {self.dataroot_lq}'
            )
        before, _, after = self.gt_filename_tmpl.partition('{}')
        if '{}' not in self.gt_filename_tmpl or set('{}') & set(before + after):
            raise ValueError(
                f"gt_filename_tmpl is a text with one '{{}}', which stands for a part of the GT name, "
                f'got {self.gt_filename_tmpl!r}'
            )

    def templates(self) -> list[str]:
        """The `filename_tmpl` of each dataroot_lq."""
        given = self.filename_tmpl
        return given if isinstance(given, list) else [given] * _count(self.dataroot_lq)

    def _check_training(self) -> None:
        if self.dataroot_gt is None:
            raise ValueError('dataroot_gt is needed for training')
        roots = self.training_roots()
        if self.root_repeats is not None and len(self.root_repeats) != len(roots):
            raise ValueError(f'root_repeats needs {len(roots)} numbers, one for each root; got {self.root_repeats}')
        if any(root.lq is not None for root in roots) and self.lq_size < LEAST_PAIRED_LQ_SIZE:
            raise ValueError(f'lq_size must be at least {LEAST_PAIRED_LQ_SIZE} with pairs, got {self.lq_size}')
        for option in ('scale_range', 'scales', 'unequal_scales', 'degradation', 'quantize_lq'):
            if getattr(self, option) not in (None, False) and all(root.lq is not None for root in roots):
                raise ValueError(
                    f'{option} is for LR made from GT, and all of dataroot_gt have LR images in dataroot_lq (a mapping '
                    f'{{scale: path}} gives their scales); got {getattr(self, option)}'
                )
        if self.unequal_scales and self.scales is not None:
            raise ValueError('unequal_scales goes with scale_range; give [rows, columns] pairs in scales')
        if self.degradation is not None:
            DegradationOptions.of(self.degradation)

    def training_roots(self) -> list['ImageRoot']:
        """Where the images of a training are.

        Raises:
            ValueError: dataroot_gt and dataroot_lq do not fit together.
        """
        gt_count, lq = _count(self.dataroot_gt), self.dataroot_lq
        if isinstance(lq, dict):
            if gt_count > 1:
                raise ValueError(f'the mapping dataroot_lq {lq} needs one dataroot_gt, got {self.dataroot_gt}')
            if any(isinstance(scale, str) for scale in lq):
                raise ValueError(f'the scales of the mapping dataroot_lq must be numbers, got {lq}')
            return [
                ImageRoot(0, root, as_scale(scale), template)
                for (scale, root), template in zip(lq.items(), self.templates(), strict=True)
            ]
        if lq is None:
            return [ImageRoot(number) for number in range(gt_count)]
        roots = [lq] if isinstance(lq, str) else lq
        if gt_count not in (1, len(roots)):
            raise ValueError(f'dataroot_lq needs one entry, or null, for each dataroot_gt {self.dataroot_gt}; got {lq}')
        return [
            ImageRoot(number if gt_count > 1 else 0, root, template=template)
            for number, (root, template) in enumerate(zip(roots, self.templates(), strict=True))
        ]

    def _check_evaluation(self) -> None:
        if isinstance(self.dataroot_lq, list) and None in self.dataroot_lq:
            raise ValueError(f'null in dataroot_lq is for training, got {self.dataroot_lq}')
        if self.root_repeats is not None:
            raise ValueError(f'root_repeats is for training, got {self.root_repeats}')
        if self.scale_range is not None:
            raise ValueError(f'scale_range is for training; list the scales of {self.phase} in `scales`')
        if self.degradation is not None:
            raise ValueError(
                'degradation is for training; `gsasr prepare benchmark --degradation` makes degraded images to '
                f'validate and test with; got {self.degradation}'
            )
        if self.dataroot_lq is None or self.dataroot_gt is None:
            if self.scales is None:
                raise ValueError('scales is needed unless dataroot_gt and dataroot_lq form pairs')
            if isinstance(self.dataroot_lq, dict):
                raise ValueError(
                    'dataroot_lq as a mapping {scale: path} needs dataroot_gt; without GT give a path and `scales`'
                )
        else:
            if isinstance(self.dataroot_gt, list) and len(self.dataroot_gt) > 1:
                raise ValueError(f'pairs need one dataroot_gt, got {self.dataroot_gt}')
            if isinstance(self.dataroot_lq, dict):
                if self.scales is not None:
                    raise ValueError('the mapping dataroot_lq {scale: path} has the scales already: leave out `scales`')
                if any(isinstance(scale, str) for scale in self.dataroot_lq):
                    raise ValueError(f'the scales of the mapping dataroot_lq must be numbers, got {self.dataroot_lq}')
            elif self.scales is not None and len(self.scales) != _count(self.dataroot_lq):
                raise ValueError(f'scales {self.scales} must name one scale per dataroot_lq {self.dataroot_lq}')

    @classmethod
    def from_opt(cls, opt: Mapping[str, Any]) -> 'ArbitraryScalePairedDatasetOptions':
        """Check the dict that BasicSR hands to a data set, and make the options of it.

        Raises:
            ValueError: keys are unknown or values of the wrong type or out of their range; all are named. Or as the
                class says.
        """
        name = opt.get('name', cls.__name__)
        if 'scale' in opt:
            # BasicSR copies a root-level `scale` into every data set.
            raise ValueError(
                f"data set {name}: option 'scale' ({opt['scale']}) is not known here; remove it from the data set's "
                "section and from the root of the file, and use 'scale_range' (training) or 'scales'"
            )
        return build_options(cls, opt, f'data set {name}: ')


def _count(roots: str | Sequence[str | None] | Mapping[float, str] | None) -> int:
    return 1 if isinstance(roots, str) else len(roots or ())
