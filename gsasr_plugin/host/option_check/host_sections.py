"""The keys of BasicSR's own option sections, with their types and what they do: the one place where they are written.

BasicSR has no such list: it reads each key where it needs it. A test compares this one with its code. Types are as
strict as its use of them; whole numbers may be written with an exponent (`!!float 5e3`), as its files do. The keys that
its loader reads in every data set are in `gsasr_plugin.data.loader_options`.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from gsasr_plugin.data.loader_options import FolderName
from gsasr_plugin.option_types import NonNegativeInt, PositiveInt, PositiveNumber

# As often as that, or so many: written as a whole number or, like BasicSR's `!!float 5e3`, with an exponent.
Count = Annotated[float, Field(ge=1, multiple_of=1, allow_inf_nan=False, title='a whole number, at least 1')]
# A path (or, for a GSASR, a folder or a name), or the authors' two files.
PretrainedModel = Annotated[
    str | Annotated[list[str], Field(min_length=2, max_length=2)],
    Field(title='a path, or a list of two: encoder and decoder'),
]


@dataclass(kw_only=True)
class RootOptions:
    """The top level of an option file, beside `network_*` (one section per network).

    Attributes:
        name: name of the run, and of the folder of what it writes.
        model_type: the class that trains and tests; GSASRModel for a GSASR.
        num_gpu: GPUs to use, 0 for the CPU; auto: all that torch sees. One process drives one GPU.
        datasets: the sections `train`, `val` and `val_<anything>`; when testing `test`, `test_<anything>`, `val`, ...
        path: files to load.
        train: the training.
        val: validation and testing.
        logger: what a training reports and stores, and how often.
        dist_params: what `--launcher slurm` needs.
        scale: factor of BasicSR's own data sets and models; it is copied into every data set.
        manual_seed: seed of all random numbers; None: drawn, and noted in the log.
        find_unused_parameters: several processes: let a network have parameters that take no part in a loss.
    """

    name: FolderName
    model_type: str
    num_gpu: Literal['auto'] | NonNegativeInt
    datasets: dict[str, Any]
    path: dict[str, Any]
    train: dict[str, Any] | None = None
    val: dict[str, Any] | None = None
    logger: dict[str, Any] | None = None
    dist_params: dict[str, Any] | None = None
    scale: PositiveNumber | None = None
    # NumPy takes seeds of 32 bits; BasicSR adds the rank to it.
    manual_seed: Annotated[int, Field(ge=0, lt=2**32 - 2**16)] | None = None
    find_unused_parameters: bool = False


@dataclass(kw_only=True)
class PathOptions:
    """`path`, for one network `g`; every other key would become a folder of that name.

    Attributes:
        pretrain_network_g: weights to start from or to test: a file; for a GSASR also the name of a model
            (`gsasr-small`, `official/paper-edsr`, ...), a folder with the authors' two files, or these two.
        param_key_g: which weights of the file: `params`, or `params_ema`, their average.
        strict_load_g: refuse a file that does not fit the network key by key.
        resume_state: training state (`.state`) from which to go on; `--auto_resume` finds the newest itself.
        ignore_resume_networks: networks whose weights a resumed run does not take from its checkpoint.
    """

    pretrain_network_g: PretrainedModel | None = None
    param_key_g: str | None = 'params'
    strict_load_g: bool = True
    resume_state: str | None = None
    ignore_resume_networks: str | list[str] | None = None


# Keys of `path` that exist once for each network.
PATH_KEYS_PER_NETWORK = ('pretrain_network_', 'param_key_', 'strict_load_')


@dataclass(kw_only=True)
class TrainOptions:
    """`train`, as BaseModel, SRModel and the training loop read it.

    Attributes:
        total_iter: iterations of the whole training.
        optim_g: the optimizer: a class of torch.optim as `type`, `lr`, and other arguments of that class.
        scheduler: how the learning rate falls.
        warmup_iter: iterations in which the learning rate rises from 0; -1: none.
        ema_decay: share of the averaged weights that a step keeps; they are validated and tested. 0: no average.
        pixel_opt: loss between pixels.
        perceptual_opt: loss between features of a VGG network.
    """

    total_iter: Count
    optim_g: dict[str, Any]
    scheduler: dict[str, Any]
    warmup_iter: int = -1
    ema_decay: Annotated[float, Field(ge=0, le=1)] = 0
    pixel_opt: dict[str, Any] | None = None
    perceptual_opt: dict[str, Any] | None = None


@dataclass(kw_only=True)
class MultiStepSchedulerOptions:
    """`train.scheduler` of the types MultiStepLR and MultiStepRestartLR, which BasicSR takes for the same.

    Attributes:
        milestones: iterations at which the learning rate is multiplied by gamma.
        gamma: that factor.
        restarts: iterations at which it starts again.
        restart_weights: factors of the learning rate at these.
    """

    milestones: list[Count]
    gamma: PositiveNumber = 0.1
    restarts: list[NonNegativeInt] = field(default_factory=lambda: [0])
    restart_weights: list[float] = field(default_factory=lambda: [1])


@dataclass(kw_only=True)
class CosineSchedulerOptions:
    """`train.scheduler` of the type CosineAnnealingRestartLR.

    Attributes:
        periods: iterations of each period; together at least train.total_iter.
        restart_weights: factors of the learning rate at the beginning of each.
        eta_min: the learning rate at its end.
    """

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
    """`val`, whether training or testing.

    Attributes:
        save_img: write the images.
        metrics: a section for each metric, under any name: its `type` and arguments, and `better`: higher or lower.
        pbar: show the progress.
        suffix: testing: last part of the images' names; None: the name of the run.
    """

    save_img: bool
    metrics: dict[str, Any] | None = None
    pbar: bool = False
    suffix: str | None = None


@dataclass(kw_only=True)
class TrainingValOptions(ValOptions):
    """`val`, when training.

    Attributes:
        val_freq: iterations from one validation to the next; when testing neither needed nor used.
    """

    val_freq: Count


@dataclass(kw_only=True)
class TestingValOptions(ValOptions):
    """`val`, when testing, where the frequency is accepted and not used."""

    val_freq: Count | None = None


@dataclass(kw_only=True)
class LoggerOptions:
    """`logger`, when training.

    Attributes:
        print_freq: iterations from one line of the log to the next.
        save_checkpoint_freq: iterations from one checkpoint to the next.
        use_tb_logger: write curves for tensorboard.
        wandb: report to Weights & Biases, which needs tensorboard's.
    """

    print_freq: Count
    save_checkpoint_freq: Count
    use_tb_logger: bool
    wandb: dict[str, Any] | None = None


@dataclass(kw_only=True)
class WandbOptions:
    """`logger.wandb`.

    Attributes:
        project: name of the project; None: no reports.
        resume_id: identity of the run that goes on.
    """

    project: str | None = None
    resume_id: str | None = None


@dataclass(kw_only=True)
class DistOptions:
    """`dist_params`, read with `--launcher slurm`.

    Attributes:
        backend: of torch.distributed; on CPUs gloo, whatever stands here.
        port: on which the processes meet; None: the environment's MASTER_PORT, or 29500.
    """

    backend: str = 'nccl'
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
