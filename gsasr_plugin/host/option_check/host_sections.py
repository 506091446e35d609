"""The keys of the host's own option sections, with their types: the one place where they are written down.

The host has no such list: it reads each key where it needs it. A test compares this one with the host's code. Types are
as strict as the host's use of them; whole numbers may be written with an exponent (`!!float 5e3`), as its files do.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from gsasr_plugin.host.option_check.accepted import Words


def _whole(value: float) -> float:
    if value != int(value):
        raise ValueError('not whole')
    return value


def _in_its_folder(name: str) -> str:
    if not name.isprintable() or set(name) & {'/', '\\'} or not name.strip('. '):
        raise ValueError('no name of a folder')
    return name


_WHOLE_AND_POSITIVE = 'a whole number, at least 1'
# As often as that, or so many: written as a whole number or, like the host's `!!float 5e3`, with an exponent.
Count = Annotated[float, Field(ge=1, allow_inf_nan=False), AfterValidator(_whole), Words(_WHOLE_AND_POSITIVE)]
# A path (or, for a GSASR, a folder or a name), or the authors' two files.
PretrainedModel = Annotated[
    str | Annotated[list[str], Field(min_length=2, max_length=2)],
    Words('a path, or a list of two: encoder and decoder'),
]
# Of a run or a data set: what it writes goes into a folder of that name.
FolderName = Annotated[
    str,
    Field(min_length=1, max_length=150),
    AfterValidator(_in_its_folder),
    Words('a text of 1 to 150 printable characters without / and \\, and not only dots'),
]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]


@dataclass(kw_only=True)
class RootOptions:
    """The top level of an option file, beside `network_*` (one section per network)."""

    name: FolderName
    model_type: str
    num_gpu: Literal['auto'] | NonNegativeInt
    datasets: dict[str, Any]
    path: dict[str, Any]
    train: dict[str, Any] | None = None
    val: dict[str, Any] | None = None
    logger: dict[str, Any] | None = None
    dist_params: dict[str, Any] | None = None
    # The host copies it into every data set and some models read it.
    scale: Annotated[float, Field(gt=0)] | None = None
    # NumPy takes seeds of 32 bits; the host adds the rank to it.
    manual_seed: Annotated[int, Field(ge=0, lt=2**32 - 2**16)] | None = None
    find_unused_parameters: bool = False


@dataclass(kw_only=True)
class LoaderOptions:
    """Keys that every section under `datasets` may have: the host's loop and data loader read them."""

    name: FolderName
    type: str
    # The host makes a list of all samples of an epoch.
    dataset_enlarge_ratio: Annotated[float, Field(gt=0, le=1e6)] = 1
    prefetch_mode: Literal['cpu', 'cuda'] | None = None
    num_prefetch_queue: PositiveInt = 1
    pin_memory: bool = False
    persistent_workers: bool = False


@dataclass(kw_only=True)
class TrainLoaderOptions(LoaderOptions):
    """Keys of `datasets.train`."""

    batch_size_per_gpu: PositiveInt
    num_worker_per_gpu: Annotated[int, Field(ge=0, le=1024)]  # a mistyped one would take all memory
    # Stands in all of the host's option files, though nothing reads it.
    use_shuffle: bool = True


@dataclass(kw_only=True)
class EvalLoaderOptions(LoaderOptions):
    """Keys of the validation and test sets: one image at a time, so these two are accepted and not used."""

    batch_size_per_gpu: PositiveInt = 1
    num_worker_per_gpu: NonNegativeInt = 0
    use_shuffle: bool = False


@dataclass(kw_only=True)
class PathOptions:
    """`path`, for one network `g`; every other key would become a folder of that name."""

    pretrain_network_g: PretrainedModel | None = None
    param_key_g: str | None = 'params'
    strict_load_g: bool = True
    resume_state: str | None = None
    ignore_resume_networks: str | list[str] | None = None


# Keys of `path` that exist once for each network.
PATH_KEYS_PER_NETWORK = ('pretrain_network_', 'param_key_', 'strict_load_')


@dataclass(kw_only=True)
class TrainOptions:
    """`train`, as BaseModel, SRModel and the training loop read it."""

    total_iter: Count
    optim_g: dict[str, Any]
    scheduler: dict[str, Any]
    warmup_iter: int = -1
    ema_decay: Annotated[float, Field(ge=0, le=1)] = 0
    pixel_opt: dict[str, Any] | None = None
    perceptual_opt: dict[str, Any] | None = None


@dataclass(kw_only=True)
class MultiStepSchedulerOptions:
    """`train.scheduler` of the types MultiStepLR and MultiStepRestartLR, which the host takes for the same."""

    milestones: list[Count]
    gamma: Annotated[float, Field(gt=0)] = 0.1
    restarts: list[NonNegativeInt] = field(default_factory=lambda: [0])
    restart_weights: list[float] = field(default_factory=lambda: [1])


@dataclass(kw_only=True)
class CosineSchedulerOptions:
    """`train.scheduler` of the type CosineAnnealingRestartLR."""

    periods: list[PositiveInt]
    restart_weights: list[float] = field(default_factory=lambda: [1])
    eta_min: Annotated[float, Field(ge=0)] = 0


SCHEDULERS: dict[str, type] = {
    'MultiStepLR': MultiStepSchedulerOptions,
    'MultiStepRestartLR': MultiStepSchedulerOptions,
    'CosineAnnealingRestartLR': CosineSchedulerOptions,
}


@dataclass(kw_only=True)
class ValOptions:
    """`val`, whether training or testing."""

    save_img: bool
    metrics: dict[str, Any] | None = None
    pbar: bool = False
    suffix: str | None = None


@dataclass(kw_only=True)
class TrainingValOptions(ValOptions):
    """`val`, when training."""

    val_freq: Count


@dataclass(kw_only=True)
class TestingValOptions(ValOptions):
    """`val`, when testing, where the frequency is accepted and not used."""

    val_freq: Count | None = None


@dataclass(kw_only=True)
class LoggerOptions:
    """`logger`, when training."""

    print_freq: Count
    save_checkpoint_freq: Count
    use_tb_logger: bool
    wandb: dict[str, Any] | None = None


@dataclass(kw_only=True)
class WandbOptions:
    """`logger.wandb`."""

    project: str | None = None
    resume_id: str | None = None


@dataclass(kw_only=True)
class DistOptions:
    """`dist_params`, read with `--launcher slurm`."""

    backend: str = 'nccl'
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
