"""Sizes of a network, read from the keys and shapes of its state dict.

Every reader has a default for a key that is missing, so that an incomplete dict still leads to a network whose keys it
can be compared with: the error then lists all that is missing, not only the first.
"""

import math
import re
from collections.abc import Mapping

from torch import Tensor


class Shapes:
    """Questions about a state dict; all patterns are regular expressions of the whole key."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self._shapes = {key: tuple(value.shape) for key, value in state.items()}

    def has(self, pattern: str) -> bool:
        """Whether a key matches."""
        return any(re.fullmatch(pattern, key) for key in self._shapes)

    def size(self, pattern: str, dim: int, default: int) -> int:
        """Size along `dim` of the first tensor whose key matches and that has so many dimensions."""
        for key, shape in self._shapes.items():
            if len(shape) > dim and re.fullmatch(pattern, key):
                return shape[dim]
        return default

    def count(self, pattern: str) -> int:
        """One more than the largest number in the pattern's one group; 0 where no key matches."""
        found = (re.fullmatch(pattern, key) for key in self._shapes)
        return max((int(match[1]) + 1 for match in found if match), default=0)


def side_of_square(area: int) -> int:
    """Side of a square of so many pixels (rounded down: a wrong shape is found when tensors are compared)."""
    return math.isqrt(max(area, 0))


def window_of_table(rows: int) -> int:
    """Side of the window whose table of relative position biases has so many rows, (2 * side - 1) ** 2."""
    return (side_of_square(rows) + 1) // 2


def ratio(hidden: int, width: int) -> float:
    """The smallest float at which `int(width * ratio)` is `hidden`, or just above."""
    exact = hidden / width
    return exact if int(width * exact) == hidden else math.nextafter(exact, math.inf)
