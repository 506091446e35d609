"""Keys that every section under `datasets` may have, whatever its data set: BasicSR's loop and loader read them."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from gsasr_plugin.option_types import NonNegativeInt, PositiveInt


def _in_its_folder(name: str) -> str:
    if not name.isprintable() or set(name) & {'/', '\\'} or not name.strip('. '):
        raise ValueError('no name of a folder')
    return name


# Of a run or a data set: what it writes goes into a folder of that name.
FolderName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=150,
        title='a text of 1 to 150 printable characters without / and \\, and not only dots',
    ),
    AfterValidator(_in_its_folder),
]


@dataclass(kw_only=True)
class LoaderOptions:
    """Keys of every data set.

    Attributes:
        name: name of the data set in logs and result folders.
        type: the registered class.
        dataset_enlarge_ratio: train: how often each image occurs in an epoch; with 1.5 an epoch has every image once
            and half of them twice, with 0.5 half of them: those that are due.
        prefetch_mode: cpu: a thread fetches batches ahead; cuda: they are copied to the GPU ahead.
        num_prefetch_queue: how many batches prefetch_mode cpu fetches ahead.
        pin_memory: batches lie in page-locked memory, which prefetch_mode cuda needs.
        persistent_workers: train: keep the workers from epoch to epoch.
    """

    name: FolderName
    type: str
    # BasicSR makes a list of all samples of an epoch.
    dataset_enlarge_ratio: Annotated[float, Field(gt=0, le=1e6)] = 1
    prefetch_mode: Literal['cpu', 'cuda'] | None = None
    num_prefetch_queue: PositiveInt = 1
    pin_memory: bool = False
    persistent_workers: bool = False


@dataclass(kw_only=True)
class TrainLoaderOptions(LoaderOptions):
    """Keys of `datasets.train`.

    Attributes:
        batch_size_per_gpu: samples per GPU, or per process on CPUs, and iteration.
        num_worker_per_gpu: worker processes per GPU, or of each process on CPUs.
        use_shuffle: kept from BasicSR's option files, without effect: training is always shuffled.
    """

    batch_size_per_gpu: PositiveInt
    num_worker_per_gpu: Annotated[int, Field(ge=0, le=1024)]  # a mistyped one would take all memory
    use_shuffle: bool = True


@dataclass(kw_only=True)
class EvalLoaderOptions(LoaderOptions):
    """Keys of the validation and test sets.

    Attributes:
        batch_size_per_gpu: without effect: one image at a time.
        num_worker_per_gpu: without effect: no worker processes.
        use_shuffle: without effect: in their order.
    """

    batch_size_per_gpu: PositiveInt = 1
    num_worker_per_gpu: NonNegativeInt = 0
    use_shuffle: bool = False
