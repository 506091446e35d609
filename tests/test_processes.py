"""Two processes of which one does the work for both; neither waits for one that is gone."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist

import gsasr_plugin.processes
from gsasr_plugin.processes import Processes, in_order, rank_and_count
from gsasr_plugin.run_errors import DataError, RunError


def fine(folder: Path) -> str:
    with (folder / 'calls').open('a') as file:
        file.write(f'{dist.get_rank()}\n')
    return 'all images can be read'


def faulty(folder: Path) -> str:
    raise DataError(f'{fine(folder)}, but a.png')


def killed(folder: Path) -> str:
    fine(folder)
    os._exit(9)


def process(folder: Path, rank: int, work: Callable[[Path], str]) -> None:
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    try:
        with Processes('looking') as processes:
            answer = processes.by_first(lambda: work(folder))
            assert processes.gather(rank) == ([0, 1] if rank == 0 else [])
    except RunError as error:
        answer = f'{type(error).__name__}: {error}'
    (folder / f'answer{rank}').write_text(answer)
    os._exit(0)


@pytest.mark.parametrize(
    ('work', 'answers'),
    [
        (fine, ['all images can be read'] * 2),
        (faulty, ['DataError: all images can be read, but a.png'] * 2),
        (killed, [None, 'RunError: looking: another process is gone']),
    ],
)
def test_one_works_for_both(work: Callable[[Path], str], answers: list[str | None], tmp_path: Path) -> None:
    context = multiprocessing.get_context('fork')
    processes = [context.Process(target=process, args=(tmp_path, rank, work)) for rank in range(2)]
    for one in processes:
        one.start()
    for one in processes:
        one.join(60)
    hanging = [one for one in processes if one.is_alive()]
    for one in hanging:
        one.kill()
    assert not hanging
    assert [one.exitcode for one in processes] == [0 if answer else 9 for answer in answers]
    for rank, answer in enumerate(answers):
        assert answer is None or (tmp_path / f'answer{rank}').read_text().split(' (')[0] == answer
    assert (tmp_path / 'calls').read_text() == '0\n'


def test_a_process_alone_works_for_itself() -> None:
    assert rank_and_count() == (0, 1)
    with Processes('counting') as processes:
        assert processes.by_first(lambda: 7) == 7 and processes.gather(8) == [8]


def test_processes_talk_in_a_group_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over gloo where training uses NCCL, and with patience; the group of an error is left to who is gone."""
    calls: list[tuple[str, object]] = []
    monkeypatch.setattr(gsasr_plugin.processes, 'rank_and_count', lambda: (0, 2))
    monkeypatch.setattr(dist, 'new_group', lambda **options: calls.append(('new', options)) or 'ours')
    monkeypatch.setattr(dist, 'destroy_process_group', lambda group: calls.append(('destroy', group)))
    for name in ('broadcast_object_list', 'gather_object'):
        monkeypatch.setattr(dist, name, lambda *_, name=name, **options: calls.append((name, options['group'])))
    with Processes('looking') as processes:
        assert processes.by_first(lambda: 7) == 7
        processes.gather(8)
    assert calls == [
        ('new', {'backend': 'gloo', 'timeout': timedelta(days=2)}),
        ('broadcast_object_list', 'ours'),
        ('gather_object', 'ours'),
        ('destroy', 'ours'),
    ]
    calls.clear()
    with pytest.raises(KeyError), Processes('looking'):
        raise KeyError
    assert [name for name, _ in calls] == ['new']


def test_shares_together_are_all_items_in_order() -> None:
    """Each of K processes takes every K-th item, and what they make of them comes back in the items' order."""
    for items in ([], [5], list(range(7))):
        for count in (1, 2, 3, 8):
            assert in_order([items[rank::count] for rank in range(count)]) == items
    assert in_order([]) == []
