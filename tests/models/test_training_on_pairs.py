"""A network trained on pairs is the one trained on the same data made on the fly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gsasr_plugin.run_errors import RunError
from tests.models.test_gsasr_model import batch, make_model, options

# isort: split
from basicsr.models import build_model


def trained(folder: Path, grids: torch.Tensor | None, **train: Any) -> list[torch.Tensor]:
    model = make_model(folder, **train)
    data = batch() | ({} if grids is None else {'grid': grids})
    for iteration in range(1, 13):
        model.feed_data(data)
        model.optimize_parameters(iteration)
    return list(model.net_g.state_dict().values())


def test_a_grid_that_says_what_the_sizes_say_changes_nothing(tmp_path: Path) -> None:
    grids = torch.tensor([[[1, 1], [0, 0]], [[15 / 8, 15 / 8], [0, 0]], [[4, 3], [0, 0]]], dtype=torch.float64)
    plain = trained(tmp_path, None)
    assert all(torch.equal(a, b) for a, b in zip(plain, trained(tmp_path, grids)))
    # Another scale is another training: the grids reach the network, of each part of a batch its own.
    grids[2, 0, 1], grids[1, 1, 0] = 2.9, 0.3
    other, in_parts = trained(tmp_path, grids), trained(tmp_path, grids, accumulate=3)
    assert not all(torch.equal(a, b) for a, b in zip(plain, other))
    for a, b in zip(other, in_parts):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_consistency_is_refused_before_training(tmp_path: Path) -> None:
    opt = options(tmp_path)
    opt['network_g'] |= {'consistency': 1}
    opt['datasets'] = {'train': {'dataroot_gt': 'gt', 'dataroot_lq': 'lq'}}
    with pytest.raises(RunError, match=r'datasets\.train\.dataroot_lq.*set network_g\.consistency: 0'):
        build_model(opt)
