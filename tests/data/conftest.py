"""Fixtures of the data set's tests: small random images on the disk and photographs from scikit-image."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

Size = tuple[int, int]


@pytest.fixture(autouse=True)
def one_thread():
    """Two cores are shared with other tests; workers use one thread anyway."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def write_images(tmp_path: Path) -> Callable[..., str]:
    """`write_images(folder, {name: (H, W)})` writes random RGB images below tmp_path and returns the folder's path."""

    def write(folder: str, sizes: dict[str, Size], seed: int = 0) -> str:
        rng = np.random.default_rng(seed)
        for name, size in sizes.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # Coarse noise, enlarged: different everywhere, yet not pure noise, which JPEG would not keep.
            coarse = rng.integers(0, 256, (size[0] // 4 + 2, size[1] // 4 + 2, 3), dtype=np.uint8)
            assert cv2.imwrite(str(path), cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_LINEAR))
        return str(tmp_path / folder)

    return write


@pytest.fixture
def make_lmdb(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`make_lmdb(folder, names)` makes the host's LMDB of a folder's images beside it and returns its path."""

    def make(folder: str, names: Sequence[str]) -> str:
        from basicsr.utils.lmdb_util import make_lmdb_from_imgs

        path = folder.rstrip('/') + '.lmdb'
        keys = [str(Path(name).with_suffix('')) for name in names]
        make_lmdb_from_imgs(folder, path, list(names), keys, map_size=1 << 24)
        capsys.readouterr()  # the host's progress bars
        return path

    return make


@pytest.fixture(scope='session')
def photograph() -> np.ndarray:
    """(300, 451, 3) float32, RGB, 0..1: scikit-image's cat."""
    from skimage import data

    return data.chelsea().astype(np.float32) / 255
