"""Looking up the classes that `type:` names, and what the code of a class says about the options that it reads."""

import itertools
import types
from collections.abc import Iterator
from typing import Any

from basicsr.utils.registry import Registry

# BasicSR tries this suffix when a name is not registered.
_SUFFIX = '_basicsr'
_PLUGIN = __name__.partition('.')[0]


def registered(registry: Registry, name: object) -> Any:
    """The class or function registered as `name`, or None."""
    known = dict(iter(registry))
    return known.get(name, known.get(f'{name}{_SUFFIX}'))


def registered_names(registry: Registry) -> list[str]:
    """Every name that a `type:` may have in this registry."""
    return [name.removesuffix(_SUFFIX) for name, _ in registry]


def texts_in_code(cls: type | None) -> set[str]:
    """All string constants in the methods of `cls` and its bases: among them are the keys of the options it reads.

    Classes of BasicSR and of other plugins say nowhere else what they accept. Those of this plugin state all of it:
    their code, and that of their bases, is left out.
    """
    texts: set[str] = set()
    bases = () if cls is None else cls.__mro__
    for base in itertools.takewhile(lambda base: base.__module__.partition('.')[0] != _PLUGIN, bases):
        for attribute in vars(base).values():
            function = getattr(attribute, '__func__', attribute)
            code = getattr(getattr(function, '__wrapped__', function), '__code__', None)
            if code is not None:
                texts.update(_constants(code))
    return texts


def _constants(code: types.CodeType) -> Iterator[str]:
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, tuple | frozenset):
            yield from (item for item in constant if isinstance(item, str))
        elif isinstance(constant, types.CodeType):
            yield from _constants(constant)
