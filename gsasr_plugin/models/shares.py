"""Work on the items of a data set that several processes share out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch.distributed as dist
from basicsr.utils.dist_util import get_dist_info
from torch.utils.data import DataLoader

Value = TypeVar('Value')


def my_share(dataloader: DataLoader) -> Any:
    """The loader of this process's items: of K processes, each takes every K-th. One process takes all."""
    rank, count = get_dist_info()
    if count == 1:
        return dataloader
    dataset: Any = dataloader.dataset
    mine = range(rank, len(dataset), count)
    workers, pinned = dataloader.num_workers, dataloader.pin_memory
    return DataLoader(dataset, batch_size=1, sampler=mine, num_workers=workers, pin_memory=pinned)


def gathered(values: Sequence[Value]) -> list[Value]:
    """What all processes have made of their shares, in the order of the data set; in all but the first, nothing.

    Args:
        values: this process's, one for each item of its share.
    """
    rank, count = get_dist_info()
    if count == 1:
        return list(values)
    shares: list[Any] = [None] * count
    dist.gather_object(list(values), shares if rank == 0 else None)
    if rank != 0:
        return []
    longest = max(map(len, shares))
    return [share[number] for number in range(longest) for share in shares if number < len(share)]
