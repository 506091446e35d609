"""Which validation was the best so far, by the mean of one metric."""

from typing import Any, Literal


class BestValue:
    """Follows one metric through the validations of a training.

    Args:
        metric: its name in `val.metrics`; None follows nothing.
    """

    def __init__(self, metric: str | None, better: Literal['higher', 'lower'] = 'higher') -> None:
        self.metric = metric
        self.better = better
        self.value: float | None = None
        self.iteration = 0
        self._found: list[float] = []
        self._found_at = 0

    def add(self, metric: str, value: float, iteration: int) -> None:
        """Takes the value of a metric for one data set and scale."""
        if metric == self.metric:
            if iteration != self._found_at:
                self._found, self._found_at = [], iteration
            self._found.append(value)

    def is_reached(self, iteration: int) -> bool:
        """Whether the mean of what was added for an iteration, now complete, is the best so far; it then is noted."""
        if iteration != self._found_at or not self._found:
            return False
        mean = sum(self._found) / len(self._found)
        self._found = []
        if self.value is not None and not (mean > self.value if self.better == 'higher' else mean < self.value):
            return False
        if mean != mean:
            return False
        self.value, self.iteration = mean, iteration
        return True

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        return {'metric': self.metric, 'value': self.value, 'iteration': self.iteration}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The reverse of `state_dict`; another metric's is of no use."""
        if state.get('metric') == self.metric:
            self.value, self.iteration = state.get('value'), state.get('iteration', 0)
