"""How a kind of released network leads to one of ours: sizes from shapes, and where each of our tensors comes from."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gsasr_plugin.checkpoints.official.shapes import Shapes

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
        place: says where the tensor under one of our keys comes from; by default from that of the same key.
    """

    name: str
    title: str
    signature: str
    options: Callable[[Shapes], dict[str, Any]]
    place: Callable[[str], Place] = lambda key: Place((key,))

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
            f'{", ".join(kind.title for kind in kinds)}; missing: all their keys; unexpected: {listed(list(state))}',
            unexpected=list(state),
        )
    return kind


def listed(keys: Sequence[str]) -> str:
    """The first `LISTED` keys, and how many more there are."""
    more = f', and {len(keys) - LISTED} more' if len(keys) > LISTED else ''
    return ', '.join(keys[:LISTED]) + more
