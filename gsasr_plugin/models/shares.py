"""Work on the items of a data set that several processes share out: of K processes, each takes every K-th."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from basicsr.utils.dist_util import get_dist_info
from torch.utils.data import DataLoader, Subset

Value = TypeVar('Value')


def my_share(dataloader: DataLoader) -> Any:
    """The loader of this process's items. One process takes all."""
    rank, count = get_dist_info()
    if count == 1:
        return dataloader
    dataset: Any = dataloader.dataset
    mine = range(rank, len(dataset), count)
    workers, pinned = dataloader.num_workers, dataloader.pin_memory
    return DataLoader(dataset, batch_size=1, sampler=mine, num_workers=workers, pin_memory=pinned)


def my_share_of(dataset: Any, indices: Sequence[int]) -> Any:
    """A loader, like the host's of a test, of this process's share of some items, in their order."""
    rank, count = get_dist_info()
    return DataLoader(Subset(dataset, indices[rank::count]), batch_size=1, shuffle=False)


def in_order(shares: Sequence[Sequence[Value]]) -> list[Value]:
    """What all processes have made of their shares, one value for each item, in the order of the items."""
    longest = max(map(len, shares), default=0)
    return [share[number] for number in range(longest) for share in shares if number < len(share)]
