"""The sampler: its order, indices that say when they are drawn, the same steps for any number of processes."""

import pickle
from collections import Counter
from fractions import Fraction
from math import ceil

import pytest
import torch
from torch.utils.data import BatchSampler

from gsasr_plugin.data.epoch_sampler import EpochIndex, EpochSampler

# isort: split
from basicsr.data.data_sampler import EnlargedSampler


def order(sampler, epoch=0):
    sampler.set_epoch(epoch)
    return list(sampler)


def seeded(seed, length=50, ratio=1):
    sampler = EpochSampler(range(length), 1, 0, ratio)
    sampler.seed = seed
    return sampler


@pytest.mark.parametrize(('length', 'ratio'), [(7, 1), (7, 3), (10, 2.0), (1, 5)])
def test_with_seed_0_and_whole_passes_it_is_basicsrs_order(length, ratio):
    data = range(length)
    for epoch in (0, 1, 5):
        ours, host = EpochSampler(data, 1, 0, ratio), EnlargedSampler(data, 1, 0, ratio)
        assert order(ours, epoch) == order(host, epoch)
        assert len(ours) == len(host)


@pytest.mark.parametrize('ratio', ['0.5', '1.5', '0.3', '2.4', '0.01', '1.1', '3', '0.99'])
@pytest.mark.parametrize('length', [1, 7, 10])
def test_every_image_is_drawn_equally_often(length, ratio):
    sampler = EpochSampler(range(length), 1, 0, float(ratio))
    size = ceil(length * Fraction(ratio))
    assert len(sampler) == size
    counts = Counter(dict.fromkeys(range(length), 0))
    for epoch in range(2 * length):
        drawn = order(sampler, epoch)
        assert len({(int(i), i.repeat) for i in drawn}) == len(drawn) == size  # no sample twice
        assert all(0 <= i.repeat <= size // length + 1 for i in drawn)
        counts.update(map(int, drawn))
        assert max(counts.values()) - min(counts.values()) <= 1
        assert sum(counts.values()) == (epoch + 1) * size
    assert set(counts.values()) == {2 * size}


@pytest.mark.parametrize('seed', [0, 3])
@pytest.mark.parametrize(('length', 'ratio', 'size'), [(10, 1.5, 5), (10, 0.3, 3), (7, 2.4, 3), (10, 0.7, 7)])
def test_the_rest_is_cut_from_permutations(length, ratio, size, seed):
    """Written out again, number by number: a state that is resumed by a later version has to find its order."""

    def permutation(count, number):
        generator = torch.Generator().manual_seed((seed * 0x9E3779B1 + number) % 2**32)
        return torch.randperm(count, generator=generator).tolist()

    whole = int(ratio)
    sequence = [(p, index) for p in range(20) for index in permutation(length, -1 - p)]
    sampler = seeded(seed, length, ratio)
    for epoch in range(8):
        samples = [(repeat, index) for repeat in range(whole) for index in range(length)]
        part = sequence[epoch * size : (epoch + 1) * size]
        samples += [(whole + p - part[0][0], index) for p, index in part]
        expected = [samples[number] for number in permutation(len(samples), epoch)]
        assert [(i.repeat, int(i)) for i in order(sampler, epoch)] == expected


@pytest.mark.parametrize('ratio', [0.5, 1, 1.5, 2])
def test_the_order_depends_on_seed_and_epoch(ratio):
    orders = [
        tuple((int(i), i.repeat) for i in order(seeded(seed, ratio=ratio), epoch))
        for seed in (0, 1, 2, 10, 2**31)
        for epoch in range(20)
    ]
    assert len(set(orders)) == len(orders)
    assert order(seeded(7, ratio=ratio), 3) == order(seeded(7, ratio=ratio), 3)
    assert {i.seed for i in order(seeded(7, ratio=ratio), 3)} == {7}


@pytest.mark.parametrize('ratio', [0.3, 1, 1.5])
@pytest.mark.parametrize('replicas', [1, 2])
def test_a_resumed_epoch_is_the_rest_of_it(ratio, replicas):
    def samples(epoch, position=None):
        steps = []
        for rank in range(replicas):
            sampler = EpochSampler(range(20), replicas, rank, ratio)
            if position is not None:
                sampler.resume(4, position)
            steps.append([(int(i), i.epoch, i.repeat, i.position) for i in order(sampler, epoch)])
        return [sample for step in zip(*steps, strict=True) for sample in step]

    whole = samples(4)
    for position in range(0, len(whole), replicas):
        assert samples(4, position) == whole[position:]
        assert samples(5, position) == samples(5)
    assert [position for *_, position in whole] == list(range(len(whole)))


def test_indices_say_when_they_are_drawn():
    drawn = order(EpochSampler(range(4), 1, 0, 3), epoch=2)
    assert sorted((int(i), i.repeat) for i in drawn) == [(i, repeat) for i in range(4) for repeat in range(3)]
    assert {i.epoch for i in drawn} == {2}


def test_an_index_is_an_int_and_survives_pickling():
    index = EpochIndex(3, epoch=5, repeat=2, position=9, seed=4)
    assert repr(index) == 'EpochIndex(3, epoch=5, repeat=2, position=9, seed=4)'
    assert index == 3 and 'abcd'[index] == 'd' and hash(index) == hash(3)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        copy = pickle.loads(pickle.dumps(index, protocol))
        assert (copy, copy.epoch, copy.repeat, copy.position, copy.seed, type(copy)) == (3, 5, 2, 9, 4, EpochIndex)


@pytest.mark.parametrize(
    ('length', 'ratio', 'replicas', 'batch'),
    [(10, 1, 2, 2), (11, 1, 2, 2), (7, 3, 3, 2), (16, 1, 4, 1), (10, 1.5, 2, 2)],
)
def test_processes_share_the_steps_of_one(length, ratio, replicas, batch):
    def steps(sampler, size):
        return [[(int(i), i.repeat) for i in step] for step in BatchSampler(sampler, size, drop_last=True)]

    one = steps(EpochSampler(range(length), 1, 0, ratio), batch * replicas)
    several = [steps(EpochSampler(range(length), replicas, rank, ratio), batch) for rank in range(replicas)]
    assert [len(process) for process in several] == [len(one)] * replicas
    for number, step in enumerate(one):
        assert sorted(step) == sorted(sample for process in several for sample in process[number])


def test_each_process_has_a_sample_even_if_there_are_too_few():
    assert [len(order(EpochSampler(range(2), 3, rank))) for rank in range(3)] == [1, 1, 1]


def test_nothing_is_drawn_from_nothing():
    assert order(EpochSampler([], 1, 0, 1.5), epoch=3) == []


def test_an_iterator_keeps_its_epoch():
    sampler = EpochSampler(range(50), 1, 0)
    expected = order(sampler, 0)
    sampler.set_epoch(0)
    iterator = iter(sampler)
    sampler.set_epoch(1)
    assert list(iterator) == expected
    assert list(sampler) != expected


def test_a_resumed_epoch_begins_where_it_was_left():
    """At a position among the samples of all processes, however many they are now; the next epoch is whole again."""
    whole = order(EpochSampler(range(12), 1, 0), 3)
    assert [index.position for index in whole] == list(range(12))
    for replicas in (1, 2, 3):
        samplers = [EpochSampler(range(12), replicas, rank) for rank in range(replicas)]
        for sampler in samplers:
            sampler.resume(3, 6)
            assert len(sampler) == 12 // replicas
        rest = sorted((index for sampler in samplers for index in order(sampler, 3)), key=lambda index: index.position)
        assert rest == whole[6:]
        assert [index.position for index in rest] == list(range(6, 12))
        assert sum(len(order(sampler, 4)) for sampler in samplers) == 12
