"""The training sampler: the host's, whose indices also say in which epoch, and which time in it, an image is drawn."""

import math
from collections.abc import Iterator, Sized

import torch
from basicsr.data.data_sampler import EnlargedSampler


class EpochIndex(int):
    """An index into a data set that carries when it was drawn. Any data set can use it as the plain int it is.

    Attributes:
        epoch: the sampler's epoch, from 0.
        repeat: how many times `dataset_enlarge_ratio` had put this image into the epoch before, from 0.
        position: how many samples of the epoch come before, in all processes.
    """

    epoch: int
    repeat: int
    position: int

    def __new__(cls, index: int, *, epoch: int = 0, repeat: int = 0, position: int = 0) -> 'EpochIndex':
        self = super().__new__(cls, index)
        self.epoch = epoch
        self.repeat = repeat
        self.position = position
        return self

    def __reduce__(self) -> tuple:
        return _epoch_index, (int(self), self.epoch, self.repeat, self.position)

    def __repr__(self) -> str:
        return f'EpochIndex({int(self)}, epoch={self.epoch}, repeat={self.repeat}, position={self.position})'


def _epoch_index(index: int, epoch: int, repeat: int, position: int) -> EpochIndex:
    return EpochIndex(index, epoch=epoch, repeat=repeat, position=position)


class EpochSampler(EnlargedSampler):
    """The host's EnlargedSampler for any data set, yielding `EpochIndex` instead of int.

    A data set that draws its randomness from (seed, epoch, repeat, index) then gives the same samples whatever the
    number of workers, persistent ones included, which hold copies of the data set that never hear of `set_epoch`.

    In one process the order is the host's. In several the processes share out that very order, so a step sees the same
    samples as one process with as many times the batch; for that an epoch leaves out the surplus of fewer than
    `num_replicas` samples, where the host pads it to a longer order of its own. The order depends on the epoch only.
    `resume` lets one epoch begin where an earlier run left it, with any number of processes; `len` counts it whole.

    Args:
        dataset: the data set, of which only the length is used.
        num_replicas: number of processes that share the epoch.
        rank: number of this process among them, from 0.
        ratio: how often each image occurs in an epoch (`dataset_enlarge_ratio`).
    """

    def __init__(self, dataset: Sized, num_replicas: int, rank: int, ratio: float = 1) -> None:
        super().__init__(dataset, num_replicas, rank, ratio)
        self.epoch_size = math.ceil(len(dataset) * ratio)  # samples of all processes together
        # Fewer samples than processes: some are shared, as in the host, so that each process has one.
        self.num_samples = max(self.epoch_size // num_replicas, min(self.epoch_size, 1))
        self.total_size = self.num_samples * num_replicas
        self.starts: dict[int, int] = {}  # epoch -> samples that an earlier run has used

    def resume(self, epoch: int, position: int) -> None:
        """Leaves out the first `position` samples, of all processes together, of an epoch."""
        self.starts = {epoch: position}

    def __iter__(self) -> Iterator[EpochIndex]:
        # Bound now: set_epoch may be called while an iterator of the epoch before is still in use.
        return self._indices(self.epoch)

    def _indices(self, epoch: int) -> Iterator[EpochIndex]:
        generator = torch.Generator()
        generator.manual_seed(epoch)
        order = torch.randperm(self.epoch_size, generator=generator)
        for position in range(self.starts.get(epoch, 0) + self.rank, self.total_size, self.num_replicas):
            repeat, index = divmod(int(order[position % self.epoch_size]), len(self.dataset))
            yield EpochIndex(index, epoch=epoch, repeat=repeat, position=position)
