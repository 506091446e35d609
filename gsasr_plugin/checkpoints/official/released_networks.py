"""How a kind of released network leads to one of ours: sizes from shapes, and where each of our tensors comes from."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from gsasr_plugin.checkpoints.official.shapes import Shapes
from gsasr_plugin.checkpoints.official.unused_keys import unused_key

LISTED = 20  # keys of a kind of fault that a message lists


class OfficialCheckpointError(ValueError):
    """A state dict that is not a complete one of a released network.

    Attributes:
        missing: released keys that it lacks.
        unexpected: its keys that no released network of the kind has.
    """

    def __init__(self, message: str, *, missing: Sequence[str] = (), unexpected: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.missing = list(missing)
        self.unexpected = list(unexpected)


@dataclass(frozen=True)
class Place:
    """Where one of our tensors comes from.

    Attributes:
        keys: the released keys that it is made of.
        convert: makes it of their tensors.
    """

    keys: tuple[str, ...]
    convert: Callable[..., Tensor] = lambda tensor: tensor


@dataclass(frozen=True)
class ReleasedNetwork:
    """A kind of released network.

    Attributes:
        name: as in `unused_keys.UNUSED_KEYS` and, for encoders, as `encoder_opt: type`.
        title: what messages call it.
        signature: regular expression of the keys that speak for the kind; the kind with the most of them is taken.
        options: works out our options.
        place: says where the tensor under one of our keys comes from.
    """

    name: str
    title: str
    signature: str
    options: Callable[[Shapes], dict[str, Any]]
    place: Callable[[str], Place]

    def matches(self, state: Mapping[str, Tensor]) -> int:
        """How many keys speak for this kind."""
        return sum(re.fullmatch(self.signature, key) is not None for key in state)


def rename(key: str, rules: Sequence[tuple[str, str]]) -> str:
    """Applies pairs of a regular expression and its replacement in turn."""
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


def recognise(state: Mapping[str, Tensor], kinds: Sequence[ReleasedNetwork], source: str) -> ReleasedNetwork:
    """The kind to which a state dict belongs.

    Raises:
        OfficialCheckpointError: none of them.
    """
    kind = max(kinds, key=lambda kind: kind.matches(state))
    if not kind.matches(state):
        raise OfficialCheckpointError(
            f'{source} is no state dict of a released network, which is one of: '
            f'{", ".join(kind.title for kind in kinds)}; missing: all their keys; unexpected: {_listed(list(state))}',
            unexpected=list(state),
        )
    return kind


def fill(net: nn.Module, kind: ReleasedNetwork, state: Mapping[str, Tensor], source: str) -> None:
    """Loads a released state dict into a network of ours; every key must be used or redundant.

    Args:
        net: the network built with the options that `kind` gave for this state dict.
        kind: the kind of the state dict.
        state: the state dict.
        source: its name, for messages.

    Raises:
        OfficialCheckpointError: keys are missing, unexpected or of a wrong shape; the message lists them.
    """
    targets = net.state_dict()
    places = {key: kind.place(key) for key in targets}
    used = dict.fromkeys(key for place in places.values() for key in place.keys)
    missing = [key for key in used if key not in state]
    unexpected = [key for key in state if key not in used and unused_key(kind.name, key) is None]
    faults = []
    if missing:
        faults.append(f'missing: {_listed(missing)}')
    if unexpected:
        faults.append(f'unexpected: {_listed(unexpected)}')

    ours: dict[str, Tensor] = {}
    unfit = []
    for key, place in places.items():
        given = [state[released] for released in place.keys if released in state]
        if len(given) < len(place.keys):
            continue
        try:
            ours[key] = place.convert(*given)
            fits = ours[key].shape == targets[key].shape
        except (RuntimeError, IndexError):
            fits = False
        if not fits:
            shapes = ', '.join(f'{name} {tuple(tensor.shape)}' for name, tensor in zip(place.keys, given))
            unfit.append(f'{shapes} (for {tuple(targets[key].shape)})')
    if unfit:
        faults.append(f'of a shape that does not fit the other tensors: {_listed(unfit)}')
    if faults:
        raise OfficialCheckpointError(
            f'{source} is no complete {kind.title}; {"; ".join(faults)}', missing=missing, unexpected=unexpected
        )
    net.load_state_dict(ours)
    _warn_of_surprises(kind, state, source)


def _warn_of_surprises(kind: ReleasedNetwork, state: Mapping[str, Tensor], source: str) -> None:
    """Says which redundant tensors are not what makes them redundant."""
    surprises: dict[str, list[str]] = {}
    for key, tensor in state.items():
        entry = unused_key(kind.name, key)
        if entry is not None and entry.follows is not None and not entry.follows(key, tensor):
            surprises.setdefault(entry.reason, []).append(key)
    for reason, keys in surprises.items():
        warnings.warn(f'{source}: left out are {reason}; but these are not: {_listed(keys)}', stacklevel=4)


def _listed(keys: Sequence[str]) -> str:
    more = f', and {len(keys) - LISTED} more' if len(keys) > LISTED else ''
    return ', '.join(keys[:LISTED]) + more
