"""A training that is asked to stop: saved between steps, or between the images of a validation, and ended."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

from gsasr_plugin import stop_signals
from tests.models.test_gsasr_model import batch, make_model
from tests.models.validation.photos import photos


def saved(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.suffix in ('.pth', '.state'))


def test_a_step_does_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(tmp_path)
    model.update_learning_rate(1)
    model.feed_data(batch())
    model.optimize_parameters(1)
    monkeypatch.setattr(stop_signals, 'requested', lambda: signal.SIGTERM)
    rate = model.get_current_learning_rate()
    with pytest.raises(stop_signals.Stopped, match='saved at iteration 1; --auto_resume goes on') as stopped:
        model.update_learning_rate(2)
    assert stopped.value.signal_number == signal.SIGTERM and model.get_current_learning_rate() == rate
    assert saved(tmp_path) == ['models/net_g_1.pth', 'training_states/1.state']
    assert torch.load(tmp_path / 'training_states' / '1.state', weights_only=True)['iter'] == 1


def test_before_the_first_step_there_is_nothing_to_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(tmp_path)
    monkeypatch.setattr(stop_signals, 'requested', lambda: signal.SIGINT)
    with pytest.raises(stop_signals.Stopped, match='before the first iteration'):
        model.update_learning_rate(1)
    assert saved(tmp_path) == []


def test_a_validation_is_left_between_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only of a training: a test has nothing to save. Several processes agree on it at their next step."""
    model, loader = make_model(tmp_path), photos(tmp_path)
    model.opt['val'] = {}
    monkeypatch.setattr(stop_signals, 'requested', lambda: signal.SIGTERM)
    with pytest.raises(stop_signals.Stopped):
        model.validation(loader, 7, None, save_img=False)
    model.opt['dist'] = True
    model.feed_data(next(iter(loader)))
    model.test()
    model.opt['dist'] = model.is_train = False
    model.test()
    assert len(model.output) == 1


def test_processes_stop_by_what_they_have_agreed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that one of several processes has had says nothing before all know of it."""
    model = make_model(tmp_path)
    model.opt['dist'] = True
    monkeypatch.setattr(stop_signals, 'requested', lambda: signal.SIGTERM)
    model.update_learning_rate(1)
    model.stop_signal = int(signal.SIGTERM)
    with pytest.raises(stop_signals.Stopped):
        model.update_learning_rate(1)
    assert torch.tensor(model.get_current_learning_rate()).isfinite().all()
