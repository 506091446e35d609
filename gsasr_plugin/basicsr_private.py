"""Methods that BasicSR calls private, all that this package uses: seen in BasicSR 1.4.2, the only one it goes with.

Without one of them there would be an AttributeError when it is called. Nothing else of this package names them.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def note_best(model: Any, dataset: str, values: Mapping[str, float], iteration: int | str) -> None:
    """Keeps each metric's best value of a data set in `model.best_metric_results`, which the log and states show.

    Args:
        model: a model of BasicSR's.
        dataset: its name.
        values: of an iteration, by the names in `val.metrics`.
        iteration: it.
    """
    model._initialize_best_metric_results(dataset)
    for metric, value in values.items():
        model._update_best_metric_result(dataset, metric, value, iteration)


def log_metrics(model: Any, dataset: str, iteration: int | str, tb_logger: Any) -> None:
    """Logs `model.metric_results` of a data set, beside its best ones if they are kept, in tensorboard too."""
    model._log_validation_metric_values(iteration, dataset, tb_logger)


def log_other_keys(model: Any, net: nn.Module, state: dict[str, Tensor]) -> None:
    """Logs the keys in which a network and a state dict differ, and drops what is of other sizes from it."""
    model._print_different_keys_loading(net, state, False)
