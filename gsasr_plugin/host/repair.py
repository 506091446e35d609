"""What is replaced in BasicSR: by what, and why."""

import pkgutil
from collections.abc import Callable
from typing import Any, NamedTuple


class Repair(NamedTuple):
    """One replacement.

    Attributes:
        name: what is replaced, by its full name.
        why: what is wrong with it, for `gsasr info`.
        make: makes the replacement of the original.
        also: the modules that have imported it by name.
    """

    name: str
    why: str
    make: Callable[[Any], Any]
    also: tuple[str, ...] = ()


def apply(repair: Repair) -> None:
    """Puts the replacement in place, unless it is there already."""
    owner, _, attribute = repair.name.rpartition('.')
    original = getattr(pkgutil.resolve_name(owner), attribute)
    if not is_ours(original):
        replacement = repair.make(original)
        for place in (owner, *repair.also):
            setattr(pkgutil.resolve_name(place), attribute, replacement)


def is_ours(thing: Any) -> bool:
    """Whether a function, a class or an object of a class is made here."""
    module = getattr(thing, '__module__', None) or type(thing).__module__
    return str(module).startswith('gsasr_plugin.')
