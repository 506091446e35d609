"""Measuring the cost of networks, on a clock of the test's own, and the table of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gsasr_plugin.benchmarking.cost.enlargers import Enlarger, from_network
from gsasr_plugin.benchmarking.cost.measure import Cost, measure
from gsasr_plugin.benchmarking.cost.report import markdown


class Slower(nn.Module):
    """On a clock of its own, its calls take 20, 40, 60, 80 ms, of which a stage takes half."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = nn.Identity()
        self.stage.register_forward_hook(self._work)
        self.calls = 0
        self.now = 0.0

    def _work(self, *_: object) -> None:
        self.now += 0.01 * self.calls

    def forward(self, lq: Tensor) -> Tensor:
        self.calls += 1
        self._work()
        return self.stage(lq)


def test_means_leave_out_the_first_images(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Slower()
    monkeypatch.setattr('time.perf_counter', lambda: network.now)
    enlarger = Enlarger('slower', lambda lq, size: network(lq), {'encoder': network.stage}, network)
    images = [(torch.zeros(1, 3, 2, 2), (2, 2))] * 4
    found = measure(enlarger, images, (1, 1), torch.device('cpu'), warmup=2)
    assert found is not None and found.images == 2 and network.calls == 4
    assert found.milliseconds == pytest.approx({'encoder': 35, 'rendering': 35, 'total': 70})
    assert not network.stage._forward_pre_hooks and len(network.stage._forward_hooks) == 1


def test_a_network_of_another_scale_is_left_out() -> None:
    enlarger = from_network('twice', nn.Upsample(scale_factor=2))
    images = [(torch.zeros(1, 3, 4, 4), (12, 12))]
    assert measure(enlarger, images, (3, 3), torch.device('cpu'), warmup=0) is None


def test_the_papers_cost_stands_beside_rdns() -> None:
    times = {'encoder': 1.0, 'decoder': 2.0, 'rendering': 3.0, 'total': 6.0}
    text = markdown(
        [
            Cost('ours', '8', 'bf16', 98, times, 3 << 20, 1 << 20, 'RDN'),
            Cost('b', '8', 'float32', 98, {'total': 1}, None, None),
        ]
    )
    assert '| x8 | ours | bf16 | 1.0 | 2.0 | 3.0 | 6.0 | 3 | 206 | 1132 |' in text
    assert '| x8 | b | float32 |  |  |  | 1.0 |  |  |  |' in text
