"""The data set of arbitrary-scale SR, for training, validation and testing: LR and GT images, each with its scale."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from gsasr_plugin.data.arbitrary_scale_paired_options import ArbitraryScalePairedDatasetOptions
from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.data.data_roots import resolve_root
from gsasr_plugin.data.decoded_images import DecodedImages
from gsasr_plugin.data.eight_bit import to_8_bit, to_float
from gsasr_plugin.data.epoch_sampler import EpochIndex
from gsasr_plugin.data.evaluation_items import EvaluationItem, list_evaluation_items, list_gt_images, pair_crop
from gsasr_plugin.data.image_check import check_images, index_faults
from gsasr_plugin.data.image_files import ImageFile, image_sizes, list_some, read_image, sizes_where_readable
from gsasr_plugin.data.training_crops import TrainingCrops
from gsasr_plugin.data.variable_size import VariableSizeImage
from gsasr_plugin.processes import Processes
from gsasr_plugin.run_errors import DataError
from gsasr_plugin.sizes import as_scale, enlarged_size, format_scale, protocol_sizes

DECODING_THREADS = 4
CACHE_DIR = 'decoded_images'  # below the current folder


class ArbitraryScalePairedDataset(Dataset):
    """LR and GT images at arbitrary scales. Its options are the fields of `ArbitraryScalePairedDatasetOptions`.

    Training (paper, Section 4.1): a sample is a random crop of a GT image, of round(lq_size * s)
    pixels with one s per sample; then s = crop / lq_size, and LR is the crop's MATLAB-style bicubic reduction (neither
    rounded nor clipped unless `quantize_lq`). A sample depends on the option `seed`, the image's index and what the
    index carries (`EpochIndex`: epoch, repeat, and a seed if there is no option; a plain int counts as epoch 0 and seed
    0), on nothing else.

    Validation and testing, all images of one scale before the next:
    * `dataroot_gt` and `dataroot_lq`: pairs of files. GT is cropped to the part that LR shows, at most s pixels.
    * `dataroot_gt` and `scales`: LR is made from GT. h = floor(H / s); GT is cropped to round(h * s) pixels from the
      top-left corner, LR is its bicubic reduction rounded to 8 bits.
    * `dataroot_lq` and `scales`: LR to upsample, without GT.

    An item is a dict; B of them collate as in brackets:
        lq: (3, h, w) float32, RGB, 0..1 [(B, 3, h, w)].
        gt: (3, H, W) float32, RGB, 0..1, absent without GT [a list of B tensors (3, H_i, W_i), also for B = 1].
        scale: (2,) float32, H / h and W / w [(B, 2)].
        lq_path, gt_path: file, or key in the LMDB; where LR is made from GT both are GT's [lists of B strings].
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
    resolve_root = staticmethod(resolve_root)

    def __init__(self, opt: Mapping[str, Any]) -> None:
        super().__init__()
        self.opt = opt  # the host reads the name from here
        self.options = options = ArbitraryScalePairedDatasetOptions.from_opt(opt)
        if options.phase is None:
            raise ValueError(f"data set {options.name}: option 'phase' is missing: train, val or test")
        self.quantize_lq = options.phase != 'train' if options.quantize_lq is None else options.quantize_lq
        self._decoded: dict[ImageFile, np.ndarray] = {}  # cache: memory
        self._on_disk: DecodedImages | None = None
        if options.cache == 'disk':
            self._on_disk = DecodedImages(Path(options.cache_dir or CACHE_DIR).expanduser())
        self._reported: set[ImageFile] = set()  # images that could not be read
        self.images: list[ImageFile] = []  # training
        self.items: list[EvaluationItem] = []  # validation, testing
        if options.phase == 'train':
            low, high = options.scale_range or (1.0, 4.0)
            self.crops = TrainingCrops(
                lq_size=options.lq_size,
                scale_range=(float(low), float(high)),
                scales=None if options.scales is None else [as_scale(scale) for scale in options.scales],
                unequal_scales=options.unequal_scales,
                use_hflip=options.use_hflip,
                use_rot=options.use_rot,
            )
            self.images = self._large_enough(self._readable(list_gt_images(options)))
        else:
            self.items = list_evaluation_items(options)
            if options.check_images:
                self._left_out(self._check(self._files()))
        if options.cache == 'memory':
            with ThreadPoolExecutor(DECODING_THREADS) as pool:
                list(pool.map(self._read_or_none, self._files()))

    def __len__(self) -> int:
        return len(self.images) or len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._training_item(index) if self.images else self._evaluation_item(self.items[index])

    def __getstate__(self) -> dict[str, Any]:
        # Spawned workers fill a cache of their own rather than receive gigabytes through a pipe.
        return {**self.__dict__, '_decoded': {}}

    def _files(self) -> list[ImageFile]:
        """All images, each once."""
        files = self.images or [image for item in self.items for image in (item.gt, item.lq) if image is not None]
        return list(dict.fromkeys(files))

    def _training_item(self, index: int) -> dict[str, Any]:
        file, image = self._read_for_training(index)
        # A plain index is taken modulo the length, so that -1 and the last one give the same sample.
        drawn = index if isinstance(index, EpochIndex) else EpochIndex(index % len(self))
        seed = drawn.seed if self.options.seed is None else self.options.seed
        key = (seed, drawn.epoch, drawn.repeat, int(drawn))
        gt = to_float(self.crops.draw(np.random.default_rng(key), image))
        lq, scale = self.crops.make_lq(gt)
        return {
            'lq': self._lq_tensor(lq, made=True),
            'gt': VariableSizeImage.of(_to_tensor(gt)),
            'scale': torch.tensor(scale, dtype=torch.float32),
            'drawn': torch.tensor([int(drawn), drawn.epoch, drawn.repeat, drawn.position]),
            'lq_path': file.path,
            'gt_path': file.path,
        }

    def _read_for_training(self, index: int) -> tuple[ImageFile, np.ndarray]:
        """An image (H, W, 3), uint8; with `on_error: skip` the next one that can be read."""
        height, width = self.crops.largest
        first = range(len(self.images))[index]
        for number in range(len(self.images)):
            file = self.images[(first + number) % len(self.images)]
            image = self._read_or_none(file)
            if image is None:
                continue
            if image.shape[0] >= height and image.shape[1] >= width:
                return file, image
            size = f'{image.shape[0]} x {image.shape[1]} pixels (rows x columns)'
            self._skip(file, DataError(f'{file} has {size}, fewer than when it was listed'))
        raise DataError(f'data set {self.options.name}: none of its {len(self.images)} images can be read any more')

    def _evaluation_item(self, item: EvaluationItem) -> dict[str, Any]:
        gt = None if item.gt is None else to_float(self._read(item.gt))  # (H, W, 3)
        if item.lq is not None:
            lq = to_float(self._read(item.lq))  # (h, w, 3)
            lq_size = lq.shape[:2]
            size = enlarged_size(lq_size, item.scale) if gt is None else pair_crop(item, gt.shape[:2], lq_size)
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

    def _read(self, file: ImageFile) -> np.ndarray:
        if self._on_disk is not None:
            return self._on_disk.read(file)
        image = self._decoded.get(file)
        if image is None:
            image = read_image(file)
            if self.options.cache == 'memory':
                self._decoded[file] = np.ascontiguousarray(image)  # for crops to be copied row by row
        return image

    def _read_or_none(self, file: ImageFile) -> np.ndarray | None:
        """As `_read`; None, with a line in the log, where that fails and training goes on without the image."""
        try:
            return self._read(file)
        except DataError as error:
            self._skip(file, error)
            return None

    def _skip(self, file: ImageFile, error: DataError) -> None:
        """Raises the error, or logs it, once for each file, where training goes on without."""
        if not self._skips:
            raise error
        if file not in self._reported:
            self._reported.add(file)
            _warn(f'data set {self.options.name}: another image takes the place: {error}')

    @property
    def _skips(self) -> bool:
        return self.options.phase == 'train' and self.options.on_error == 'skip'

    def _readable(self, images: list[ImageFile]) -> list[ImageFile]:
        """The images whose headers, or with `check_images` all of whose pixels, can be read."""
        if self.options.check_images:
            bad = self._check(images)
        else:
            sizes = sizes_where_readable(images)
            bad = {image: 'not readable as an image' for image, size in zip(images, sizes) if size is None}
        self._left_out(bad)
        left = [image for image in images if image not in bad]
        if not left:
            raise DataError(f'data set {self.options.name}: none of its {len(images)} images can be read')
        return left

    def _check(self, images: list[ImageFile]) -> dict[ImageFile, str]:
        """The images that cannot be used, and why; of several processes the first looks. Stale indices are logged."""
        name = self.options.name

        def check() -> tuple[dict[ImageFile, str], list[str]]:
            databases = dict.fromkeys(image.root for image in images if image.backend == 'lmdb')
            stale = [fault for root in databases for fault in index_faults(root)]
            return check_images(images, progress=name), stale

        with Processes(f'data set {name}: check of all images') as processes:
            bad, stale = processes.by_first(check)
        for fault in stale:
            _warn(f'data set {name}: {fault}')
        return bad

    def _left_out(self, bad: Mapping[ImageFile, str]) -> None:
        """Logs images that cannot be used.

        Raises:
            DataError: they must not be left out.
        """
        if not bad:
            return
        words = [f'{image}: {fault}' for image, fault in bad.items()]
        if self._skips:
            _warn(f'data set {self.options.name}: left out: {"; ".join(words)}')
            return
        remedy = '. Set on_error: skip to leave them out' if self.options.phase == 'train' else ''
        raise DataError(f'data set {self.options.name}: {list_some(words)}{remedy}')

    def _large_enough(self, images: list[ImageFile]) -> list[ImageFile]:
        height, width = self.crops.largest
        sizes = image_sizes(images)
        small = [f'{image} ({h} x {w})' for image, (h, w) in zip(images, sizes) if h < height or w < width]
        if not small:
            return images
        message = (
            f'data set {self.options.name}: {len(small)} of {len(images)} images have fewer than {height} x {width} '
            f'pixels (rows x columns), the largest crop of lq_size {self.options.lq_size}'
        )
        if self.options.small_images == 'error':
            raise DataError(
                f'{message}: {list_some(small)}. Set small_images: skip to leave them out, or lower the scales'
            )
        if len(small) == len(images):
            raise DataError(f'{message}, none is left: {list_some(small)}')
        _warn(f'{message}; left out: {", ".join(small)}')
        return [image for image, (h, w) in zip(images, sizes) if h >= height and w >= width]


def _to_tensor(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3) -> (3, H, W), contiguous."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _warn(message: str) -> None:
    from basicsr.utils import get_root_logger  # for this only: BasicSR takes seconds to import

    get_root_logger().warning(message)
