"""The best validation: means over data sets and scales, and what a checkpoint keeps of it."""

from __future__ import annotations

import math

import pytest

from gsasr_plugin.models.best_value import BestValue


@pytest.mark.parametrize(
    ('better', 'means', 'best'),
    [('higher', [1, 3, 2, 3], [1, 2]), ('lower', [3, 1, 2, 0.5], [1, 2, 4]), ('higher', [math.nan, 1], [2])],
)
def test_the_best_mean_is_noted(better, means, best):
    value = BestValue('psnr', better)
    reached = []
    for iteration, mean in enumerate(means, 1):
        for difference in (-0.25, 0.25):
            value.add('psnr', mean + difference, iteration)
            value.add('ssim', 100, iteration)
        if value.is_reached(iteration):
            reached.append(iteration)
    assert reached == best and value.iteration == best[-1] and value.value == means[best[-1] - 1]


def test_a_resumed_run_goes_on_with_its_best():
    value = BestValue('psnr')
    value.load_state_dict({'metric': 'psnr', 'value': 5.0, 'iteration': 7})
    value.add('psnr', 4, 8)
    assert not value.is_reached(8) and value.state_dict() == {'metric': 'psnr', 'value': 5.0, 'iteration': 7}
    other = BestValue('ssim')
    other.load_state_dict(value.state_dict())
    other.add('ssim', 0.5, 8)
    assert other.is_reached(8) and not BestValue(None).is_reached(8)


def test_values_of_another_iteration_do_not_count():
    value = BestValue('psnr')
    assert not value.is_reached(0) and not value.is_reached(1)
    value.add('psnr', 5, 1)
    value.add('psnr', 1, 2)
    assert not value.is_reached(1)
    assert value.is_reached(2) and (value.value, value.iteration) == (1, 2)
    assert not value.is_reached(2)  # once
    value.add('psnr', 1, 3)
    assert not value.is_reached(3)  # not better
    value.load_state_dict({})
    assert (value.value, value.iteration) == (1, 2)
