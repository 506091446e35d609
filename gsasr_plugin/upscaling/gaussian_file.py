"""Gaussians in files: a NumPy archive (.npz) that any program can read.

Of one image of h x w LR pixels and N Gaussians; lengths are in LR pixels, as (x, y), with the origin at the image's
top-left corner, so that the centre of the first pixel is (0.5, 0.5):

    version         1, or 2 where the sum of the Gaussians is completed
    means           (N, 2) float32: centres; some lie outside the image and reach into it
    sigmas          (N, 2) float32: standard deviations along x and y
    rhos            (N,) float32: correlation of x and y, in (-1, 1)
    opacities       (N,) float32: factor of the colour, in (0, 1]
    colors          (N, 3) float32: RGB, 0..1; of any sign where they are added to an enlargement
    lq_size         (2,) int64: (h, w)
    scale           (2,) float64: the scale (rows, columns) that the network was told; any other can be drawn
    support         () float64: half-width of the box in which a Gaussian is drawn, in standard deviations
    raster_ratio    () float64: the paper's r, a further cut; NaN where there is none
    lq              of version 2, (h, w, 3) float32: the picture itself, RGB, 0..1
    bicubic_skip    of version 2, () bool: whether a bicubic enlargement of it is added to the sum
    consistency     of version 2, () int64: how often what the result, reduced, lacks of it is enlarged and added

The image at the position p is the sum over the Gaussians of opacity * color * exp(-q / 2), where with
(u, v) = (p - mean) / sigma the form q is (u^2 - 2 rho u v + v^2) / (1 - rho^2). Nothing is normalised.
What completes it is in gsasr_plugin/archs/completion.py.
"""

import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gsasr_plugin.archs.completion import Completion
from gsasr_plugin.archs.gaussians import Gaussians
from gsasr_plugin.archs.rendering import SUPPORT, render_bands
from gsasr_plugin.precision import each_within
from gsasr_plugin.sizes import Size
from gsasr_plugin.upscaling.pictures.formats import GAUSSIANS_SUFFIX
from gsasr_plugin.whole_file import replacing

VERSION, VERSION_COMPLETED = 1, 2
SHAPES = {'means': (2,), 'sigmas': (2,), 'rhos': (), 'opacities': (), 'colors': (3,)}  # of one Gaussian
COMPLETION = ('lq', 'bicubic_skip', 'consistency')


@dataclass(frozen=True)
class StoredGaussians:
    """What a file holds.

    Attributes:
        gaussians: of one image, on the CPU, float32.
        scale: (rows, columns) that the network was told.
        support, raster_ratio: see `GSASR`.
    """

    gaussians: Gaussians
    scale: tuple[float, float]
    support: float = SUPPORT
    raster_ratio: float | None = None

    def draw(self, size: Size) -> Tensor:
        """The image of (H, W): (3, H, W), not clipped."""
        return torch.cat(list(self.bands(size)), 1)

    def bands(self, size: Size) -> Iterator[Tensor]:
        """Its rows, from the top: (3, rows, W)."""
        drawn = render_bands(self.gaussians, size, support=self.support, raster_ratio=self.raster_ratio)
        return (band[0] for band in each_within(torch.inference_mode, drawn))


def write_gaussians(stored: StoredGaussians, path: Path) -> None:
    """Writes a file, whole or not at all; its folder is made if need be."""
    arrays: dict[str, Any] = {
        name: getattr(stored.gaussians, name)[0].float().cpu().numpy() for name in SHAPES
    }  # without the batch dimension
    completion = stored.gaussians.completion
    if completion is not None:
        arrays['lq'] = completion.lq[0].permute(1, 2, 0).float().cpu().numpy()
        arrays['bicubic_skip'] = np.bool_(completion.bicubic_skip)
        arrays['consistency'] = np.int64(completion.consistency)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished, unfinished.open('wb') as file:
        np.savez_compressed(
            file,
            version=VERSION if completion is None else VERSION_COMPLETED,
            **arrays,
            lq_size=np.array(stored.gaussians.lq_size, np.int64),
            scale=np.array(stored.scale, np.float64),
            support=np.float64(stored.support),
            raster_ratio=np.float64(math.nan if stored.raster_ratio is None else stored.raster_ratio),
        )


def read_gaussians(path: Path) -> StoredGaussians:
    """Reads a file; nothing that it says is run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds something else.
    """
    try:
        if not zipfile.is_zipfile(path) and path.exists():  # what NumPy would take for a pickle
            raise ValueError(f'its content is not that of a {GAUSSIANS_SUFFIX} file')
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
    except FileNotFoundError:
        raise FileNotFoundError(f'there is no file {path}') from None
    except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f'{path} is no archive of Gaussians, or a damaged one: {error}') from error
    completed = 'version' in arrays and arrays['version'] == VERSION_COMPLETED
    needed = {'version', 'lq_size', 'scale', 'support', 'raster_ratio', *SHAPES, *(COMPLETION if completed else ())}
    missing = needed - set(arrays)
    if missing:
        raise ValueError(f'{path} is no archive of Gaussians: it lacks {", ".join(sorted(missing))}')
    if not completed and arrays['version'] != VERSION:
        raise ValueError(f'{path} is of version {arrays["version"]}; {VERSION} and {VERSION_COMPLETED} are accepted')
    count = arrays['rhos'].shape[:1]
    for name, shape in SHAPES.items():
        if arrays[name].shape != (*count, *shape) or arrays[name].dtype != np.float32:
            raise ValueError(
                f'{path}: {name} must be float32 of the shape {("N", *shape)}, N as for rhos; '
                f'got {arrays[name].dtype} {arrays[name].shape}'
            )
    h, w = (int(length) for length in arrays['lq_size'])
    rows, columns = (float(factor) for factor in arrays['scale'])
    ratio = float(arrays['raster_ratio'])
    fields: dict[str, Any] = {name: torch.from_numpy(arrays[name])[None] for name in SHAPES}
    return StoredGaussians(
        Gaussians(**fields, lq_size=(h, w), completion=_completion(arrays, (h, w), path) if completed else None),
        scale=(rows, columns),
        support=float(arrays['support']),
        raster_ratio=None if math.isnan(ratio) else ratio,
    )


def _completion(arrays: dict[str, np.ndarray], lq_size: Size, path: Path) -> Completion:
    lq, steps = arrays['lq'], arrays['consistency']
    if lq.shape != (*lq_size, 3) or lq.dtype != np.float32:
        raise ValueError(f'{path}: lq must be float32 of the shape {(*lq_size, 3)}; got {lq.dtype} {lq.shape}')
    if steps.shape != () or steps.dtype != np.int64 or steps < 0 or arrays['bicubic_skip'].shape != ():
        raise ValueError(f'{path}: consistency must be a whole number, at least 0, and bicubic_skip true or false')
    image = torch.from_numpy(lq).permute(2, 0, 1)[None]
    return Completion(image, bool(arrays['bicubic_skip']), int(steps), level=True)
