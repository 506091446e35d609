"""Training steps: losses and gradients that are not finite, and batches computed in parts."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from gsasr_plugin.checkpoints.loading import load
from gsasr_plugin.models.bad_steps import describe_batch, judge
from gsasr_plugin.run_errors import RunError
from tests.models.test_gsasr_model import batch, make_model


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def drawn_batch(*, spoilt: str | None = None) -> dict[str, Any]:
    """A batch as the data set gives it; `spoilt` of 'lq' or 'gt' has a value that is not a number."""
    data = batch()
    data['scale'] = torch.tensor([[1.0, 1.0], [1.875, 1.875], [4.0, 3.0]])
    data['drawn'] = torch.tensor([[0, 2, 0, 9], [5, 2, 1, 10], [3, 2, 0, 11]])
    data['gt_path'] = ['a.png', 'b.png', 'c.png']
    if spoilt == 'lq':
        data['lq'][1, 0, 0, 0] = torch.nan
    elif spoilt == 'gt':
        data['gt'][1][0, 0, 0] = torch.inf
    return data


def step(model: Any, iteration: int, data: dict[str, Any]) -> None:
    model.feed_data(data)
    model.optimize_parameters(iteration)


def weights(model: Any) -> list[torch.Tensor]:
    nets = (model.net_g, model.net_g_ema)
    return [tensor.clone() for net in nets for tensor in net.state_dict().values()]


@pytest.mark.parametrize('spoilt', ['lq', 'gt'])
def test_a_bad_batch_is_left_out_and_kept(
    tmp_path: Path, spoilt: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(tmp_path)
    monkeypatch.setattr(logging.getLogger('basicsr'), 'propagate', True)  # the host's logger keeps to itself
    step(model, 1, drawn_batch())
    before = weights(model)
    optimizer_before = model.optimizer_g.state_dict()['state'][0]['step'].clone()
    random_before = torch.get_rng_state()
    with caplog.at_level('ERROR', logger='basicsr'):
        step(model, 2, drawn_batch(spoilt=spoilt))
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
    assert model.optimizer_g.state_dict()['state'][0]['step'] == optimizer_before
    assert 'Iteration 2 is left out' in caplog.text and '1 of at most 10 such steps' in caplog.text
    assert f'b.png, scale 1.875 x 1.875, crop 15 x 15, index 5, epoch 2, repeat 1, {spoilt} is not' in caplog.text
    assert 'a.png, scale 1 x 1, crop 8 x 8, index 0, epoch 2, repeat 0\n' in caplog.text

    # The file computes the same step again: its weights and its batch give the same loss.
    file = tmp_path / 'bad_steps' / '2_rank0.pth'
    kept = torch.load(file, weights_only=True)
    assert torch.equal(kept['batch']['random'], random_before) and kept['iteration'] == 2
    again = load(file)
    assert all(torch.equal(a, b) for a, b in zip(before, again.state_dict().values()))
    output = again(kept['batch']['lq'], size=[gt.shape[1:] for gt in kept['batch']['gt']])
    loss = sum((sr - gt).abs().mean() for sr, gt in zip(output, kept['batch']['gt'], strict=True)) / 3
    # The rasterizer leaves out Gaussians that are not finite, so that the loss may be finite where its gradient is not.
    assert loss.item() == pytest.approx(kept['losses']['l_pix'], rel=1e-5)
    assert not all(torch.tensor(value).isfinite() for value in kept['losses'].values())

    step(model, 3, drawn_batch())
    assert not all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
    assert all(tensor.isfinite().all() for tensor in weights(model))


def test_the_file_of_a_bad_step_has_its_random_numbers(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    torch.manual_seed(11)
    before = torch.get_rng_state()
    model.net_g.register_forward_pre_hook(lambda *_: torch.manual_seed(12) and None)  # as random depth would
    step(model, 1, drawn_batch(spoilt='gt'))
    kept = torch.load(tmp_path / 'bad_steps' / '1_rank0.pth', weights_only=True)
    assert torch.equal(kept['batch']['random'], before) and not torch.equal(torch.get_rng_state(), before)
    assert set(kept) == {'params', 'gsasr', 'batch', 'losses', 'iteration'} and kept['iteration'] == 1
    assert set(kept['batch']) == {'lq', 'gt', 'scale', 'drawn', 'gt_path', 'random'}
    assert set(kept['losses']) == {'l_pix', 'grad_norm'}


def test_a_bad_gradient_of_a_finite_loss_is_left_out(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    before = weights(model)
    parameter = next(model.net_g.parameters())
    hook = parameter.register_hook(lambda gradient: gradient * torch.inf)
    step(model, 1, drawn_batch())
    hook.remove()
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
    kept = torch.load(tmp_path / 'bad_steps' / '1_rank0.pth', weights_only=True)
    assert not torch.tensor(kept['losses']['grad_norm']).isfinite()
    assert torch.tensor(kept['losses']['l_pix']).isfinite()


def test_too_many_bad_steps_stop_the_run_with_the_last_good_state(tmp_path: Path) -> None:
    model = make_model(tmp_path, max_bad_steps=2)
    step(model, 1, drawn_batch())
    good = weights(model)
    step(model, 2, drawn_batch(spoilt='lq'))
    with pytest.raises(RunError, match=r'train\.max_bad_steps: .* of 2 steps .* saved as it is at iteration 3'):
        step(model, 3, drawn_batch(spoilt='gt'))
    saved = torch.load(tmp_path / 'models' / 'net_g_3.pth', weights_only=True)
    stored = [*saved['params'].values(), *saved['params_ema'].values()]
    assert all(torch.equal(a, b) for a, b in zip(good, stored, strict=True))
    state = torch.load(tmp_path / 'training_states' / '3.state', weights_only=True)
    assert (state['iter'], state['epoch'], state['position']) == (3, 2, 12)


def test_an_overflow_in_half_precision_is_the_scalers_to_handle(tmp_path: Path) -> None:
    """It lowers its scale and leaves the step out, as it does in the first steps of every run in fp16."""
    model = make_model(tmp_path, autocast='fp16')
    step(model, 1, drawn_batch())
    before = weights(model)
    scale = model.scaler.get_scale()
    hook = next(model.net_g.parameters()).register_hook(lambda gradient: gradient * torch.inf)
    step(model, 2, drawn_batch())
    hook.remove()
    assert model.scaler.get_scale() < scale and not (tmp_path / 'bad_steps').exists()
    count = len(before) // 2
    assert all(torch.equal(a, b) for a, b in zip(before[:count], weights(model)[:count], strict=True))
    step(model, 3, drawn_batch(spoilt='gt'))
    assert (tmp_path / 'bad_steps' / '3_rank0.pth').exists()


@pytest.mark.parametrize(('accumulate', 'autocast'), [(2, None), (8, None), (3, 'bf16'), (3, 'fp16')])
def test_a_batch_in_parts_is_the_whole_batch(tmp_path: Path, accumulate: int, autocast: str | None) -> None:
    """Samples of mixed sizes; clipping is by the norm of the whole gradient, scaling of the loss is undone before."""
    whole, parts = (
        make_model(tmp_path, grad_clip=1e-2, autocast=autocast, accumulate=n, optim_g={'type': 'SGD', 'lr': 1.0})
        for n in (1, accumulate)
    )
    for model in (whole, parts):
        step(model, 1, drawn_batch())
    for name in ('l_pix', 'grad_norm'):
        # Half precision rounds products of activations; whole batches and parts choose other orders of summation.
        assert parts.get_current_log()[name] == pytest.approx(
            whole.get_current_log()[name], rel=1e-5 if autocast is None else 2e-2
        )
    # The gradient has the norm 1e-2; float32 sums of a few thousand products agree to about 1e-5 of it.
    tolerance = 1e-7 if autocast is None else 5e-4
    for a, b in zip(whole.net_g.parameters(), parts.net_g.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=tolerance)
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance + 1e-6)
    norm = torch.stack([p.grad.double().norm() for p in parts.net_g.parameters()]).norm().item()
    assert norm == pytest.approx(1e-2, rel=1e-4)
    assert [image.shape for image in parts.output] == [gt.shape for gt in parts.gt]


@pytest.mark.parametrize(('accumulate', 'sizes'), [(None, [3]), (1, [3]), (2, [2, 1]), (3, [1, 1, 1]), (8, [1, 1, 1])])
def test_a_step_takes_as_many_passes_as_parts(tmp_path: Path, accumulate: int | None, sizes: list[int]) -> None:
    model = make_model(tmp_path, **({} if accumulate is None else {'accumulate': accumulate}))
    passes = []
    model.net_g.register_forward_pre_hook(lambda _, arguments: passes.append(len(arguments[0])))
    step(model, 1, drawn_batch())
    assert passes == sizes and len(model.output) == 3


@pytest.mark.parametrize('decay', [0.9, 0.999])
def test_the_average_moves_by_what_the_decay_leaves(tmp_path: Path, decay: float) -> None:
    model = make_model(tmp_path, ema_decay=decay, optim_g={'type': 'SGD', 'lr': 1.0})
    expected = {name: p.detach().double().clone() for name, p in model.net_g.named_parameters()}
    for iteration in (1, 2, 3):
        step(model, iteration, drawn_batch())
        for name, p in model.net_g.named_parameters():
            expected[name].mul_(decay).add_(p.detach().double() * (1 - decay))
    moved = 0.0
    for name, averaged in model.net_g_ema.named_parameters():
        # Three roundings of float32 numbers of a size up to that of the weights, a few units in the last place each.
        torch.testing.assert_close(averaged.detach().double(), expected[name], rtol=6 * 2**-24, atol=1e-8)
        moved = max(moved, float((averaged - dict(model.net_g.named_parameters())[name]).detach().abs().max()))
    assert moved > 1e-3  # the steps are long enough to tell


def test_several_processes_exchange_the_gradient_with_the_last_part(tmp_path: Path) -> None:
    model = make_model(tmp_path, accumulate=3)
    bare, calls = model.net_g, []

    class Wrapper(torch.nn.parallel.DistributedDataParallel):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.module = bare

        @contextmanager
        def no_sync(self) -> Iterator[None]:
            calls.append('wait')
            yield

        def forward(self, *arguments: Any, **options: Any) -> Any:
            calls.append('pass')
            return self.module(*arguments, **options)

    model.net_g = Wrapper()
    step(model, 1, drawn_batch())
    assert calls == ['wait', 'pass', 'wait', 'pass', 'pass']


def scaler(scale: float | None) -> torch.amp.GradScaler:
    return torch.amp.GradScaler('cpu', enabled=scale is not None, init_scale=scale or 1.0)


@pytest.mark.parametrize(
    ('loss', 'norm', 'scale', 'bad'),
    [
        (1.0, 1.0, None, False),
        (math.nan, 1.0, None, True),
        (1.0, math.inf, None, True),
        (1.0, math.inf, 2.0, False),  # the scaler's to handle, while it has something to lower
        (1.0, math.inf, 1.0, True),
        (math.inf, 1.0, 2.0, True),
    ],
)
def test_what_makes_a_step_bad(loss: float, norm: float, scale: float | None, bad: bool) -> None:
    losses = {'l_pix': torch.tensor(1.0), 'l_percep': torch.tensor(loss)}
    verdict = judge(losses, torch.tensor(norm), scaler(scale), dist=False)
    assert (verdict.is_bad, verdict.stop_signal) == (bad, 0)
    assert verdict.overflows == (not bad and math.isinf(norm))


@pytest.mark.parametrize(
    ('ours', 'others', 'scale', 'expected'),
    [
        (1.0, (0, 0, 0, 1), None, (False, True, 0, False)),
        (1.0, (1, 0, 15, 1), None, (True, False, 15, False)),  # another one's batch, and another one was told to stop
        (math.nan, (1, 0, 0, 1), None, (True, True, 0, False)),
        (1.0, (0, 1, 0, 1), None, (True, True, 0, False)),  # nobody knows whose gradient it was
        (1.0, (0, 1, 0, 8), 8.0, (False, True, 0, True)),
        (1.0, (1, 1, 0, 8), 8.0, (True, False, 0, False)),
    ],
)
def test_all_processes_judge_alike(
    monkeypatch: pytest.MonkeyPatch,
    ours: float,
    others: tuple[int, ...],
    scale: float | None,
    expected: tuple[bool, bool, int, bool],
) -> None:
    def all_reduce(found: torch.Tensor, operation: Any) -> None:
        assert operation == torch.distributed.ReduceOp.MAX
        found.copy_(torch.maximum(found, torch.tensor(others, dtype=found.dtype)))

    monkeypatch.setattr(torch.distributed, 'all_reduce', all_reduce)
    assert judge({'l_pix': torch.tensor(ours)}, torch.tensor(1.0), scaler(scale), dist=True) == expected


def test_a_batch_is_described_by_what_it_has() -> None:
    images = [torch.zeros(3, 4, 6), torch.full((3, 2, 2), torch.inf)]
    assert describe_batch({'lq': torch.zeros(2, 3, 2, 2), 'gt': images}) == (
        '  sample 0, crop 4 x 6\n  sample 1, crop 2 x 2, gt is not finite'
    )
