"""The training sampler: it says of each image in which epoch, and which time in it, it is drawn, and by which seed."""

import math
from collections.abc import Iterator, Sized

import torch
from torch.utils.data import Sampler


class EpochIndex(int):
    """An index into a data set that carries when it was drawn. Any data set can use it as the plain int it is.

    Attributes:
        epoch: the sampler's epoch, from 0.
        repeat: how many times `dataset_enlarge_ratio` had put this image into the epoch before, from 0.
        position: how many samples of the epoch come before, in all processes.
        seed: the sampler's.
    """

    epoch: int
    repeat: int
    position: int
    seed: int

    def __new__(cls, index: int, *, epoch: int = 0, repeat: int = 0, position: int = 0, seed: int = 0) -> 'EpochIndex':
        self = super().__new__(cls, index)
        self.epoch = epoch
        self.repeat = repeat
        self.position = position
        self.seed = seed
        return self

    def __getnewargs_ex__(self) -> tuple[tuple[int], dict[str, int]]:
        return (int(self),), self.__dict__

    def __repr__(self) -> str:
        return f'EpochIndex({int(self)}, {", ".join(f"{name}={value}" for name, value in self.__dict__.items())})'


class EpochSampler(Sampler[int]):
    """In place of BasicSR's EnlargedSampler, for any data set: yields `EpochIndex` instead of int.

    A data set that draws its randomness from (seed, epoch, repeat, index) then gives the same samples whatever the
    number of workers, persistent ones included, which hold copies of the data set that never hear of `set_epoch`.

    An epoch of N images has ceil(N * ratio) samples: every image as often as the whole part of the ratio says, and for
    the rest of it as many images as are still missing. These are cut from a sequence of permutations of all images, in
    which each epoch goes on where the one before ended: after any number of epochs, of two images none has been drawn
    more than once more often than the other. The order depends on seed and epoch; with seed 0 and a whole ratio it is
    BasicSR's.

    Several processes share out the order of one, so a step sees the same samples as one process with as many times the
    batch; for that an epoch leaves out the surplus of fewer than `num_replicas` samples, where BasicSR pads it to a
    longer order of its own. `resume` lets one epoch begin where an earlier run left it, with any number of processes;
    `len` counts it whole.

    Args:
        dataset: the data set, of which only the length is used.
        num_replicas: number of processes that share the epoch.
        rank: number of this process among them, from 0.
        ratio: how often each image occurs in an epoch (`dataset_enlarge_ratio`), positive.

    Attributes:
        seed: of the order; the run sets it to its `manual_seed`.
    """

    def __init__(self, dataset: Sized, num_replicas: int, rank: int, ratio: float = 1) -> None:
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.seed = 0
        # Samples of all processes together; 10 images 1.1 times are 11, which floats know as 11.000000000000002.
        self.epoch_size = math.ceil(len(dataset) * ratio * (1 - 1e-12))
        # Fewer samples than processes: some are shared, as in BasicSR, so that each process has one.
        self.num_samples = max(self.epoch_size // num_replicas, min(self.epoch_size, 1))
        self.starts: dict[int, int] = {}  # epoch -> samples that an earlier run has used

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """The epoch of iterators made from now on."""
        self.epoch = epoch

    def resume(self, epoch: int, position: int) -> None:
        """Leaves out the first `position` samples, of all processes together, of an epoch."""
        self.starts = {epoch: position}

    def __iter__(self) -> Iterator[EpochIndex]:
        # Bound now: set_epoch may be called while an iterator of the epoch before is still in use.
        return self._indices(self.epoch)

    def _indices(self, epoch: int) -> Iterator[EpochIndex]:
        count = len(self.dataset)
        rest = self._rest(epoch)
        whole = self.epoch_size - len(rest)
        order = _permutation(self.epoch_size, self.seed, epoch)
        end = self.num_samples * self.num_replicas
        for position in range(self.starts.get(epoch, 0) + self.rank, end, self.num_replicas):
            number = int(order[position % self.epoch_size])
            repeat, index = divmod(number, count)
            if number >= whole:
                repeat, index = rest[number - whole]
            yield EpochIndex(index, epoch=epoch, repeat=repeat, position=position, seed=self.seed)

    def _rest(self, epoch: int) -> list[tuple[int, int]]:
        """(repeat, index) of an epoch's samples beyond whole passes over the images: its part of the permutations."""
        count = len(self.dataset)
        passes, size = divmod(self.epoch_size, count) if count else (0, 0)
        first = epoch * size // count if size else 0  # the permutation in which the part begins
        # Seeds of their own: from -1 downwards, which no epoch has.
        sequence = [
            (passes + number - first, index)
            for number in ((first, first + 1) if size else ())
            for index in _permutation(count, self.seed, -1 - number).tolist()
        ]
        start = epoch * size - first * count
        return sequence[start : start + size]


def _permutation(size: int, seed: int, number: int) -> torch.Tensor:
    """The numbers below `size` in the order of a seed and a number; with seed 0 as BasicSR orders that epoch."""
    # A generator takes 32 bits. An odd factor with bits all over keeps small seeds and numbers apart.
    generator = torch.Generator().manual_seed((seed * 0x9E3779B1 + number) % 2**32)
    return torch.randperm(size, generator=generator)
