"""What a repair tells, and how it looks for the host's defect."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Repair(NamedTuple):
    """What became of one repair: its name, whether it is in force in this process, and why (a sentence)."""

    name: str
    in_force: bool
    why: str


def mentions(function: Callable, *names: str) -> bool:
    """Whether the code of `function` uses one of `names` as an attribute or a global."""
    code = getattr(function, '__code__', None)
    return code is not None and not set(names).isdisjoint(code.co_names)


def is_ours(function: Any) -> bool:
    """Whether a function of the host's has been replaced by one of this room."""
    return str(getattr(function, '__module__', None)).startswith(__package__)
