"""Options that have changed when a run is resumed: what counts, what is said, and what cannot go on."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from gsasr_plugin.archs.gsasr_arch import GSASR
from gsasr_plugin.checkpoints.model_file import save_model
from gsasr_plugin.checkpoints.resumed_options import (
    OPTIONS,
    check_resumable,
    merge_options,
    options_in_force,
    remembers_alike,
)
from gsasr_plugin.run_errors import RunError
from tests.run_options import gsasr_run

EDSR = {'type': 'EDSR', 'num_feat': 8, 'num_block': 1}
STATE = {'epoch': 2, 'iter': 30, 'position': 8, 'random': []}


def options(**train: Any) -> dict[str, Any]:
    opt = gsasr_run(dict(EDSR))
    opt['train'] |= {'total_iter': 40, **train}
    opt['manual_seed'] = 3
    return opt


def state(**train: Any) -> dict[str, Any]:
    return {**STATE, OPTIONS: options_in_force(options(**train))}


def test_what_is_stored_is_a_copy_that_a_checkpoint_can_hold(tmp_path: Path) -> None:
    opt = options()
    held = options_in_force(opt)
    expected = {key: copy.deepcopy(opt[key]) for key in ('network_g', 'train', 'manual_seed')}
    expected['datasets'] = {'train': copy.deepcopy(opt['datasets']['train'])}
    opt['train']['optim_g'].pop('type')  # as BasicSR does
    opt['network_g']['encoder_opt']['num_feat'] = 9
    assert held == expected
    torch.save(held, tmp_path / 'held')
    assert torch.load(tmp_path / 'held', weights_only=True) == expected


def test_the_same_options_go_on_without_a_word() -> None:
    same = options(scheduler={'type': 'MultiStepLR', 'milestones': (100,), 'gamma': 0.5})  # a tuple for a list
    assert check_resumable(same, state(), Path('30.state')) == {
        'epoch': 2,
        'iter': 30,
        'position': 8,
        'manual_seed': 3,
    }
    merged, lines = merge_options(options_in_force(same), state())
    assert merged == options_in_force(options()) and not lines


@pytest.mark.parametrize('restart', [False, True])
def test_each_difference_has_a_line_and_a_verdict(restart: bool) -> None:
    opt = options(
        optim_g={'type': 'Adam', 'lr': 0.002, 'weight_decay': 0, 'betas': [0.9, 0.999], 'eps': 1e-9},
        scheduler={'type': 'MultiStepRestartLR', 'milestones': [100], 'gamma': 0.1},
        total_iter=50,
        restart_scheduler=restart,
    )
    del opt['train']['warmup_iter']
    opt['network_g']['support'] = 3
    opt['datasets']['train']['batch_size_per_gpu'] = 4
    opt['manual_seed'] = 7
    assert check_resumable(opt, state(), Path('30.state'))['manual_seed'] == 3
    merged, lines = merge_options(options_in_force(opt), state())
    ours = (
        'the options count' if restart else 'the training state counts (with train.restart_scheduler: true the options)'
    )
    expected = [
        'network_g.support: 3 in the options, nothing in the training state: the options count',
        f'train.optim_g.lr: 0.002 in the options, 0.001 in the training state: {ours}',
        f'train.optim_g.betas: [0.9, 0.999] in the options, [0.9, 0.99] in the training state: {ours}',
        f'train.optim_g.eps: 1e-09 in the options, nothing in the training state: {ours}',
        f'train.scheduler.type: MultiStepRestartLR in the options, MultiStepLR in the training state: {ours}',
        f'train.scheduler.gamma: 0.1 in the options, 0.5 in the training state: {ours}',
        'train.total_iter: 50 in the options, 40 in the training state: the options count',
        'train.warmup_iter: nothing in the options, -1 in the training state: the options count',
        'datasets.train.batch_size_per_gpu: 4 in the options, 2 in the training state: the options count',
        "manual_seed: the training state's, 3, counts, and not 7",
    ]
    assert sorted(lines) == sorted(expected)
    # The next training state says what was in force.
    in_force = options_in_force(opt) | {'manual_seed': 3}
    if not restart:
        then = options_in_force(options())
        in_force['train'] |= {key: then['train'][key] for key in ('optim_g', 'scheduler')}
    assert merged == in_force


def test_a_passed_total_iter_is_an_error() -> None:
    check_resumable(options(total_iter=30), state(), Path('30.state'))  # a finished run may be called again
    with pytest.raises(RunError, match=r'train\.total_iter: 29, but the run has 30 iterations already \(30\.state\)'):
        check_resumable(options(total_iter=29), state(), Path('30.state'))
    basicsr = {'epoch': 2, 'iter': 30}
    with pytest.raises(RunError, match=r'train\.total_iter: 29'):
        check_resumable({'network_g': {}, 'path': {}, 'train': {'total_iter': 29}}, basicsr, Path('30.state'))


def test_another_network_is_an_error_that_names_its_options() -> None:
    opt = options()
    opt['network_g'] |= {'embed_dim': 16, 'raster_ratio': 0.2}
    opt['network_g']['encoder_opt'] = {**EDSR, 'num_block': 2}
    with pytest.raises(RunError) as error:
        check_resumable(opt, state(), Path('30.state'))
    assert str(error.value).splitlines() == [
        '30.state is of another network than network_g describes:',
        '  encoder_opt.num_block: 2 in network_g, 1 in the checkpoint',
        '  embed_dim: 16 in network_g, 8 in the checkpoint',
    ]
    opt['network_g'] = EDSR
    with pytest.raises(RunError, match='type: EDSR in network_g, GSASR in the checkpoint'):
        check_resumable(opt, state(), Path('30.state'))
    opt['path']['ignore_resume_networks'] = ['network_g']
    check_resumable(opt, state(), Path('30.state'))


@pytest.mark.parametrize(
    ('section', 'options_now', 'message'),
    [
        ('optim_g', {'type': 'SGD', 'lr': 0.1}, r'train\.optim_g\.type: SGD, but 30\.state is of Adam; .*restart_'),
        (
            'scheduler',
            {'type': 'CosineAnnealingRestartLR', 'periods': [40]},
            r'train\.scheduler\.type: Cosine\w+, but 30\.state is of MultiStepLR; .*restart_scheduler: true takes',
        ),
    ],
)
def test_optimizer_and_schedule_of_another_type_have_to_be_restarted(
    section: str, options_now: dict[str, Any], message: str
) -> None:
    with pytest.raises(RunError, match=message):
        check_resumable(options(**{section: options_now}), state(), Path('30.state'))
    check_resumable(options(**{section: options_now}, restart_scheduler=True), state(), Path('30.state'))


def test_a_state_of_an_older_version_goes_on_with_its_data() -> None:
    opt = options()
    opt['datasets']['train']['dataset_enlarge_ratio'] = 1.5
    opt['path'] |= {'models': '.', 'ignore_resume_networks': ['network_g']}
    assert check_resumable(opt, STATE, Path('30.state'))['manual_seed'] == 0
    merged, lines = merge_options(options_in_force(opt), STATE)
    assert merged == options_in_force(opt) | {'manual_seed': 0}
    assert [line.split(':')[0] for line in lines] == [
        'The training state does not say by which options it was trained',
        'manual_seed',
        'dataset_enlarge_ratio is no whole number',
    ]
    basicsr = {key: value for key, value in STATE.items() if key != 'random'}
    assert check_resumable(opt, basicsr, Path('30.state'))['manual_seed'] is None
    merged, lines = merge_options(options_in_force(opt), basicsr)
    assert merged['manual_seed'] == 3 and len(lines) == 1


def test_the_network_of_an_older_state_describes_itself(tmp_path: Path) -> None:
    opt = options()
    opt['path']['models'] = str(tmp_path)
    with pytest.raises(RunError, match=r'net_g_30\.pth'):
        check_resumable(opt, STATE, Path('30.state'))
    section = {key: value for key, value in opt['network_g'].items() if key != 'type'}
    net = GSASR(**{**section, 'embed_dim': 16})
    save_model(net, tmp_path / 'net_g_30.pth')
    with pytest.raises(RunError, match=r'of another network .*\n  embed_dim: 8 in network_g, 16 in the checkpoint'):
        check_resumable(opt, STATE, Path('30.state'))
    torch.save({'params': net.state_dict()}, tmp_path / 'net_g_30.pth')  # says nothing
    check_resumable(opt, STATE, Path('30.state'))
    # A network of BasicSR's says nothing either, and its file is not read.
    (tmp_path / 'net_g_30.pth').unlink()
    check_resumable({**opt, 'network_g': EDSR}, STATE, Path('30.state'))


@pytest.mark.parametrize(
    ('now', 'then', 'alike'),
    [
        ({'type': 'Adam', 'lr': 1}, {'type': 'Adam', 'lr': 2, 'betas': [0, 0]}, True),
        ({'type': 'AdamW', 'lr': 1}, {'type': 'Adam', 'lr': 2}, True),
        ({'type': 'SGD', 'lr': 1}, {'type': 'Adam', 'lr': 1}, False),
        ({'type': 'Adam', 'lr': 1, 'amsgrad': True}, {'type': 'Adam', 'lr': 1}, False),
        ({'type': 'RMSprop', 'lr': 1, 'momentum': 0.9}, {'type': 'RMSprop', 'lr': 1}, False),
        ({'type': 'RMSprop', 'lr': 1}, {'type': 'RMSprop', 'lr': 1, 'centered': True}, False),
    ],
)
def test_moments_go_on_where_they_mean_the_same(now: dict[str, Any], then: dict[str, Any], alike: bool) -> None:
    given, stored = ({'train': {'optim_g': section}} for section in (now, then))
    assert remembers_alike(given, stored) is alike
    assert remembers_alike(given, None)


def test_a_discriminator_goes_on_as_the_rest_and_is_not_made_up() -> None:
    optim_d = {'type': 'Adam', 'lr': 1e-4}
    now, then = options(optim_d={**optim_d, 'lr': 2e-4}), state(optim_d=optim_d)
    check_resumable(now, then, Path('30.state'))
    merged, lines = merge_options(options_in_force(now), then)
    assert merged['train']['optim_d'] == optim_d
    assert lines == [
        'train.optim_d.lr: 0.0002 in the options, 0.0001 in the training state: the training state counts '
        '(with train.restart_scheduler: true the options)'
    ]
    assert remembers_alike(options_in_force(now), then[OPTIONS])
    other = options(optim_d={**optim_d, 'amsgrad': True})
    assert not remembers_alike(options_in_force(other), then[OPTIONS])
    with pytest.raises(RunError, match=r'train\.optim_d\.type: SGD, but 30\.state is of Adam'):
        check_resumable(options(optim_d={'type': 'SGD', 'lr': 1}), then, Path('30.state'))
    with pytest.raises(RunError, match=r'with optim_g and optim_d, this one has optim_g: path\.pretrain_network_g'):
        check_resumable(options(), then, Path('30.state'))
    with pytest.raises(RunError, match='with optim_g, this one has optim_g and optim_d'):
        check_resumable(now, state(), Path('30.state'))
