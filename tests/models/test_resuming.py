"""A resumed training by changed options: rates to the last digit, settings, moments, and what the log says."""

from __future__ import annotations

import copy
import logging
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.models import build_model

from gsasr_plugin.run_errors import RunError
from tests.models.test_gsasr_model import batch, options

OPTIMIZER = {'type': 'Adam', 'lr': 1e-3, 'betas': [0.9, 0.99], 'weight_decay': 0}
SCHEDULER = {'type': 'MultiStepLR', 'milestones': [2, 4, 6], 'gamma': 0.5}


def model_by(folder: Path, state: dict[str, Any] | None = None, manual_seed: int = 3, **train: Any) -> Any:
    """A model, resumed from a state if there is one."""
    opt = options(folder, **{'optim_g': OPTIMIZER, 'scheduler': SCHEDULER, 'warmup_iter': -1, **train})
    opt = copy.deepcopy(opt) | {'manual_seed': manual_seed}
    if state is not None:
        opt['path']['pretrain_network_g'] = str(folder / 'models' / f'net_g_{state["iter"]}.pth')
    torch.manual_seed(0)
    model = build_model(opt)
    if state is not None:
        model.resume_training(copy.deepcopy(state))
    return model


def steps(model: Any, first: int, last: int) -> list[float]:
    """As the training loop goes; the rate of each step."""
    rates = []
    for iteration in range(first, last + 1):
        model.update_learning_rate(iteration, warmup_iter=model.opt['train'].get('warmup_iter', -1))
        model.feed_data(batch())
        model.optimize_parameters(iteration)
        rates += model.get_current_learning_rate()
    return rates


def saved(model: Any, folder: Path, iteration: int) -> dict[str, Any]:
    model.save(0, iteration)
    return torch.load(folder / 'training_states' / f'{iteration}.state', weights_only=True)


def moments(model: Any) -> list[torch.Tensor]:
    return [state['exp_avg'].clone() for state in model.optimizer_g.state_dict()['state'].values()]


# BasicSR steps its schedule before every step but the first: the step of iteration i has the rate of the epoch i - 1,
# and a milestone m counts from iteration m + 1 on.
CHANGED = {
    'optim_g': {'type': 'Adam', 'lr': 3e-3, 'betas': [0.8, 0.9], 'weight_decay': 0.25},
    'scheduler': {'type': 'MultiStepLR', 'milestones': [3, 5, 7], 'gamma': 0.1},
}
HALVED = 1e-3 * 0.5 * 0.5
TENTHS = [3e-3 * 0.1, 3e-3 * 0.1 * 0.1, 3e-3 * 0.1 * 0.1, 3e-3 * 0.1 * 0.1 * 0.1]


def test_without_restart_optimizer_and_schedule_are_the_states(tmp_path: Path) -> None:
    first = model_by(tmp_path)
    assert steps(first, 1, 4) == [1e-3, 1e-3, 1e-3 * 0.5, 1e-3 * 0.5]
    state = saved(first, tmp_path, 4)
    assert state['options']['manual_seed'] == 3
    resumed = model_by(tmp_path, state, manual_seed=4, **CHANGED)
    expected = [HALVED, HALVED, HALVED * 0.5, HALVED * 0.5]
    assert steps(resumed, 5, 8) == steps(first, 5, 8) == expected
    (group,) = resumed.optimizer_g.param_groups
    assert list(group['betas']) == [0.9, 0.99] and group['weight_decay'] == 0
    # The next state says so, and a run that is resumed from it goes on in the same way.
    again = saved(resumed, tmp_path, 8)
    assert again['options'] == state['options']


def test_with_restart_they_are_the_options(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = model_by(tmp_path)
    steps(first, 1, 4)
    state = saved(first, tmp_path, 4)
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter('error')
        patch.setattr(logging.getLogger('basicsr'), 'propagate', True)
        with caplog.at_level('INFO', logger='basicsr'):
            resumed = model_by(tmp_path, state, **CHANGED, restart_scheduler=True)
    text = 'train.restart_scheduler: optimizer settings and schedule are those of the options, with the learning rate '
    assert f'{text}0.0003 at iteration 4; moments of the gradients go on.' in caplog.messages
    assert 'train.optim_g.lr: 0.003 in the options, 0.001 in the training state: the options count' in caplog.messages
    assert all(torch.equal(a, b) for a, b in zip(moments(resumed), moments(first), strict=True))
    (group,) = resumed.optimizer_g.param_groups
    assert list(group['betas']) == [0.8, 0.9] and group['weight_decay'] == 0.25
    assert steps(resumed, 5, 8) == TENTHS

    # As if the options had been in force from the start; so an interruption changes nothing.
    other = model_by(tmp_path, **CHANGED)
    assert steps(other, 1, 8)[4:] == TENTHS
    state = saved(resumed, tmp_path, 8)
    assert state['options']['train']['optim_g'] == CHANGED['optim_g']
    again = model_by(tmp_path, state, **CHANGED, restart_scheduler=True)
    (one,), (two,) = again.schedulers, resumed.schedulers
    assert one.state_dict() == two.state_dict()
    assert steps(again, 9, 10) == steps(resumed, 9, 10)
    for a, b in zip(again.net_g.parameters(), resumed.net_g.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ('scheduler', 'expected'),
    [
        # Warming up by 1/10 of the rate with every step, which a restarted run is still doing at iteration 5.
        ({'type': 'MultiStepLR', 'milestones': [100], 'gamma': 0.1}, [3e-3 / 10 * 5, 3e-3 / 10 * 6]),
        (None, [1e-3 / 10 * 5, 1e-3 / 10 * 6]),
    ],
)
def test_warming_up_goes_on(tmp_path: Path, scheduler: dict[str, Any] | None, expected: list[float]) -> None:
    first = model_by(tmp_path, warmup_iter=10)
    steps(first, 1, 4)
    state = saved(first, tmp_path, 4)
    changed = {} if scheduler is None else {'optim_g': {'type': 'Adam', 'lr': 3e-3}, 'scheduler': scheduler}
    resumed = model_by(tmp_path, state, **changed, warmup_iter=10, restart_scheduler=scheduler is not None)
    assert steps(resumed, 5, 6) == expected


def test_another_optimizer_and_schedule_start_with_their_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = model_by(tmp_path)
    steps(first, 1, 4)
    state = saved(first, tmp_path, 4)
    monkeypatch.setattr(logging.getLogger('basicsr'), 'propagate', True)
    sgd = {'type': 'SGD', 'lr': 0.5, 'momentum': 0.5}
    cosine = {'type': 'CosineAnnealingRestartLR', 'periods': [10], 'restart_weights': [1], 'eta_min': 0.0}
    with caplog.at_level('INFO', logger='basicsr'):
        resumed = model_by(tmp_path, state, optim_g=sgd, scheduler=cosine, restart_scheduler=True)
    assert 'the optimizer is another, its moments start anew' in caplog.text
    rates = steps(resumed, 5, 6)
    # 0.5 lr (1 + cos(pi epoch / period)), of the epochs 4 and 5; float64 rounds in another order here.
    cosines = torch.cos(torch.pi * torch.tensor([4.0, 5.0], dtype=torch.float64) / 10)
    assert rates == pytest.approx((0.25 * (1 + cosines)).tolist(), rel=1e-14)
    assert all(parameter.isfinite().all() for parameter in resumed.net_g.parameters())


def test_a_state_without_options_goes_on_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = model_by(tmp_path)
    steps(first, 1, 4)
    state = saved(first, tmp_path, 4)
    del state['options']
    monkeypatch.setattr(logging.getLogger('basicsr'), 'propagate', True)
    with caplog.at_level('INFO', logger='basicsr'):
        resumed = model_by(tmp_path, state, **CHANGED)
    assert 'The training state does not say by which options it was trained' in caplog.text
    assert steps(resumed, 5, 5) == [HALVED]
    assert steps(model_by(tmp_path, state, **CHANGED, restart_scheduler=True), 5, 5) == TENTHS[:1]


@pytest.mark.parametrize(
    ('changed', 'key'),
    [
        ({'optim_g': {'type': 'SGD', 'lr': 0.5, 'momentum': 0.5}}, 'optim_g'),
        ({'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [10], 'eta_min': 0.0}}, 'scheduler'),
    ],
)
def test_of_a_state_without_options_the_types_are_told_by_what_it_keeps(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, Any],
    key: str,
) -> None:
    first = model_by(tmp_path)
    steps(first, 1, 4)
    state = saved(first, tmp_path, 4)
    del state['options']
    message = rf'train\.{key}\.type: {changed[key]["type"]}, but .* of another type; train\.restart_scheduler: true'
    with pytest.raises(RunError, match=message):
        model_by(tmp_path, state, **changed)
    monkeypatch.setattr(logging.getLogger('basicsr'), 'propagate', True)
    with caplog.at_level('INFO', logger='basicsr'):
        resumed = model_by(tmp_path, state, **changed, restart_scheduler=True)
    assert ('its moments start anew' in caplog.text) == (key == 'optim_g')
    assert any('exp_avg' in kept for kept in resumed.optimizer_g.state.values()) != (key == 'optim_g')
    steps(resumed, 5, 6)
