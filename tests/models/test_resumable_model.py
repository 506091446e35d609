"""What a training leaves on the disk and takes up again, call by call; tests/test_resume.py kills whole runs."""

from __future__ import annotations

import copy
import logging
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from basicsr.models import build_model

from gsasr_plugin.checkpoints.model_file import DESCRIPTION
from gsasr_plugin.models.random_states import random_states, restore_random_states
from gsasr_plugin.run_errors import RunError
from tests.models.test_gsasr_model import make_model, options
from tests.models.test_training_steps import drawn_batch, step
from tests.training_runs import same


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def resumed_from(folder: Path, iteration: int, **train: Any) -> Any:
    """Another model that goes on; the generators are somewhere else when it is made."""
    opt = copy.deepcopy(options(folder, **train))
    opt['path']['pretrain_network_g'] = str(folder / 'models' / f'net_g_{iteration}.pth')
    torch.manual_seed(99)
    model = build_model(opt)
    model.resume_training(load(folder / 'training_states' / f'{iteration}.state'))
    return model


def test_a_checkpoint_holds_both_networks_and_all_of_the_training(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    step(model, 1, drawn_batch())
    before = random_states()
    model.save(5, 1)
    assert files(tmp_path) == ['models/net_g_1.pth', 'training_states/1.state']
    held = load(tmp_path / 'models' / 'net_g_1.pth')
    assert list(held) == ['params', 'params_ema', DESCRIPTION]
    assert same(held['params'], dict(model.net_g.state_dict()))
    assert same(held['params_ema'], dict(model.net_g_ema.state_dict()))
    assert not same(held['params'], held['params_ema'])
    state = load(tmp_path / 'training_states' / '1.state')
    assert (state['epoch'], state['iter'], state['position'], state['validated']) == (5, 1, 12, True)
    assert same(state['optimizers'], [model.optimizer_g.state_dict()])
    assert state['schedulers'][0]['last_epoch'] == model.schedulers[0].last_epoch
    assert len(state['random']) == 1 and torch.equal(state['random'][0]['torch'], before['torch'])
    assert model.saved_iteration == 1


def test_a_resumed_model_is_where_the_first_one_was(tmp_path: Path) -> None:
    first = make_model(tmp_path, autocast='fp16')
    step(first, 1, drawn_batch())
    first.scaler.update(512.0)
    first.best_metric_results = {'photos': {'psnr': {'better': 'higher', 'val': 30.5, 'iter': 1}}}
    first.best.value, first.best.iteration = 30.5, 1
    first.save(2, 1)
    drawn = torch.rand(3), np.random.rand(3), random.random()
    model = resumed_from(tmp_path, 1, autocast='fp16')
    assert (model.iteration, model.saved_iteration, model.epoch, model.position) == (1, 1, 2, 12)
    assert model.best_metric_results == first.best_metric_results
    assert model.best.state_dict() == first.best.state_dict() == {'metric': None, 'value': 30.5, 'iteration': 1}
    assert model.scaler.get_scale() == 512.0
    again = torch.rand(3), np.random.rand(3), random.random()
    assert torch.equal(drawn[0], again[0]) and np.array_equal(drawn[1], again[1]) and drawn[2] == again[2]
    assert all(same(dict(getattr(model, n).state_dict()), dict(getattr(first, n).state_dict())) for n in NETS)


NETS = ('net_g', 'net_g_ema')


def test_a_state_of_basicsrs_own_has_less(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = make_model(tmp_path)
    step(first, 1, drawn_batch())
    first.save(2, 1)
    state = load(tmp_path / 'training_states' / '1.state')
    model = make_model(tmp_path)
    with caplog.at_level(logging.WARNING, logger='basicsr'):
        model.resume_training({key: state[key] for key in ('epoch', 'iter', 'optimizers', 'schedulers')})
    assert (model.iteration, model.saved_iteration, model.epoch, model.position) == (1, 1, 2, None)
    assert model.best_metric_results == {}
    assert model.best.state_dict() == {'metric': None, 'value': None, 'iteration': 0}
    assert same(model.optimizer_g.state_dict(), state['optimizers'][0])
    assert 'has the random generators of 0 processes, this run has 1: they start anew' in caplog.text


def test_the_end_of_a_run_saves_its_last_step_once(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    for iteration in (1, 2):
        step(model, iteration, drawn_batch())
    model.save(-1, -1)
    assert files(tmp_path) == ['models/net_g_2.pth', 'models/net_g_latest.pth', 'training_states/2.state']
    assert load(tmp_path / 'training_states' / '2.state')['epoch'] == 2  # of the batch
    assert same(load(tmp_path / 'models' / 'net_g_latest.pth'), load(tmp_path / 'models' / 'net_g_2.pth'))
    (tmp_path / 'models' / 'net_g_2.pth').unlink()
    model.save(-1, -1)  # the last step is saved already
    assert files(tmp_path) == ['models/net_g_latest.pth', 'training_states/2.state']


def test_another_process_writes_nothing(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    model.opt['rank'] = 1
    step(model, 1, drawn_batch())
    model.save(0, 1)
    model.save_network(model.net_g, 'net_g', 'best')
    assert files(tmp_path) == [] and model.saved_iteration == 1


def test_the_generators_of_all_processes_are_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(tmp_path)
    step(model, 1, drawn_batch())
    model.opt.update(dist=True, world_size=2)
    gathered: list[Any] = []

    def gather_object(own: Any, all_of_them: list[Any] | None) -> None:
        gathered.append(all_of_them is None)
        if all_of_them is not None:
            assert len(all_of_them) == 2
            all_of_them[:] = [own, 'of the other']

    monkeypatch.setattr(torch.distributed, 'gather_object', gather_object)
    expected = random_states()
    model.save(0, 1)
    state = load(tmp_path / 'training_states' / '1.state')
    assert same(state['random'], [expected, 'of the other'])
    model.opt['rank'] = 1
    model.save(0, 2)
    assert gathered == [False, True]


def test_the_last_checkpoints_stay(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    model.opt['logger'] = {'keep_last': 2}
    for iteration in (1, 2, 3):
        model.save(0, iteration)
    names = [f'models/net_g_{n}.pth' for n in (2, 3)] + [f'training_states/{n}.state' for n in (2, 3)]
    assert files(tmp_path) == names
    model.save(-1, -1)
    assert files(tmp_path) == sorted([*names, 'models/net_g_latest.pth'])


@pytest.mark.parametrize('ema_decay', [0, 0.9])
def test_the_best_network_is_kept(tmp_path: Path, ema_decay: float) -> None:
    opt = options(tmp_path, ema_decay=ema_decay)
    opt['val'] = {'keep_best': 'psnr', 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}}
    opt['datasets'] = {'train': {}, 'val': {}}
    model = build_model(copy.deepcopy(opt))
    best = tmp_path / 'models' / 'net_g_best.pth'
    model.best.add('psnr', 30.0, 2)
    model._keep_best(2)  # its data set is not validated yet
    assert not best.exists()
    model.validated.add((1, 2))
    model._keep_best(2)
    held = load(best)
    keys = ['params', 'params_ema'] if ema_decay else ['params']
    assert list(held) == [*keys, DESCRIPTION]
    for key, net in zip(keys, NETS):
        assert same(held[key], dict(getattr(model, net).state_dict()))
    best.unlink()
    for value, iteration in ((29.0, 4), (31.0, 6)):
        model.best.add('psnr', value, iteration)
        model.validated.add((1, iteration))
        model._keep_best(iteration)
        assert best.exists() == (value > 30)
    # What was the best so far is in the training state.
    model.save(0, 6)
    assert load(tmp_path / 'training_states' / '6.state')['best'] == {'metric': 'psnr', 'value': 31.0, 'iteration': 6}


def test_without_keep_best_there_is_no_best(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    model.validated.add((1, 2))
    model._keep_best(2)
    assert files(tmp_path) == []


def test_a_better_may_be_lower(tmp_path: Path) -> None:
    opt = options(tmp_path)
    metric = {'type': 'calculate_niqe', 'better': 'lower', 'crop_border': 0}
    opt['val'] = {'keep_best': 'niqe', 'metrics': {'niqe': metric}}
    model = build_model(copy.deepcopy(opt))
    assert (model.best.metric, model.best.better) == ('niqe', 'lower')


def test_the_state_knows_what_is_validated(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    model.opt['datasets'] = {'train': {}, 'val_1': {}, 'val_2': {}}
    model.validated = {(1, 2), (2, 2), (1, 4)}
    for iteration, validated in ((2, True), (4, False), (6, False)):
        model.save(0, iteration)
        assert load(tmp_path / 'training_states' / f'{iteration}.state')['validated'] is validated


def test_generators_of_other_processes_start_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(tmp_path)
    step(model, 1, drawn_batch())
    model.save(0, 1)
    path = tmp_path / 'training_states' / '1.state'
    state = load(path)
    torch.save({**state, 'random': state['random'] * 2}, path)
    monkeypatch.setattr(logging.getLogger('basicsr'), 'propagate', True)
    with caplog.at_level('WARNING', logger='basicsr'):
        resumed_from(tmp_path, 1)
    assert 'random generators of 2 processes, this run has 1: they start anew' in caplog.text
    assert not torch.equal(torch.get_rng_state(), state['random'][0]['torch'])


def test_of_two_processes_each_takes_its_generators(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    step(model, 1, drawn_batch())
    model.save(0, 1)
    state = load(tmp_path / 'training_states' / '1.state')
    torch.manual_seed(5)
    state['random'].append(random_states())
    expected = torch.rand(2)
    model.opt |= {'world_size': 2, 'rank': 1}
    model.resume_training(state)
    assert torch.equal(torch.rand(2), expected)


def test_all_generators_go_on() -> None:
    random.gauss(0, 1), np.random.standard_normal()  # both keep a second value
    states = random_states()
    drawn = [random.gauss(0, 1), random.random(), np.random.standard_normal(), np.random.rand(), torch.rand(1).item()]
    restore_random_states(states)
    again = [random.gauss(0, 1), random.random(), np.random.standard_normal(), np.random.rand(), torch.rand(1).item()]
    assert drawn == again


def test_weights_come_from_the_key_that_is_asked_for(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    step(model, 1, drawn_batch())
    model.save(0, 1)
    path = str(tmp_path / 'models' / 'net_g_1.pth')
    other = make_model(tmp_path)
    for key, net in (('params', model.net_g), ('params_ema', model.net_g_ema), ('absent', model.net_g)):
        other.load_network(other.net_g, path, True, key)
        assert same(dict(other.net_g.state_dict()), dict(net.state_dict()))


def test_another_networks_weights_are_refused_or_taken_where_they_fit(tmp_path: Path) -> None:
    opt = options(tmp_path)
    opt['network_g']['num_interaction_blocks'] = 2
    larger = build_model(copy.deepcopy(opt))
    larger.save(0, 1)
    path = os.path.join(tmp_path, 'models', 'net_g_1.pth')
    model = make_model(tmp_path)
    with pytest.raises(RunError, match='num_interaction_blocks: 1 in network_g, 2 in the checkpoint'):
        model.load_network(model.net_g, path)
    model.load_network(model.net_g, path, strict=False)
    theirs = larger.net_g.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in model.net_g.state_dict().items())


def test_networks_of_others_are_loaded_by_basicsr(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    stored = {key: {'weight': torch.full((2, 2), value)} for key, value in (('params', 1.0), ('params_ema', 2.0))}
    torch.save(stored, tmp_path / 'other.pth')
    for key, value in (('params', 1.0), ('params_ema', 2.0)):
        net = torch.nn.Linear(2, 2, bias=False)
        model.load_network(net, str(tmp_path / 'other.pth'), True, key)
        assert (net.weight == value).all()
    net = torch.nn.Linear(2, 2)
    with pytest.raises(RuntimeError, match='bias'):
        model.load_network(net, str(tmp_path / 'other.pth'), True, 'params_ema')
    model.load_network(net, str(tmp_path / 'other.pth'), False, 'params_ema')
    assert (net.weight == 2).all()
