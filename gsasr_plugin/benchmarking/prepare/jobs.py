"""What is made of one GT image: benchmark images at a scale, sub-images for training, a crop of one size, a copy."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.data.degradation.options import DegradationOptions
from gsasr_plugin.data.degradation.process import Degradation
from gsasr_plugin.data.degradation.samples import degraded_image
from gsasr_plugin.data.eight_bit import to_8_bit, to_float
from gsasr_plugin.data.image_files import ImageFile, read_image
from gsasr_plugin.sizes import Scale, Size, format_scale, protocol_sizes

BENCHMARK_KINDS = ('GT', 'LR', 'Bicubic')


class Job(Protocol):
    """Makes the files of one GT image."""

    @property
    def source(self) -> ImageFile:
        """The GT image."""

    def outputs(self) -> list[Path]:
        """The PNG files that `images` makes, in its order."""

    def images(self) -> Iterator[np.ndarray]:
        """(H, W, 3), RGB, for each of `outputs`."""


def protocol_pair(image: ImageFile, scale: Scale) -> tuple[np.ndarray, np.ndarray]:
    """An image cropped to a scale, and its bicubic reduction: (H, W, 3), uint8 or uint16, and (h, w, 3), uint8."""
    gt, lq_size = _cropped(image, scale)
    return gt, to_8_bit(resize_bicubic(to_float(gt), lq_size))


def degraded_pair(
    image: ImageFile, scale: Scale, options: DegradationOptions, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `protocol_pair`, with an LR image degraded by what seed, name and scale determine."""
    gt, lq_size = _cropped(image, scale)
    name = hashlib.sha256(f'{image.stem} x{format_scale(scale)}'.encode()).digest()
    rng = np.random.default_rng((seed, int.from_bytes(name, 'big')))
    gt, lq = degraded_image(Degradation(options), rng, np.ascontiguousarray(to_float(gt)), lq_size)
    return to_8_bit(gt), to_8_bit(lq)


def _cropped(image: ImageFile, scale: Scale) -> tuple[np.ndarray, Size]:
    """An image cropped to a scale, (H, W, 3), uint8 or uint16, and the size (h, w) of its LR image."""
    gt = read_image(image)
    lq_size, size = protocol_sizes(gt.shape[:2], scale)
    return gt[: size[0], : size[1]], lq_size


@dataclass(frozen=True)
class BenchmarkJob:
    """The paper's protocol: GT cropped to the scale, its bicubic reduction, and the reduction enlarged again.

    Attributes:
        folders: where the images of `BENCHMARK_KINDS` go.
        degradation: how LR is made instead; None: by the protocol.
        seed: of the degradation.
    """

    source: ImageFile
    scale: Scale
    folders: tuple[Path, Path, Path]
    degradation: DegradationOptions | None = None
    seed: int = 0

    def outputs(self) -> list[Path]:
        return [folder / f'{self.source.stem}.png' for folder in self.folders]

    def images(self) -> Iterator[np.ndarray]:
        if self.degradation is None:
            gt, lq = protocol_pair(self.source, self.scale)
        else:
            gt, lq = degraded_pair(self.source, self.scale, self.degradation, self.seed)
        yield from (gt, lq, to_8_bit(resize_bicubic(to_float(lq), gt.shape[:2])))


@dataclass(frozen=True)
class SubImageJob:
    """Overlapping squares that cover the image; the last ones of rows and columns end at its border.

    Attributes:
        image_size: its (H, W).
        folder: where the sub-images go, as `<name>_s001.png`, row by row, or `<name>_r2_s001.png` of a reduced image.
        side: their rows and columns; an image that is smaller is kept at its own size along that axis.
        step: from one to the next, in pixels, at most `side`.
        reduction: the factor by which the image is made smaller, by the exact bicubic, before it is cut.
    """

    source: ImageFile
    image_size: Size
    folder: Path
    side: int
    step: int
    reduction: float = 1

    def outputs(self) -> list[Path]:
        count = len(self._corners())
        digits = max(3, len(str(count)))
        name = self.source.stem if self.reduction == 1 else f'{self.source.stem}_r{self.reduction:g}'
        return [self.folder / f'{name}_s{index:0{digits}}.png' for index in range(1, count + 1)]

    def images(self) -> Iterator[np.ndarray]:
        image = read_image(self.source)
        if self.reduction != 1:
            image = to_8_bit(resize_bicubic(to_float(image), self._reduced_size()))
        for top, left in self._corners():
            yield image[top : top + self.side, left : left + self.side]

    def _reduced_size(self) -> Size:
        height, width = (max(1, round(length / self.reduction)) for length in self.image_size)
        return height, width

    def _corners(self) -> list[tuple[int, int]]:
        tops, lefts = (self._starts(length) for length in self._reduced_size())
        return [(top, left) for top in tops for left in lefts]

    def _starts(self, length: int) -> list[int]:
        last = max(length - self.side, 0)
        return [*range(0, last, self.step), last]


@dataclass(frozen=True)
class CentreCropJob:
    """The square in the middle of an image that is large enough.

    Attributes:
        folder: where the crop goes, under the image's name.
        side: its rows and columns.
    """

    source: ImageFile
    folder: Path
    side: int

    def outputs(self) -> list[Path]:
        return [self.folder / f'{self.source.stem}.png']

    def images(self) -> Iterator[np.ndarray]:
        image = read_image(self.source)
        top, left = ((length - self.side) // 2 for length in image.shape[:2])
        yield image[top : top + self.side, left : left + self.side]


@dataclass(frozen=True)
class CopyJob:
    """The image as a data set sees it.

    Attributes:
        folder: where it goes, under its name, sub-folders included.
    """

    source: ImageFile
    folder: Path

    def outputs(self) -> list[Path]:
        return [self.folder / f'{self.source.stem}.png']

    def images(self) -> Iterator[np.ndarray]:
        yield read_image(self.source)
