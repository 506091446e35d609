"""Faults of option files: other types, and where in a file they can be."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

KeyPath = tuple[Any, ...]

OTHER_TYPES: list[Any] = [
    *(None, True, False, 0, -1, 1, 7, 10**30, -0.5, float('nan'), float('inf'), '', 'x', '1e-4', '../..', 'a\0b'),
    *([], [None], [1, 2], [[1]], ['a', 'b'], {}, {'type': None}, {'type': 'L1Loss'}, {1: 2}, {'a': {'b': []}}),
]


def key_paths(options: Any, before: KeyPath = ()) -> list[KeyPath]:
    """The paths of all keys and list items."""
    inside = options.items() if isinstance(options, dict) else enumerate(options) if isinstance(options, list) else ()
    return [path for key, value in inside for path in [(*before, key), *key_paths(value, (*before, key))]]


def parent(options: Any, path: KeyPath) -> Any:
    """The section or list that holds what a path leads to."""
    for key in path[:-1]:
        options = options[key]
    return options


def misspelt(key: Any, position: int) -> str:
    """With two letters swapped, or twice where that changes nothing."""
    wrong = list(str(key))
    wrong[position : position + 2] = reversed(wrong[position : position + 2])
    return ''.join(wrong) if wrong != list(str(key)) else f'{key}{key}'


def single_faults(options: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Copies with one fault each (a key dropped, misspelt, of another type, nested wrongly), with what it is."""
    for path in key_paths(options):
        section, key = parent(options, path), path[-1]
        changes: dict[str, dict[Any, Any]] = {f'{value!r}': {key: value} for value in OTHER_TYPES}
        changes['in a list'], changes['as text'] = {key: [section[key]]}, {key: str(section[key])}
        if isinstance(section, dict):
            changes['dropped'], changes['misspelt'] = {}, {misspelt(key, 0): section[key]}
            changes['in itself'] = {key: {key: section[key]}}
        for name, change in changes.items():
            faulty = copy.deepcopy(options)
            there = parent(faulty, path)
            if isinstance(there, dict):
                del there[key]
                there.update(copy.deepcopy(change))
            else:
                there[key] = copy.deepcopy(change[key])
            yield f'{":".join(map(str, path))} {name}', faulty
