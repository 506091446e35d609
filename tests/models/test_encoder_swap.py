"""Another encoder is another `encoder_opt` and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.models import build_model

from tests.models.test_gsasr_model import batch, options

ENCODERS: list[dict[str, Any]] = [
    {'type': 'EDSR', 'num_feat': 8, 'num_block': 1},
    {'type': 'RDN', 'num_feat': 8, 'num_block': 2, 'num_layer': 2, 'num_grow_ch': 4},
    {'type': 'RDN', 'config': 'A', 'num_block': 1},
    {'type': 'SwinIR', 'window_size': 4, 'embed_dim': 12, 'depths': [2], 'num_heads': [2], 'mlp_ratio': 2},
    {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 1},
    {'type': 'RRDBNet', 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4},
    {'type': 'RCAN', 'num_feat': 16, 'num_group': 1, 'num_block': 1},
    {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2},
]


@pytest.mark.parametrize('encoder_opt', ENCODERS, ids=lambda opt: f'{opt["type"]}{opt.get("config", "")}')
def test_every_encoder_trains_a_step_and_tests(tmp_path: Path, encoder_opt: dict[str, Any]) -> None:
    opt = options(tmp_path)
    opt['network_g']['encoder_opt'] = dict(encoder_opt)
    torch.manual_seed(0)
    model = build_model(opt)
    before = [p.detach().clone() for p in model.net_g.encoder.parameters()]
    model.feed_data(batch())
    model.optimize_parameters(1)
    after = list(model.net_g.encoder.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(p.grad is not None for p in model.net_g.parameters())
    model.test()
    assert [tuple(image.shape) for image in model.output] == [(3, 8, 8), (3, 15, 15), (3, 32, 24)]
    assert all(image.isfinite().all() for image in model.output)
