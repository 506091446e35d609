"""What classes of models, networks and data sets may state of themselves, for the check of option files.

A class of any plugin joins by plain class attributes of these names; there is nothing to inherit from. What a class
does not state has the default given here, and the check then says less about its options. Classes of BasicSR, which
state nothing, are described in `gsasr_plugin.host.option_check.pairings`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol


class ModelContract(Protocol):
    """What the class that `model_type` names may state.

    An options class is a dataclass whose fields are keys of a section, with types, bounds (`annotated_types` or
    pydantic's `Field`) and defaults; its docstring's `Attributes:` hold a sentence for each. Such a key is checked
    strictly, and what its `__post_init__` raises (ValueError, TypeError) is an error of the section. Other keys of the
    section are BasicSR's, or named in the model's code.

    Attributes:
        network_types: the classes of `network_g` that it runs, with their subclasses; such a network then is an error
            beside BasicSR's own models. (): any.
        dataset_types: the classes of data sets that it trains on, validates and tests with, likewise. (): any.
        train_options_class: options class of keys that it reads in `train`, beside BasicSR's.
        val_options_class: the same of `val`.
        logger_options_class: the same of `logger`.
        optimizer_types: names of torch.optim that `train.optim_*.type` may be. None: those that its `get_optimizer`
            names.
        crop_border_auto: whether metrics may have `crop_border: auto`, and one that compares with ground truth is left
            out where there is none.
        has_discriminator: whether it trains `network_d`, by an adversarial loss among the terms that it reads.
    """

    network_types: ClassVar[tuple[type, ...]] = ()
    dataset_types: ClassVar[tuple[type, ...]] = ()
    train_options_class: ClassVar[type | None] = None
    val_options_class: ClassVar[type | None] = None
    logger_options_class: ClassVar[type | None] = None
    optimizer_types: ClassVar[Sequence[str] | None] = None
    crop_border_auto: ClassVar[bool] = False
    has_discriminator: ClassVar[bool] = False


class DatasetContract(Protocol):
    """What the class that `type` names in a section of `datasets` may state.

    Attributes:
        options_class: options class (see `ModelContract`) of the whole section; any other key is an error.
        inner_options: options classes of the mappings that may stand under keys of the section.
        resolve_root: function that finds what a `dataroot_*` names, and raises FileNotFoundError. None: a path.
    """

    options_class: ClassVar[type | None] = None
    inner_options: ClassVar[Mapping[str, type]] = {}
    resolve_root: ClassVar[Callable[[str], str] | None] = None


class NetworkContract(Protocol):
    """What the class that `type` names in a section `network_*` may state.

    Attributes:
        largest_size: no whole number among its options may be larger. The check then builds it, without memory where
            it allows that, and reports what its constructor refuses. None: it is not built.
    """

    largest_size: ClassVar[int | None] = None


def stated(cls: type | None, contract: type, name: str) -> Any:
    """What a class states under a name of its contract, or the default."""
    return getattr(cls, name, getattr(contract, name))
