"""GSASRModel: what a training step computes, and what the host's parts do around it."""

from __future__ import annotations

import copy
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.models import build_model
from torch import nn

from gsasr_plugin import stop_signals
from gsasr_plugin.archs.inference import for_inference
from gsasr_plugin.checkpoints.training_pairs import read_pair
from gsasr_plugin.models import gsasr_model
from gsasr_plugin.run_errors import RunError


def options(folder: Path, **train: Any) -> dict[str, Any]:
    """What the host hands to a model: a small GSASR on the CPU."""
    return {
        'name': 'small',
        'model_type': 'GSASRModel',
        'num_gpu': 0,
        'is_train': True,
        'dist': False,
        'rank': 0,
        'world_size': 1,
        'network_g': {
            'type': 'GSASR',
            'encoder_opt': {'type': 'EDSR', 'num_feat': 8, 'num_block': 1},
            'embed_dim': 16,
            'num_heads': 2,
            'window_size': 4,
            'num_interaction_blocks': 1,
            'num_interaction_layers': 1,
            'gaussian_density': 1,
        },
        'path': {
            'experiments_root': str(folder),
            'models': str(folder / 'models'),
            'training_states': str(folder / 'training_states'),
            'visualization': str(folder / 'visualization'),
        },
        'train': {
            'total_iter': 100,
            'ema_decay': 0.9,
            'optim_g': {'type': 'Adam', 'lr': 1e-3, 'betas': [0.9, 0.99]},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [100], 'gamma': 0.5},
            'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
            **train,
        },
        'val': {},
    }


def make_model(folder: Path, **train: Any) -> Any:
    torch.manual_seed(0)
    return build_model(copy.deepcopy(options(folder, **train)))


def batch() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    sizes = [(8, 8), (15, 15), (32, 24)]
    return {
        'lq': torch.rand(3, 3, 8, 8, generator=generator),
        'gt': [torch.rand(3, *size, generator=generator) for size in sizes],
    }


def test_loss_is_the_mean_of_the_samples_means(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    data = batch()
    with torch.no_grad():
        alone = [
            (model.net_g(lq[None], size=tuple(gt.shape[1:]))[0] - gt).double().abs().mean()
            for lq, gt in zip(data['lq'], data['gt'], strict=True)
        ]
    model.feed_data(data)
    model.optimize_parameters(1)
    # Float32 means of up to 2,304 values against float64 ones.
    assert model.get_current_log()['l_pix'] == pytest.approx(torch.stack(alone).mean().item(), rel=1e-5)


def test_training_reduces_the_loss_and_averages_the_weights(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    losses = []
    for iteration in range(1, 16):
        model.feed_data(batch())
        model.optimize_parameters(iteration)
        losses.append(model.get_current_log()['l_pix'])
    assert losses[-1] < 0.9 * losses[0]
    pairs = zip(model.net_g.parameters(), model.net_g_ema.parameters(), strict=True)
    assert any(not torch.equal(p, averaged) for p, averaged in pairs)


@pytest.mark.parametrize(('rank', 'grids', 'names'), [(0, 2, {'5.png', '6.png'}), (0, 0, set()), (1, 2, set())])
def test_the_first_batches_are_shown(tmp_path: Path, rank: int, grids: int, names: set[str]) -> None:
    """Of the first process, from whichever iteration on it starts."""
    model = make_model(tmp_path)
    model.opt |= {'logger': {'batch_grids': grids}, 'rank': rank}
    for iteration in (5, 6, 7):
        model.feed_data(batch())
        model.optimize_parameters(iteration)
    assert {path.name for path in tmp_path.rglob('*.png')} == names
    assert all(path.parent == tmp_path / 'visualization' / 'batches' for path in tmp_path.rglob('*.png'))


def test_gradient_is_clipped(tmp_path: Path) -> None:
    model = make_model(tmp_path, grad_clip=1e-3)
    model.feed_data(batch())
    model.optimize_parameters(1)
    norm = torch.stack([p.grad.norm() for p in model.net_g.parameters()]).norm().item()
    assert norm == pytest.approx(1e-3, rel=1e-3)
    assert model.get_current_log()['grad_norm'] > 1e-3


@pytest.mark.parametrize('optimizer', ['AdamW', 'SGD'])
def test_other_optimizers(tmp_path: Path, optimizer: str) -> None:
    model = make_model(tmp_path, optim_g={'type': optimizer, 'lr': 1e-3})
    assert type(model.optimizer_g).__name__ == optimizer


def test_steps_of_the_optimizer_and_the_average_against_float64(tmp_path: Path) -> None:
    """Adam's formulas and the average of weights, written out; three steps, for the first has no memory."""
    decay, rate, beta1, beta2 = 0.9, 1e-3, 0.9, 0.99
    model = make_model(tmp_path, ema_decay=decay)
    assert model.optimizer_g.defaults['fused']
    exact = [p.detach().double() for p in model.net_g.parameters()]
    average = [p.clone() for p in exact]
    moments = [[torch.zeros_like(p), torch.zeros_like(p)] for p in exact]
    for step in range(1, 4):
        model.feed_data(batch())
        model.optimize_parameters(step)
        for p, mean, (m, v), parameter in zip(exact, average, moments, model.net_g.parameters(), strict=True):
            gradient = parameter.grad.double()
            m.lerp_(gradient, 1 - beta1)
            v.lerp_(gradient**2, 1 - beta2)
            p -= rate * (m / (1 - beta1**step)) / ((v / (1 - beta2**step)).sqrt() + 1e-8)
            mean.lerp_(p, 1 - decay)
    for net, expected in ((model.net_g, exact), (model.net_g_ema, average)):
        for parameter, value in zip(net.parameters(), expected, strict=True):
            # Three roundings of a weight below 4 and of its step.
            assert (parameter.detach() - value).abs().max() < 1e-6


@pytest.mark.parametrize('other', [{'foreach': True}, {'fused': False}])
def test_the_optimizer_takes_another_way_where_told(tmp_path: Path, other: dict[str, bool]) -> None:
    model = make_model(tmp_path, optim_g={'type': 'Adam', 'lr': 1e-3, **other})
    assert not model.optimizer_g.defaults['fused']


def test_unknown_optimizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train\.optim_g\.type: 'Adamm' is not one of Adam, AdamW"):
        make_model(tmp_path, optim_g={'type': 'Adamm', 'lr': 1e-3})


def test_a_host_perceptual_loss_sees_every_image(tmp_path: Path) -> None:
    """Two-valued losses as the host's PerceptualLoss (which needs a download): content, and style switched off."""
    model = make_model(tmp_path)
    seen = []

    def perceptual(sr: torch.Tensor, gt: torch.Tensor) -> tuple[torch.Tensor, None]:
        seen.append((tuple(sr.shape), tuple(gt.shape)))
        return (sr - gt).square().mean(), None

    model.criterion.pairs.append((perceptual, ('l_percep', 'l_style')))
    model.feed_data(batch())
    model.optimize_parameters(1)
    assert seen == [((1, 3, *size), (1, 3, *size)) for size in [(8, 8), (15, 15), (32, 24)]]
    assert set(model.log_dict) == {'l_pix', 'l_percep'}


def test_checkpoints_are_the_hosts_and_resume(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    model.feed_data(batch())
    model.optimize_parameters(1)
    model.save(0, 1)
    assert sorted(p.name for p in tmp_path.rglob('*') if p.is_file()) == ['1.state', 'net_g_1.pth']
    saved = torch.load(tmp_path / 'models' / 'net_g_1.pth', weights_only=True)
    assert set(saved) == {'params', 'params_ema', 'gsasr'}

    opt = options(tmp_path)
    opt['path']['pretrain_network_g'] = str(tmp_path / 'models' / 'net_g_1.pth')
    resumed = build_model(opt)
    resumed.resume_training(torch.load(tmp_path / 'training_states' / '1.state', weights_only=True))
    for m in (model, resumed):
        m.feed_data(batch())
        m.optimize_parameters(2)
    for a, b in zip(model.net_g.parameters(), resumed.net_g.parameters(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(model.net_g_ema.parameters(), resumed.net_g_ema.parameters(), strict=True):
        assert torch.equal(a, b)


def test_random_generators_go_on_after_resuming(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    torch.manual_seed(7)
    model.save(0, 1)
    expected = torch.rand(3)
    torch.manual_seed(8)
    make_model(tmp_path).resume_training(torch.load(tmp_path / 'training_states' / '1.state', weights_only=True))
    assert torch.equal(torch.rand(3), expected)


def test_weights_of_another_network_are_refused_unless_not_strict(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    state = {key: value.clone() for key, value in model.net_g.state_dict().items()}
    name, *others = state
    torch.save({'params': {key: state[key] + 1 for key in others}}, tmp_path / 'incomplete.pth')
    with pytest.raises(RuntimeError, match=rf'lacks: {name}$'):
        model.load_network(model.net_g, str(tmp_path / 'incomplete.pth'))
    model.load_network(model.net_g, str(tmp_path / 'incomplete.pth'), strict=False)
    loaded = model.net_g.state_dict()
    assert torch.equal(loaded[name], state[name]) and torch.equal(loaded[others[0]], state[others[0]] + 1)
    torch.save({'params': state, 'params_ema': {key: value * 0 for key, value in state.items()}}, tmp_path / 'two.pth')
    model.load_network(model.net_g, str(tmp_path / 'two.pth'), param_key='params_ema')
    assert not any(value.any() for value in model.net_g.state_dict().values())


@pytest.mark.parametrize('raises', [True, False])
def test_a_save_that_fails_leaves_the_files_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raises: bool
) -> None:
    model = make_model(tmp_path)
    model.save(0, 1)
    before = (tmp_path / 'models' / 'net_g_1.pth').read_bytes()
    for p in model.net_g.parameters():
        p.data.zero_()

    write = torch.save

    def full_disk(state: Any, file: Any) -> None:  # an error, and half a file
        write(state, file)
        if 'training_states' in file.name:
            file.truncate(1000)
            if raises:
                raise OSError('no space left on device')

    monkeypatch.setattr(torch, 'save', full_disk)
    message = 'no space left' if raises else 'is the disk full'
    with pytest.raises(RunError, match=rf'1\.state: a checkpoint could not be written whole: {message}'):
        model.save(0, 1)
    assert (tmp_path / 'models' / 'net_g_1.pth').read_bytes() == before
    assert not list(tmp_path.rglob('.unfinished*'))
    # And the next save is whole.
    monkeypatch.setattr(torch, 'save', write)
    model.save(0, 1)
    pair = read_pair(tmp_path / 'training_states' / '1.state', tmp_path / 'models', ['g'])
    assert list(pair['networks']) == ['net_g_1.pth']


def test_a_new_save_clears_what_a_killed_one_left(tmp_path: Path) -> None:
    folder = tmp_path / 'models' / '.unfinished_folder'  # of an older version
    folder.mkdir(parents=True)
    (folder / 'net_g_1.pth').touch()
    file = tmp_path / 'training_states' / '.unfinished_1.state'
    file.parent.mkdir()
    file.touch()
    make_model(tmp_path).save(0, 1)
    assert not folder.exists() and not file.exists()


def test_the_same_checkpoint_is_the_same_bytes(tmp_path: Path) -> None:
    """So that one that is saved again belongs to the state of before, whichever of the two a kill leaves."""
    model = make_model(tmp_path)
    model.save(0, 1)
    before = (tmp_path / 'models' / 'net_g_1.pth').read_bytes()
    model.save(0, 1)
    assert (tmp_path / 'models' / 'net_g_1.pth').read_bytes() == before


def test_several_gpus_without_a_launcher_use_one_and_say_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = make_model(tmp_path)
    model.opt['num_gpu'] = 2
    net = torch.nn.Linear(1, 1)
    with caplog.at_level('WARNING', logger='basicsr'):
        assert model.model_to_device(net) is net
    assert 'torchrun --nproc_per_node=2' in caplog.text


def test_validation_does_not_call_the_wrapper_of_several_processes(tmp_path: Path) -> None:
    """Only one process validates: a call of DistributedDataParallel would wait for the others, or meet their steps."""
    model = make_model(tmp_path, ema_decay=0)
    bare = model.net_g

    class Wrapper(torch.nn.parallel.DistributedDataParallel):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.module = bare

        def forward(self, *args: Any, **kwargs: Any) -> None:
            raise AssertionError('the wrapper was called')

    model.net_g = Wrapper()
    model.feed_data(batch())
    model.test()
    assert [tuple(image.shape) for image in model.output] == [(3, 8, 8), (3, 15, 15), (3, 32, 24)]


def test_val_says_how_large_images_are_tiled(tmp_path: Path) -> None:
    model = make_model(tmp_path, ema_decay=0)
    lq = torch.rand(1, 3, 8, 40, generator=torch.Generator().manual_seed(2))
    model.opt['val'] = {'tile': 16, 'tile_overlap': 4, 'compare_bicubic': True}
    model.feed_data({'lq': lq, 'size': torch.tensor([[12, 60]])})
    tiles: list[torch.Size] = []
    model.net_g.decoder.register_forward_pre_hook(lambda _, inputs: tiles.append(inputs[0].shape[2:]))
    model.test()
    assert tiles == [(8, 32)] * 2  # as many pixels as 16 x 16
    assert model.output[0].shape == (3, 12, 60)


def test_a_validation_takes_one_snapshot_and_drops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(tmp_path)
    taken: list[nn.Module] = []
    monkeypatch.setattr(gsasr_model, 'for_inference', lambda net, **_: taken.append(net) or for_inference(net))
    model.feed_data(batch())

    def two_images(*_: Any, **__: Any) -> None:
        model.test()
        model.test()

    monkeypatch.setattr(model, '_validate', two_images)
    monkeypatch.setattr(model, '_keep_best', lambda iteration: None)
    model.nondist_validation(types.SimpleNamespace(dataset='one'), 4, None, False)
    assert taken == [model.tested_net()] and model.snapshot is None
    model.test()  # weights may have changed since
    assert len(taken) == 2


@pytest.mark.parametrize('ema_decay', [0, 0.9])
@pytest.mark.parametrize('compiled', ['train', 'val'])
def test_what_is_compiled_is_tested_itself(tmp_path: Path, ema_decay: float, compiled: str) -> None:
    """Without averaging the training network is tested, which is compiled as `train` says; another as `val` says."""
    model = make_model(tmp_path, ema_decay=ema_decay)
    model.opt['val'] = {}
    model.opt[compiled]['compile'] = True
    itself = compiled == ('val' if ema_decay else 'train')
    assert (model._for_inference() is model.tested_net()) == itself
    model.is_train = False
    assert (model._for_inference() is model.tested_net()) == (compiled == 'val')


def test_the_last_iteration_is_validated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """BasicSR ends with a validation that it gives a number beyond the last one."""
    model = make_model(tmp_path, total_iter=6)
    calls = []

    def validate(dataset: str, iteration: int, tb_logger: str, *, save_img: bool) -> None:
        assert (tb_logger, save_img) == ('logger', True)
        calls.append((dataset, iteration))

    monkeypatch.setattr(model, '_validate', validate)
    monkeypatch.setattr(model, '_keep_best', lambda iteration: calls.append(('best', iteration)))
    one, two = (types.SimpleNamespace(dataset=name) for name in ('one', 'two'))
    for loader, iteration in ((one, 4), (one, 6), (one, 7), (two, 7), (two, 8)):
        model.dist_validation(loader, iteration, 'logger', True)
    assert calls == [('one', 4), ('best', 4), ('one', 6), ('best', 6), ('two', 6), ('best', 6)]
    assert {iteration for _, iteration in model.validated} == {4, 6}


def test_the_rate_of_a_step_is_set_after_a_stop_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(tmp_path)
    model.feed_data(batch())
    model.update_learning_rate(1, warmup_iter=10)
    assert model.get_current_learning_rate() == [1e-4]
    model.optimize_parameters(1)
    monkeypatch.setattr(stop_signals, 'requested', lambda: 15)
    with pytest.raises(stop_signals.Stopped, match='saved at iteration 1; --auto_resume') as stopped:
        model.update_learning_rate(2, warmup_iter=10)
    assert stopped.value.signal_number == 15 and (tmp_path / 'training_states' / '1.state').exists()
    with pytest.raises(stop_signals.Stopped):
        model.test()
    # Several processes stop where all know of it.
    model.opt['dist'] = True
    model.update_learning_rate(2, warmup_iter=10)
    assert model.get_current_learning_rate() == [2e-4]
    model.stop_signal = 2
    with pytest.raises(stop_signals.Stopped) as stopped:
        model.update_learning_rate(3, warmup_iter=10)
    assert stopped.value.signal_number == 2
    fresh = make_model(tmp_path)
    with pytest.raises(stop_signals.Stopped, match='before the first iteration'):
        fresh.update_learning_rate(1)
