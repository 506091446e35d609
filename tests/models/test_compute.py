"""How the model computes by option: half precision, layout in memory, compilation, checkpointing."""

from __future__ import annotations

import functools
import logging
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gsasr_plugin.models.compute import prepare
from tests.models.test_gsasr_model import batch, make_model


def result(folder: Path, **val: Any) -> list[torch.Tensor]:
    """What the averaged network gives for the batch, by the options of `val`."""
    model = make_model(folder)
    model.opt['val'] = val
    model.feed_data(batch())
    model.test()
    return model.output


def loss(folder: Path, **train: Any) -> float:
    """The loss after some steps by the options of `train`."""
    model = make_model(folder, **train)
    for iteration in range(1, 6):
        model.feed_data(batch())
        model.optimize_parameters(iteration)
    return float(model.get_current_log()['l_pix'])


@pytest.mark.parametrize(('name', 'bound'), [('bf16', 0.02), ('fp16', 0.003)])
def test_half_precision_is_near_and_drawn_in_float32(tmp_path: Path, name: str, bound: float) -> None:
    """Eight and eleven bits in the network; never equal, else nothing was switched on."""
    for exact, half in zip(result(tmp_path), result(tmp_path, autocast=name), strict=True):
        assert half.dtype == torch.float32
        difference = (half - exact).abs().max().item()
        assert 0 < difference < bound


@pytest.mark.parametrize('name', ['bf16', 'fp16'])
def test_training_in_half_precision(tmp_path: Path, name: str) -> None:
    assert loss(tmp_path, autocast=name) == pytest.approx(loss(tmp_path), rel=0.02)


def test_a_step_that_overflows_in_fp16_is_left_out(tmp_path: Path) -> None:
    model = make_model(tmp_path, autocast='fp16')
    before = [p.detach().clone() for p in model.net_g.parameters()]
    scale = model.scaler.get_scale()
    model.feed_data(batch())
    model.lq[0] = float('inf')
    model.optimize_parameters(1)
    assert model.scaler.get_scale() < scale
    assert all(torch.equal(p, q) for p, q in zip(model.net_g.parameters(), before, strict=True))


@pytest.mark.parametrize('train', [{'gradient_checkpointing': 'heads'}, {'gradient_checkpointing': 'decoder'}])
def test_checkpointing_trains_alike(tmp_path: Path, train: dict[str, Any]) -> None:
    assert loss(tmp_path, **train) == pytest.approx(loss(tmp_path), rel=1e-5)


@pytest.mark.parametrize(('parts', 'passes'), [(None, 1), ('heads', 1), ('decoder', 2)])
def test_checkpointing_computes_again(tmp_path: Path, parts: str | None, passes: int) -> None:
    """The results are the same with and without: what tells is how often the attention runs."""
    model = make_model(tmp_path, gradient_checkpointing=parts)
    assert model.net_g.decoder.primary_head.recompute == (parts is not None)
    attentions = [module for module in model.net_g.decoder.modules() if type(module).__name__ == 'WindowAttention']
    calls = []
    attentions[-1].register_forward_pre_hook(lambda *_: calls.append(1))
    model.feed_data(batch())
    model.optimize_parameters(1)
    assert len(calls) == passes


def test_channels_last_changes_the_layout_and_no_result(tmp_path: Path) -> None:
    model = make_model(tmp_path, channels_last=True)
    assert any(
        p.ndim == 4 and p.is_contiguous(memory_format=torch.channels_last) and not p.is_contiguous()
        for p in model.net_g.parameters()
    )
    assert loss(tmp_path, channels_last=True) == pytest.approx(loss(tmp_path), rel=1e-5)


@pytest.mark.slow
def test_compiled_parts_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With Dynamo's tracing, and without the minutes that the machine code takes."""
    monkeypatch.setattr(torch, 'compile', functools.partial(torch.compile, backend='eager'))
    assert loss(tmp_path, compile=True) == pytest.approx(loss(tmp_path), rel=1e-5)


def test_where_compiling_fails_the_log_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            raise RuntimeError('no compiler here')

        return call

    monkeypatch.setattr(torch, 'compile', broken)
    monkeypatch.setattr(logging.getLogger('basicsr'), 'propagate', True)
    assert loss(tmp_path, compile=True) == pytest.approx(loss(tmp_path), rel=1e-6)
    for part in ('encoder', 'decoder'):
        reason = 'could not be compiled, and runs as it is: RuntimeError: no compiler here'
        assert f'compile: the {part} {reason}' in caplog.messages
    assert sum('could not be compiled' in message for message in caplog.messages) == 2  # not at each step


def test_what_is_compiled_gets_all_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    class Part(nn.Module):
        def forward(self, x: int, *, factor: int) -> int:
            return factor * x

    compiled = []
    monkeypatch.setattr(torch, 'compile', lambda plain: lambda *args, **kwargs: compiled.append(plain(*args, **kwargs)))
    net = types.SimpleNamespace(encoder=Part(), decoder=Part())
    prepare(net, {'compile': True})
    assert net.encoder(2, factor=3) is None and net.decoder(5, factor=7) is None
    assert compiled == [6, 35]
