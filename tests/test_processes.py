"""Two processes of which one does the work for both; neither waits for one that is gone."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, TensorDataset

import gsasr_plugin.processes
from gsasr_plugin.processes import Processes, in_order, my_share, my_share_of
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
    with Processes('counting') as processes:
        assert processes.by_first(lambda: 7) == 7 and processes.gather(8) == [8]


def test_shares_together_are_all_items_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of K processes takes every K-th item, and what they make of them comes back in the items' order."""
    loader = DataLoader(TensorDataset(torch.arange(7)), batch_size=1)
    assert my_share(loader) is loader
    workers = DataLoader(TensorDataset(torch.arange(7)), batch_size=1, num_workers=1)
    for count in (1, 2, 3, 8):
        shares, chosen = [], []
        for rank in range(count):
            monkeypatch.setattr(gsasr_plugin.processes, 'rank_and_count', lambda rank=rank, count=count: (rank, count))
            assert my_share(workers).num_workers == 1
            shares.append([batch.item() for (batch,) in my_share(loader)])
            chosen.append([batch.item() for (batch,) in my_share_of(loader.dataset, [6, 0, 3, 5])])
        assert [len(share) for share in shares] == [len(range(rank, 7, count)) for rank in range(count)]
        assert in_order(shares) == list(range(7)) and in_order(chosen) == [6, 0, 3, 5]
    assert in_order([]) == []
