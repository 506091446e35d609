"""What a section of options accepts, read from the class or function that takes it, and what is wrong with a section.

Keys, types, bounds, defaults and sentences stand once: in an options dataclass, or in a signature and its docstring.
Pydantic checks a section as if it were JSON, strictly: a list is a tuple and 1 is a number, but '1' and true are none.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import json
import re
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
NonNegativeNumber = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]

REQUIRED: Any = ...
_Class = TypeVar('_Class')
_CONFIG = ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)
_PLAIN_WORDS = {
    'string': 'a text',
    'integer': 'a whole number',
    'number': 'a number',
    'boolean': 'true or false',
    'null': 'null',
    'object': 'a mapping',
    'array': 'a list',
}
_BOUNDS = {
    'exclusiveMinimum': 'greater than',
    'minimum': 'at least',
    'exclusiveMaximum': 'less than',
    'maximum': 'at most',
}
_MOST_NAMES = 40  # of a list in a message


@dataclass(frozen=True)
class Option:
    """One key: its type annotation (Any: unchecked), its default (REQUIRED: none) and a sentence on what it does."""

    annotation: Any = Any
    default: Any = REQUIRED
    sentence: str = ''


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a section.

    Attributes:
        path: keys from the section to the value at fault.
        text: what is wrong, as a sentence without its full stop.
        accepted: what could stand there, in words.
        suggestion: the key or value that was probably meant, or None.
        is_unknown: whether the key is none that the section accepts.
    """

    path: tuple[str | int, ...]
    text: str
    accepted: str = ''
    suggestion: str | None = None
    is_unknown: bool = False


@dataclass(frozen=True)
class Accepted:
    """The keys that a section accepts; `open_ended` where it also takes keys that nothing names (`**kwargs`)."""

    options: Mapping[str, Option]
    open_ended: bool = False

    def with_options(self, **options: Option) -> Accepted:
        """The same, with some options more or in place of others."""
        return dataclasses.replace(self, options={**self.options, **options})

    def without(self, names: Collection[str]) -> Accepted:
        """The same without some options."""
        return dataclasses.replace(self, options={key: self.options[key] for key in self.options if key not in names})

    @functools.cached_property
    def model(self) -> type[BaseModel]:
        """The pydantic model of the section."""
        # By aliases, for a key may be one that a model has itself, such as `copy`.
        fields: dict[str, Any] = {
            f'option_{number}': (
                option.annotation if _is_known(option.annotation) else Any,
                Field(option.default, alias=name, description=option.sentence or None),
            )
            for number, (name, option) in enumerate(self.options.items())
        }
        config = ConfigDict(**_CONFIG, extra='allow' if self.open_ended else 'forbid')
        return create_model('Section', __config__=config, **fields)

    def schema(self) -> dict[str, Any]:
        """The JSON schema of the section."""
        return self.model.model_json_schema(schema_generator=_Schema)

    def faults(self, section: Mapping[Any, Any]) -> list[Fault]:
        """What is wrong with a section as it was read from YAML; what is missing comes last."""
        try:
            content = json.dumps(section, ensure_ascii=False, default=repr).encode('utf-8', 'replace')
            self.model.__pydantic_validator__.validate_json(content)
        except ValidationError as failure:
            errors: dict[Any, list[Any]] = {}
            for error in failure.errors(include_url=False, include_input=False):
                errors.setdefault(error['loc'][:1], []).append(error)
            keys = {_json_key(key): key for key in section}
            # In the order of the section; what it lacks comes last.
            order = {(key,): position for position, key in enumerate(keys, 1)} | {(): 0}
            at = sorted(errors, key=lambda key: order.get(key, len(order)))
            return [self._fault(section, keys, key, errors[key]) for key in at]
        return []

    def _fault(self, section: Mapping[Any, Any], keys: Mapping[str, Any], at: Any, errors: list[Any]) -> Fault:
        """The fault of one key, of which pydantic may say several things: one for each alternative."""
        first = errors[0]
        if not at:
            return Fault((), 'nested too deeply to be read')
        name = at[0]
        if first['type'] == 'extra_forbidden':
            guess = closest(keys[name], self.options)
            return Fault((keys[name],), f'unknown key (given {shown(section[keys[name]])})', '', guess, is_unknown=True)
        schema = self.schema()['properties'][name]
        if name not in keys:
            return Fault((name,), 'missing', words(schema))
        path: tuple[str | int, ...] = (keys[name],)
        value = section[keys[name]]
        if len(errors) == 1 and (inside := _inside(section, first['loc'])) is not None:
            path, value = inside
        reason = f' ({first["msg"].removeprefix("Value error, ")})' if first['type'] == 'value_error' else ''
        guess = closest(value, _named_values(schema)) if isinstance(value, str) else None
        return Fault(path, f'given {shown(value)}{reason}', words(schema), guess)


def accepted_by_dataclass(cls: type) -> Accepted:
    """The fields of a dataclass that its constructor takes, with the sentences of the docstring's `Attributes:`."""
    hints, said = typing.get_type_hints(cls, include_extras=True), sentences(cls, 'Attributes')
    options = {}
    for item in dataclasses.fields(cls):
        default = item.default if item.default is not dataclasses.MISSING else REQUIRED
        if item.default_factory is not dataclasses.MISSING:
            default = item.default_factory()
        if item.init:
            options[item.name] = Option(hints.get(item.name, Any), default, said.get(item.name, ''))
    return Accepted(options)


def accepted_by_call(function: Callable[..., Any], leave_out: Sequence[str] = ()) -> Accepted:
    """What can be passed by keyword to a function or class, except `leave_out`, with the sentences of its `Args:`.

    A parameter without annotation takes the type of its default; an unannotated one without default is not checked.
    Unknown to Python (some C classes): anything.
    """
    try:
        signature = inspect.signature(function, eval_str=True)
    except (NameError, AttributeError, SyntaxError, TypeError, ValueError):
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):
            return Accepted({}, open_ended=True)
    said = sentences(function, 'Args')
    options = {}
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY) and name not in leave_out:
            default = REQUIRED if parameter.default is parameter.empty else parameter.default
            annotation = parameter.annotation
            if annotation is parameter.empty:
                annotation = _type_of_default(default)
            # What stays a string could not be evaluated where it was written.
            options[name] = Option(Any if isinstance(annotation, str) else annotation, default, said.get(name, ''))
    return Accepted(options, any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()))


def build_options(cls: Callable[..., _Class], values: Mapping[str, Any], what: str = '') -> _Class:
    """An options dataclass from a mapping.

    Args:
        cls: the dataclass.
        values: its options.
        what: words before the message of an error.

    Raises:
        ValueError: a key is unknown, or a value of the wrong type or out of its range; all are named. Or as the class
            says.
    """
    check_values(_accepted(cls), values, what)
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f'{what}{error}') from error


def check_fields(options: Any) -> None:
    """For the `__post_init__` of an options dataclass: raises ValueError, naming them, for values that do not fit."""
    cls: Any = type(options)
    check_values(_accepted(cls), vars(options))


def check_values(accepted: Accepted, values: Mapping[str, Any], what: str = '') -> None:
    """Raises ValueError, with `what` before it, that names all keys and values that are not accepted."""
    faults = accepted.faults(values)
    if faults:
        raise ValueError(what + '; '.join(_sentence(fault, accepted) for fault in faults))


_accepted = functools.cache(accepted_by_dataclass)


def _sentence(fault: Fault, accepted: Accepted) -> str:
    name = dotted(fault.path)
    hint = f'; did you mean {fault.suggestion!r}?' if fault.suggestion is not None else ''
    if fault.is_unknown:
        return f'unknown option {name!r}{hint}; known are {listed(accepted.options)}'
    return f'{name}: {fault.text}{hint}' + (f'; accepted: {fault.accepted}' if fault.accepted else '')


def sentences(documented: Any, heading: str) -> dict[str, str]:
    """What the docstring of a function, or of a class and its bases, says under `Args:` or `Attributes:`, by name."""
    said: dict[str, str] = {}
    for owner in reversed(getattr(documented, '__mro__', (documented,))):
        text = inspect.cleandoc((vars(owner).get('__doc__') if isinstance(owner, type) else owner.__doc__) or '')
        _, found, block = f'\n{text}\n'.partition(f'\n{heading}:\n')
        names: list[str] = []
        for line in block.splitlines() if found else ():
            entry = re.match(r' {4}(\w+(?:, \w+)*)(?: \(.*?\))?: ?(.*)', line)
            if line and not line.startswith(' '):
                break
            if entry:
                names = entry[1].split(', ')
                said.update(dict.fromkeys(names, entry[2]))
            elif line.strip():
                said.update({name: f'{said[name]} {line.strip()}'.strip() for name in names})
    return said


def words(schema: Mapping[str, Any]) -> str:
    """A JSON schema in words: 'a number, at least 0', 'a list of 2: a number, a number'; its title, if it has one."""
    if 'title' in schema:
        return schema['title']
    if 'anyOf' in schema:
        return ' or '.join(dict.fromkeys(filter(None, map(words, schema['anyOf']))))
    if 'enum' in schema or 'const' in schema:
        return ' or '.join(_plain(value) for value in schema.get('enum', [schema.get('const')]))
    if 'prefixItems' in schema:
        return f'a list of {len(schema["prefixItems"])}: {", ".join(map(words, schema["prefixItems"]))}'
    text = _PLAIN_WORDS.get(schema.get('type', ''), '')
    if schema.get('items'):
        text += f' (of {words(schema["items"])})'
    if isinstance(inside := schema.get('additionalProperties'), Mapping):
        text += f' (to {words(inside)})'
    if 'minItems' in schema and schema['minItems'] == schema.get('maxItems'):
        text = text.replace('a list', f'a list of {schema["minItems"]}')
    return ', '.join([text, *(f'{bound} {schema[key]}' for key, bound in _BOUNDS.items() if key in schema)])


def _named_values(schema: Any) -> Iterator[Any]:
    """All values that a schema names."""
    if isinstance(schema, Mapping):
        yield from schema.get('enum', [schema['const']] if 'const' in schema else [])
        for inside in schema.values():
            yield from _named_values(inside)
    elif isinstance(schema, list):
        for inside in schema:
            yield from _named_values(inside)


class _Schema(GenerateJsonSchema):
    """Without titles that only repeat names; what cannot stand in a file has no schema."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        return {}

    def union_schema(self, schema: Any) -> JsonSchemaValue:
        united = super().union_schema(schema)
        if isinstance(united.get('anyOf'), list):
            united['anyOf'] = [choice for choice in united['anyOf'] if choice] or [{}]
        return united


def _is_known(annotation: Any) -> bool:
    """Whether pydantic knows what to do with an annotation; anybody may write anything there."""
    try:
        TypeAdapter(annotation, config=_CONFIG)
    except Exception:
        return False
    return True


def _type_of_default(default: Any) -> Any:
    """The type of a parameter that was left unannotated, guessed from its default."""
    if isinstance(default, bool):
        return bool
    if isinstance(default, int | float):
        # A default of 1 does not say that 0.5 is wrong (EDSR's res_scale).
        return float
    if isinstance(default, str):
        return str
    return list if isinstance(default, list | tuple) else Any


def is_plain(value: object) -> bool:
    """Whether a value could stand in an option file."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def _json_key(key: Any) -> str:
    return key if isinstance(key, str) else json.dumps(key)


def _inside(section: Any, location: Sequence[str | int]) -> tuple[tuple[str | int, ...], Any] | None:
    """The path and the value that a location of pydantic's leads to; None where it names alternatives of a union."""
    path, value = [], section
    for step in location:
        items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
        found = [(key, item) for key, item in items if key == step or _json_key(key) == step]
        if not found:
            return None
        path.append(found[0][0])
        value = found[0][1]
    return tuple(path), value


def dotted(path: Iterable[str | int]) -> str:
    """`network_g.encoder_opt.num_feat`, `scales[2]`."""
    text = ''
    for key in path:
        text += f'[{key}]' if isinstance(key, int) else f'.{key}' if text else str(key)
    return text


def closest(name: object, known: Iterable[object]) -> str | None:
    """The known name that `name` most probably misspells or abbreviates, or None."""
    given = str(name).lower()
    by_lower_case = {str(candidate).lower(): str(candidate) for candidate in known}
    matches = difflib.get_close_matches(given, by_lower_case, n=3, cutoff=0.6)
    if not matches:
        matches = [candidate for candidate in sorted(by_lower_case) if len(given) > 1 and candidate.startswith(given)]
    # Among equally similar names, the one with the same letters: EDRS is EDSR rather than EDVR.
    matches.sort(key=lambda match: (_similarity(given, match), sorted(match) == sorted(given)), reverse=True)
    return by_lower_case[matches[0]] if matches else None


def _similarity(given: str, known: str) -> float:
    # The arguments in the order of difflib.get_close_matches: the ratio depends on it.
    return difflib.SequenceMatcher(None, known, given).ratio()


def listed(names: Iterable[object]) -> str:
    """Names in alphabetical order, separated by commas, cut where there are very many."""
    ordered = sorted({str(name) for name in names}, key=str.lower)
    rest = len(ordered) - _MOST_NAMES
    return ', '.join(ordered[:_MOST_NAMES]) + (f' and {rest} more' if rest > 0 else '')


def shown(value: object) -> str:
    """A value as it stands in an option file, shortened."""
    text = repr(value) if isinstance(value, str) else _plain(value)
    return text if len(text) <= 80 else text[:77] + '...'


def _plain(value: object) -> str:
    return 'null' if value is None else str(value).lower() if isinstance(value, bool) else str(value)
