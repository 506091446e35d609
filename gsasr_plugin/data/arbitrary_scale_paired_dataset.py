"""The data set of arbitrary-scale SR, for training, validation and testing: LR and GT images, each with its scale."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch.utils.data import Dataset

from gsasr_plugin.data.arbitrary_scale_paired_options import ArbitraryScalePairedDatasetOptions
from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.data.data_roots import resolve_root
from gsasr_plugin.data.degradation.options import DegradationOptions
from gsasr_plugin.data.eight_bit import to_8_bit, to_float
from gsasr_plugin.data.epoch_sampler import EpochIndex
from gsasr_plugin.data.evaluation_items import EvaluationItem, list_evaluation_items, pair_crop
from gsasr_plugin.data.image_files import ImageFile
from gsasr_plugin.data.image_reader import ImageReader
from gsasr_plugin.data.log import warn
from gsasr_plugin.data.training_crops import TrainingCrops
from gsasr_plugin.data.training_images import TrainingImage, list_training_images
from gsasr_plugin.data.usable_images import check_all
from gsasr_plugin.data.variable_size import VariableSizeImage
from gsasr_plugin.run_errors import DataError, told_of_data
from gsasr_plugin.sizes import Size, enlarged_size, format_scale, protocol_sizes


class ArbitraryScalePairedDataset(Dataset):
    """LR and GT images at arbitrary scales. Its options are the fields of `ArbitraryScalePairedDatasetOptions`.

    Training (paper, Section 4.1): a sample is a random crop of a GT image, of round(lq_size * s)
    pixels with one s per sample; then s = crop / lq_size, and LR is the crop's MATLAB-style bicubic reduction (neither
    rounded nor clipped unless `quantize_lq`), or degraded as the option `degradation` says. A sample depends on the
    option `seed`, the image's index and what the index carries (`EpochIndex`: epoch, repeat, and a seed if there is no
    option; a plain int counts as epoch 0 and seed 0), on nothing else. With `dataroot_lq` a sample is a patch of
    lq_size LR pixels a side, and the whole GT pixels within it, at the scale of the pair's sizes.

    Validation and testing, all images of one scale before the next:
    * `dataroot_gt` and `dataroot_lq`: pairs of files. GT is cropped to the part that LR shows, at most s pixels.
    * `dataroot_gt` and `scales`: LR is made from GT. h = floor(H / s); GT is cropped to round(h * s) pixels from the
      top-left corner, LR is its bicubic reduction rounded to 8 bits.
    * `dataroot_lq` and `scales`: LR to upsample, without GT.

    An item is a dict; B of them collate as in brackets:
        lq: (3, h, w) float32, RGB, 0..1 [(B, 3, h, w)].
        gt: (3, H, W) float32, RGB, 0..1, absent without GT [a list of B tensors (3, H_i, W_i), also for B = 1].
        scale: (2,) float32, H / h and W / w; of a training's pairs that of the whole images [(B, 2)].
        lq_path, gt_path: file, or key in the LMDB; where LR is made from GT both are GT's [lists of B strings].
        grid: training with pairs only: (2, 2) float64, GT pixels per LR pixel, and where GT begins on the LR patch, in
            LR pixels, both (rows, columns) [(B, 2, 2)].
        drawn: training only: (4,) int64: index, epoch, repeat, position in the epoch; see `EpochIndex` [(B, 4)].
        Validation and testing only:
        name: for results: the LR image's path below its root, without extension [a list of B strings].
        size: (2,) int64, H and W of the result, also without GT [(B, 2)].
        nominal_scale: (2,) float64, the scale for names and tables, rows and columns [(B, 2)].

    Args:
        opt: the data set's section of the option file, with `phase`, as `basicsr.data.build_dataset` passes it.

    Raises:
        ValueError: an option is unknown, wrong or missing; images cannot be read, do not fit or are too
            small. All are named.
        FileNotFoundError: a root, file or one half of a pair does not exist.
    """

    options_class = ArbitraryScalePairedDatasetOptions
    inner_options: ClassVar = {'degradation': DegradationOptions}
    resolve_root = staticmethod(resolve_root)

    def __init__(self, opt: Mapping[str, Any]) -> None:
        super().__init__()
        self.opt = opt  # BasicSR reads the name from here
        self.options = options = ArbitraryScalePairedDatasetOptions.from_opt(opt)
        if options.phase is None:
            raise ValueError(f"data set {options.name}: option 'phase' is missing: train, val or test")
        self.quantize_lq = options.quantize_lq
        if self.quantize_lq is None:
            self.quantize_lq = options.phase != 'train' or options.degradation is not None
        self.reader = ImageReader(options.cache, options.cache_dir)
        self._reported: set[ImageFile] = set()  # images that could not be read
        self.images: list[TrainingImage] = []  # training
        self.items: list[EvaluationItem] = []  # validation, testing
        with told_of_data(options.name):
            if options.phase == 'train':
                self.crops = TrainingCrops(options)
                self.images = list_training_images(options, self.crops.largest)
                self.has_pairs = any(image.pair is not None for image in self.images)
            else:
                self.items = list_evaluation_items(options)
                if options.check_images:
                    check_all(self._files(), options.name)
            for file, error in self.reader.read_ahead(self._files()):
                self._skip(file, error)

    def __len__(self) -> int:
        return len(self.images) or len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._training_item(index) if self.images else self._evaluation_item(self.items[index])

    def _files(self) -> list[ImageFile]:
        """All images, each once."""
        files = [file for image in self.images for file in image.files]
        files += [image for item in self.items for image in (item.gt, item.lq) if image is not None]
        return list(dict.fromkeys(files))

    def _training_item(self, index: int) -> dict[str, Any]:
        found, images = self._read_for_training(index)
        # A plain index is taken modulo the length, so that -1 and the last one give the same sample.
        drawn = index if isinstance(index, EpochIndex) else EpochIndex(index % len(self))
        seed = drawn.seed if self.options.seed is None else self.options.seed
        key = (seed, drawn.epoch, drawn.repeat, int(drawn))
        rng = np.random.default_rng(key)
        offset = (0.0, 0.0)
        if found.pair is None:
            crop = self.crops.place(rng, (images[0].shape[0], images[0].shape[1]))
            gt, lq = self.crops.pair(rng, images[0], crop)
            scale = (crop.size[0] / self.options.lq_size, crop.size[1] / self.options.lq_size)
        else:
            place = self.crops.place_pair(rng, found.pair)
            gt, lq = (to_float(part.cut(image)) for part, image in zip((place.gt, place.lq), images))
            scale, offset = place.scale, place.offset
        return {
            'lq': self._lq_tensor(lq, made=found.pair is None),
            'gt': VariableSizeImage.of(_to_tensor(gt)),
            'scale': torch.tensor(scale, dtype=torch.float32),
            'drawn': torch.tensor([int(drawn), drawn.epoch, drawn.repeat, drawn.position]),
            'lq_path': found.files[-1].path,
            'gt_path': found.gt.path,
            **({'grid': torch.tensor([scale, offset], dtype=torch.float64)} if self.has_pairs else {}),
        }

    def _read_for_training(self, index: int) -> tuple[TrainingImage, list[np.ndarray]]:
        """GT, and LR of a pair, (H, W, 3), uint8, uint16; with `on_error: skip` those of the next that can be read."""
        first = range(len(self.images))[index]
        for image in self.images[first:] + self.images[:first]:
            pixels = []
            for file, listed in zip(image.files, image.sizes, strict=True):
                try:
                    pixels.append(self.reader.read(file))
                    _check_size(file, pixels[-1], listed if image.pair else self.crops.largest, exact=bool(image.pair))
                except DataError as error:
                    self._skip(file, error)
                    break
            else:
                return image, pixels
        raise DataError(f'data set {self.options.name}: none of its {len(self.images)} images can be read any more')

    def _skip(self, file: ImageFile, error: DataError) -> None:
        """Raises the error, or logs it, once for each file, where training goes on without the image."""
        if self.options.phase != 'train' or self.options.on_error == 'stop':
            raise error
        if file not in self._reported:
            self._reported.add(file)
            warn(f'data set {self.options.name}: another image takes the place: {error}')

    def _evaluation_item(self, item: EvaluationItem) -> dict[str, Any]:
        gt = None if item.gt is None else to_float(self.reader.read(item.gt))  # (H, W, 3)
        if item.lq is not None:
            lq = to_float(self.reader.read(item.lq))  # (h, w, 3)
            size = (
                enlarged_size(lq.shape[:2], item.scale) if gt is None else pair_crop(item, gt.shape[:2], lq.shape[:2])
            )
            # At x1 what GT lacks is cut off LR: no pixel of one is a pixel of the other otherwise.
            rows, columns = (size[axis] if item.scale[axis] == 1 else lq.shape[axis] for axis in (0, 1))
            lq, lq_size = lq[:rows, :columns], (min(rows, lq.shape[0]), min(columns, lq.shape[1]))
        else:
            assert gt is not None, 'an item has at least one image'
            lq_size, size = protocol_sizes(gt.shape[:2], item.scale)
            if 0 in lq_size:
                raise DataError(
                    f'{item.gt} has {gt.shape[0]} x {gt.shape[1]} pixels (rows x columns), too few for scale '
                    f'{format_scale(item.scale)}'
                )
            lq = resize_bicubic(gt[: size[0], : size[1]], lq_size)
        gt_item: dict[str, Any] = {}
        if gt is not None and item.gt is not None:
            gt_item = {'gt': VariableSizeImage.of(_to_tensor(gt[: size[0], : size[1]])), 'gt_path': item.gt.path}
        return {
            'lq': self._lq_tensor(lq, made=item.lq is None),
            'scale': torch.tensor([size[0] / lq_size[0], size[1] / lq_size[1]], dtype=torch.float32),
            'nominal_scale': torch.tensor(item.scale, dtype=torch.float64),
            'size': torch.tensor(size),
            'lq_path': item.named.path,
            'name': item.named.stem,
            **gt_item,
        }

    def _lq_tensor(self, lq: np.ndarray, *, made: bool) -> torch.Tensor:
        if made and self.quantize_lq:
            lq = to_float(to_8_bit(lq))
        return _to_tensor(lq)


def _check_size(file: ImageFile, image: np.ndarray, size: Size, *, exact: bool) -> None:
    """Raises an error where an image no longer has a size, or exactly that size."""
    height, width = image.shape[:2]
    if height < size[0] or width < size[1] or (exact and (height, width) != tuple(size)):
        how = 'other' if exact else 'fewer'
        raise DataError(f'{file} has {height} x {width} pixels (rows x columns), {how} than when it was listed')


def _to_tensor(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3) -> (3, H, W), contiguous."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
