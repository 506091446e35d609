"""A training that is killed at any moment and goes on is the one that was never killed; signals stop it in order."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from gsasr_plugin.upscaling.visuals.curves import read_values
from tests.training_runs import (
    checkpoint,
    make_project,
    run_training,
    same,
    saved_iterations,
    with_discriminator,
    with_pairs,
    write_options,
)


def losses(*outputs: str, pattern: str = r'(l_pix: \S+ grad_norm: \S+)') -> dict[int, str]:
    """What runs have printed of each iteration's loss and learning rate; a repeated one has to print the same."""
    found: dict[int, str] = {}
    for line in '\n'.join(outputs).splitlines():
        match = re.search(rf'iter:\s*([\d,]+), lr:\((.*?),\)\].* {pattern}', line)
        if match:
            values = f'{match[2]} {match[3]}'
            assert found.setdefault(int(match[1]), values) == values
    return found


def saving(folder: Path, key: str, *, after: int, size: int) -> Callable[[], bool]:
    """Whether a later checkpoint than `after` is just being written, and a file of it has at least `size` bytes."""
    run = folder / 'experiments' / 'run'

    def check() -> bool:
        if max(saved_iterations(folder), default=0) < after:
            return False
        try:
            return any(unfinished.stat().st_size >= size for unfinished in (run / key).glob('.unfinished_*'))
        except FileNotFoundError:  # gone while we looked
            return False

    return check


@pytest.mark.slow
def test_killed_at_any_moment_it_is_the_run_that_was_never_killed(tmp_path: Path) -> None:
    options = make_project(tmp_path / 'whole')
    write_options(options, tmp_path / 'whole')
    status, whole_output = run_training(tmp_path / 'whole', 'train', '-opt', 'train.yml')
    assert status == 0, whole_output[-3000:]
    assert saved_iterations(tmp_path / 'whole') == list(range(3, 25, 3))

    killed = tmp_path / 'killed'
    options = make_project(killed)
    options['datasets']['train']['num_worker_per_gpu'] = 1  # makes no difference
    write_options(options, killed)
    log = killed / 'output.txt'
    moments = [
        lambda: 'Start training' in log.read_text(),
        lambda: 'iter:       5' in log.read_text(),
        saving(killed, 'models', after=3, size=0),
        saving(killed, 'models', after=6, size=1),
        saving(killed, 'training_states', after=9, size=1),
        lambda: 18 in saved_iterations(killed),
        lambda: 'iter:      23' in log.read_text(),
    ]
    outputs = []
    for moment in moments:
        status, output = run_training(
            killed, 'train', '-opt', 'train.yml', '--auto_resume', until=moment, signal_number=signal.SIGKILL
        )
        assert status == -signal.SIGKILL, output[-3000:]
        outputs.append(output)
    status, output = run_training(killed, 'train', '-opt', 'train.yml', '--auto_resume')
    assert status == 0, output[-3000:]
    assert losses(*outputs, output) == losses(whole_output)
    assert list(losses(whole_output)) == list(range(1, 25))
    for part, expected in zip(checkpoint(killed, 24), checkpoint(tmp_path / 'whole', 24), strict=True):
        if 'options' in part:
            assert part['options']['datasets']['train'].pop('num_worker_per_gpu') == 1
            assert expected['options']['datasets']['train'].pop('num_worker_per_gpu') == 0
        for key in expected:
            assert key == 'networks' or same(part[key], expected[key]), key
    assert not list(killed.rglob('.unfinished_*'))


@pytest.mark.slow
def test_degraded_samples_go_on_where_a_run_was_killed(tmp_path: Path) -> None:
    """Losses and weights are those of the whole run; the first batches after each start are shown."""
    found: dict[str, dict[int, str]] = {}
    for name in ('whole', 'killed'):
        folder = tmp_path / name
        options = make_project(folder)
        degradation = {'preset': 'real_esrgan', 'clean_prob': 0.2, 'gt_usm': False}
        options['datasets']['train'] |= {'degradation': degradation, 'num_worker_per_gpu': int(name == 'killed')}
        options['train']['total_iter'] = 12
        options['logger']['batch_grids'] = 2
        write_options(options, folder)
        outputs = []
        if name == 'killed':
            log = folder / 'output.txt'
            status, output = run_training(
                folder,
                *('train', '-opt', 'train.yml'),
                until=lambda log=log: 'iter:       8' in log.read_text(),
                signal_number=signal.SIGKILL,
            )
            assert status == -signal.SIGKILL, output[-3000:]
            outputs.append(output)
        status, output = run_training(folder, 'train', '-opt', 'train.yml', '--auto_resume')
        assert status == 0, output[-3000:]
        found[name] = losses(*outputs, output)
    assert found['whole'] == found['killed'] and list(found['whole']) == list(range(1, 13))
    whole, killed = (checkpoint(tmp_path / name, 12) for name in ('whole', 'killed'))
    assert same(whole[0]['params'], killed[0]['params']) and same(whole[0]['params_ema'], killed[0]['params_ema'])
    shown = {
        name: {path.stem for path in (tmp_path / name).glob('experiments/run/visualization/batches/*.png')}
        for name in ('whole', 'killed')
    }
    assert shown['whole'] == {'1', '2'} < shown['killed'] and len(shown['killed']) == 4


@pytest.mark.slow
def test_both_networks_go_on_where_a_run_was_killed(tmp_path: Path) -> None:
    """Losses, weights, averages, optimizers and schedules are those of the whole run, on pairs among other images."""
    outputs: dict[str, list[str]] = {'whole': [], 'killed': []}
    for name in outputs:
        folder = tmp_path / name
        write_options(with_pairs(with_discriminator(make_project(folder)), folder), folder)
        log = folder / 'output.txt'
        moments = [lambda log=log: 'iter:       5' in log.read_text(), saving(folder, 'models', after=6, size=1)]
        for moment in moments if name == 'killed' else []:
            status, output = run_training(
                folder, 'train', '-opt', 'train.yml', '--auto_resume', until=moment, signal_number=signal.SIGKILL
            )
            assert status == -signal.SIGKILL, output[-3000:]
            outputs[name].append(output)
        status, output = run_training(folder, 'train', '-opt', 'train.yml', '--auto_resume')
        assert status == 0, output[-3000:]
        outputs[name].append(output)
    pattern = r'(l_pix: .* grad_norm: \S+ grad_norm_d: \S+)'
    found = {name: losses(*texts, pattern=pattern) for name, texts in outputs.items()}
    assert found['whole'] == found['killed'] and list(found['whole']) == [2, 4, 6, 8, 10, 12]
    for folder in ('whole', 'killed'):
        models = tmp_path / folder / 'experiments' / 'run' / 'models'
        assert {path.stem for path in models.iterdir()} >= {'net_g_12', 'net_d_12', 'net_g_latest', 'net_d_latest'}
    for part, expected in zip(checkpoint(tmp_path / 'killed', 12), checkpoint(tmp_path / 'whole', 12), strict=True):
        for key in expected:
            assert key == 'networks' or same(part[key], expected[key]), key
    nets = [
        torch.load(tmp_path / name / 'experiments' / 'run' / 'models' / 'net_d_12.pth', weights_only=True)
        for name in ('whole', 'killed')
    ]
    assert same(*nets) and len(expected['optimizers']) == len(expected['schedulers']) == 2

    # Nor does one with another discriminator, and neither kind of run goes on from the other's state.
    options = yaml.safe_load((tmp_path / 'killed' / 'train.yml').read_text())
    options['network_d']['num_feat'] = 6
    write_options(options, tmp_path / 'killed')
    status, output = run_training(tmp_path / 'killed', 'train', '-opt', 'train.yml', '--auto_resume')
    assert status == 1 and 'of another discriminator than network_d describes:\n  num_feat: 6 in network_d, 4' in output
    assert 'Traceback' not in output
    options = make_project(tmp_path / 'plain')
    options['train']['total_iter'] = 30
    write_options(options, tmp_path / 'killed')
    status, output = run_training(tmp_path / 'killed', 'train', '-opt', 'train.yml', '--auto_resume')
    assert status == 1 and 'is of a training with optim_g and optim_d, this one has optim_g: path.' in output
    assert 'Traceback' not in output
    options['train'] |= {'total_iter': 3}
    write_options(options, tmp_path / 'plain')
    assert run_training(tmp_path / 'plain', 'train', '-opt', 'train.yml')[0] == 0
    write_options(with_discriminator(options), tmp_path / 'plain')
    status, output = run_training(tmp_path / 'plain', 'train', '-opt', 'train.yml', '--auto_resume')
    assert status == 1 and '3.state is of a training without network_d: path.pretrain_network_g starts' in output
    assert 'Traceback' not in output and 'damaged' not in output


@pytest.mark.slow
@pytest.mark.parametrize(('signal_number', 'status'), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_stops_between_two_steps(tmp_path: Path, signal_number: int, status: int) -> None:
    options = make_project(tmp_path)
    options['datasets']['train']['num_worker_per_gpu'] = 1
    options['train']['total_iter'] = 100000
    options['logger']['save_checkpoint_freq'] = 50000
    write_options(options, tmp_path)
    log = tmp_path / 'output.txt'
    ended, output = run_training(
        tmp_path,
        *('train', '-opt', 'train.yml'),
        until=lambda: 'iter:       4' in log.read_text(),
        signal_number=signal_number,
    )
    assert ended == status, output[-3000:]
    (reached,) = saved_iterations(tmp_path)
    assert 4 <= reached == max(losses(output))
    name = signal.Signals(signal_number).name
    assert f'basicsr: stopped by {name}: saved at iteration {reached}; --auto_resume goes on from there' in output
    assert 'Traceback' not in output

    more = ['--force_yml', f'train:total_iter={reached + 2}']
    ended, output = run_training(tmp_path, 'train', '-opt', 'train.yml', '--auto_resume', *more)
    assert ended == 0 and sorted(losses(output)) == [reached + 1, reached + 2], output[-3000:]


def make_validated_project(folder: Path, total_iter: int) -> dict[str, Any]:
    """Options of a run that saves and validates every second iteration. It learns nothing: the first is the best."""
    options = make_project(folder)
    options['datasets']['train']['scale_range'] = [1, 2]
    options['datasets']['val'] = {
        'name': 'held-out',
        'type': 'ArbitraryScalePairedDataset',
        'dataroot_gt': 'gt',
        'scales': [2, 3],
    }
    options['train'] |= {'optim_g': {'type': 'SGD', 'lr': 0.0}, 'total_iter': total_iter, 'ema_decay': 0}
    psnr = {'type': 'calculate_psnr', 'crop_border': 4}
    options['val'] = {'val_freq': 2, 'save_img': False, 'metrics': {'psnr': psnr}, 'keep_best': 'psnr'}
    options['logger'] |= {'save_checkpoint_freq': 2, 'use_tb_logger': True}
    return options


def told_tensorboard(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Iterations and values of each metric."""
    values = read_values(folder / 'tb_logger' / 'run')
    return {name: sorted(one.items()) for name, one in values.items() if name.startswith('metrics/')}


@pytest.mark.slow
def test_a_validation_that_was_cut_off_is_made_up_for(tmp_path: Path) -> None:
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    for folder in (whole, killed):
        write_options(make_validated_project(folder, total_iter=5), folder)
    status, output = run_training(whole, 'train', '-opt', 'train.yml')
    assert status == 0, output[-3000:]

    run, log = killed / 'experiments' / 'run', killed / 'output.txt'
    moments = [
        lambda: 2 in saved_iterations(killed),  # between saving and validating
        lambda: 'iter:       3' in log.read_text(),  # validated, which the training state does not know
    ]
    for moment in moments:
        arguments = ('train', '-opt', 'train.yml', '--auto_resume')
        status, output = run_training(killed, *arguments, until=moment, signal_number=signal.SIGKILL)
        assert status == -signal.SIGKILL and saved_iterations(killed) == [2], output[-3000:]
        assert (run / 'metrics.csv').exists() == (moment is moments[1])
    status, output = run_training(killed, 'train', '-opt', 'train.yml', '--auto_resume')
    assert status == 0, output[-3000:]
    for name in ('metrics.csv', 'metrics.md'):
        assert (run / name).read_text() == (whole / 'experiments' / 'run' / name).read_text()
    assert told_tensorboard(killed) == told_tensorboard(whole) != {}
    (_, ours), (_, expected) = checkpoint(killed, 5), checkpoint(whole, 5)
    assert ours['best'] == expected['best'] and ours['best']['iteration'] == 2
    assert ours['best_metric_results'] == expected['best_metric_results']
    best = [torch.load(one / 'experiments' / 'run' / 'models' / 'net_g_best.pth') for one in (killed, whole)]
    assert same(best[0]['params'], best[1]['params'])


@pytest.mark.slow
def test_a_validation_that_the_state_knows_is_not_made_again(tmp_path: Path) -> None:
    """The last iteration is validated and then saved; saved first, it would be validated by the run that goes on."""
    options = make_validated_project(tmp_path, total_iter=4)
    options['logger']['save_checkpoint_freq'] = 100
    write_options(options, tmp_path)
    status, output = run_training(tmp_path, 'train', '-opt', 'train.yml')
    assert status == 0 and output.count('Validation held-out_x2') == 2, output[-3000:]
    assert saved_iterations(tmp_path) == [4] and checkpoint(tmp_path, 4)[1]['validated'] is True
    more = ('train', '-opt', 'train.yml', '--auto_resume', '--force_yml', 'train:total_iter=6')
    status, output = run_training(tmp_path, *more)
    assert status == 0 and output.count('Validation held-out_x2') == 1, output[-3000:]


@pytest.mark.slow
def test_the_last_checkpoints_and_the_best_stay(tmp_path: Path) -> None:
    options = make_validated_project(tmp_path, total_iter=9)
    options['logger']['keep_last'] = 2
    write_options(options, tmp_path)
    status, output = run_training(tmp_path, 'train', '-opt', 'train.yml')
    assert status == 0, output[-3000:]
    # The last iteration is saved though no checkpoint was due.
    assert saved_iterations(tmp_path) == [8, 9]
    models = sorted(path.name for path in (tmp_path / 'experiments' / 'run' / 'models').iterdir())
    assert models == ['net_g_8.pth', 'net_g_9.pth', 'net_g_best.pth', 'net_g_latest.pth']
    _, state = checkpoint(tmp_path, 9)
    assert state['best']['iteration'] == 2 and 'net_g_best.pth: psnr' in output
    assert state['best_metric_results'].keys() == {'held-out_x2', 'held-out_x3'}


@pytest.mark.slow
def test_a_run_that_is_resumed_by_other_options_says_what_counts(tmp_path: Path) -> None:
    options = make_project(tmp_path)
    options['train'] |= {'total_iter': 5, 'warmup_iter': -1}
    options['train']['scheduler']['milestones'] = [2, 9]  # halved from iteration 3 on
    write_options(options, tmp_path)
    status, output = run_training(tmp_path, 'train', '-opt', 'train.yml')
    assert status == 0, output[-3000:]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / 'experiments').rglob('*')}

    # What cannot go on ends before anything starts, in one message.
    resume = ('train', '-opt', 'train.yml', '--auto_resume', '--force_yml')
    for change, message in (
        ('train:total_iter=4', r'train\.total_iter: 4, but the run has 5 iterations already \(\S+5\.state\)'),
        (
            'network_g:embed_dim=12',
            r'5\.state is of another network than network_g describes:\n  embed_dim: 12 in network_g, 8 in the check',
        ),
        ('train:optim_g:type=AdamW', r'train\.optim_g\.type: AdamW, but \S+5\.state is of Adam; train\.restart_'),
    ):
        status, output = run_training(tmp_path, *resume, change)
        assert status == 1 and re.search(f'basicsr: error: .*{message}', output), output[-3000:]
        assert 'Traceback' not in output and 'Network [' not in output
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / 'experiments').rglob('*')} == before

    changes = ['train:total_iter=6', 'train:optim_g:lr=0.004', 'manual_seed=9']
    status, output = run_training(tmp_path, *resume, *changes)
    assert status == 0, output[-3000:]
    assert list(losses(output)) == [6] and losses(output)[6].startswith('5.000e-04 ')
    for line in (
        'train.optim_g.lr: 0.004 in the options, 0.001 in the training state: the training state counts (with '
        'train.restart_scheduler: true the options)',
        'train.total_iter: 6 in the options, 5 in the training state: the options count',
        "manual_seed: the training state's, 0, counts, and not 9",
    ):
        assert f'INFO: {line}\n' in output
    status, output = run_training(tmp_path, *resume, 'train:total_iter=7', *changes[1:], 'train:restart_scheduler=true')
    assert status == 0, output[-3000:]
    assert losses(output)[7].startswith('2.000e-03 ')
    assert 'train.optim_g.lr: 0.004 in the options, 0.001 in the training state: the options count\n' in output


@pytest.mark.slow
def test_the_seed_of_a_run_is_that_of_its_data(tmp_path: Path) -> None:
    """Three steps from the same weights, which are those of the first step's file; the losses are of the data."""
    drawn: dict[str, dict[int, str]] = {}
    for name, seed in (('one', 1), ('two', 2), ('again', 1), ('own', 2)):
        folder = tmp_path / name
        options = make_project(folder)
        options['network_g']['encoder_opt']['drop_path_rate'] = 0.0
        options['manual_seed'] = seed
        if name == 'own':
            options['datasets']['train']['seed'] = 1
        options['train']['total_iter'] = 3
        if name != 'one':
            options['path']['pretrain_network_g'] = str(tmp_path / 'one' / 'experiments/run/models/net_g_3.pth')
            options['path']['param_key_g'] = 'params'
        write_options(options, folder)
        status, output = run_training(folder, 'train', '-opt', 'train.yml')
        assert status == 0, output[-3000:]
        drawn[name] = losses(output)
        assert checkpoint(folder, 3)[1]['options']['manual_seed'] == seed
    assert drawn['two'] != drawn['again'] != drawn['own'] != drawn['two']
    status, output = run_training(tmp_path / 'again', 'train', '-opt', 'train.yml')
    assert status == 0 and losses(output) == drawn['again'], output[-3000:]
