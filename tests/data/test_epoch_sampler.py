"""The sampler: the host's order, indices that say when they are drawn, the same steps for any number of processes."""

import pickle

import pytest
from torch.utils.data import BatchSampler

from gsasr_plugin.data.epoch_sampler import EpochIndex, EpochSampler

# isort: split
from basicsr.data.data_sampler import EnlargedSampler


def order(sampler, epoch=0):
    sampler.set_epoch(epoch)
    return list(sampler)


@pytest.mark.parametrize(('length', 'ratio'), [(7, 1), (7, 3), (10, 1.5), (10, 0.5), (1, 5)])
def test_one_process_has_the_hosts_order(length, ratio):
    data = range(length)
    for epoch in (0, 1, 5):
        ours, host = EpochSampler(data, 1, 0, ratio), EnlargedSampler(data, 1, 0, ratio)
        assert order(ours, epoch) == order(host, epoch)
        assert len(ours) == len(host)


def test_indices_say_when_they_are_drawn():
    drawn = order(EpochSampler(range(4), 1, 0, 3), epoch=2)
    assert sorted((int(i), i.repeat) for i in drawn) == [(i, repeat) for i in range(4) for repeat in range(3)]
    assert {i.epoch for i in drawn} == {2}


def test_an_index_is_an_int_and_survives_pickling():
    index = EpochIndex(3, epoch=5, repeat=2, position=7)
    assert repr(index) == 'EpochIndex(3, epoch=5, repeat=2, position=7)'
    assert index == 3 and 'abcd'[index] == 'd' and hash(index) == hash(3)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        copy = pickle.loads(pickle.dumps(index, protocol))
        assert (copy, copy.epoch, copy.repeat, copy.position, type(copy)) == (3, 5, 2, 7, EpochIndex)


@pytest.mark.parametrize(
    ('length', 'ratio', 'replicas', 'batch'), [(10, 1, 2, 2), (11, 1, 2, 2), (7, 3, 3, 2), (16, 1, 4, 1)]
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
