"""A network that draws a bicubic enlargement before it has learnt anything, in memory and in a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gsasr_plugin.archs import GSASR
from gsasr_plugin.checkpoints.model_file import save_model


@pytest.fixture(scope='session')
def net() -> GSASR:
    torch.manual_seed(0)
    return GSASR(
        encoder_opt={'type': 'EDSR', 'num_feat': 8, 'num_block': 1},
        embed_dim=8,
        num_heads=2,
        window_size=4,
        num_injection_layers=1,
        num_interaction_blocks=1,
        num_interaction_layers=1,
        gaussian_density=4,
        relative_colors=True,
        initial_sigma=0.3,
        feature_skip=True,
    ).eval()


@pytest.fixture(scope='session')
def model_file(tmp_path_factory: pytest.TempPathFactory, net: GSASR) -> Path:
    path = tmp_path_factory.mktemp('models') / 'tiny.safetensors'
    save_model(net, path)
    return path
