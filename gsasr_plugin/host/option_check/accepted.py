"""What a section of an option file accepts: keys, types and defaults, read from a signature or a dataclass."""

import dataclasses
import inspect
import operator
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ConfigDict, PydanticSchemaGenerationError, PydanticUserError, Strict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

_PLAIN_WORDS = {
    str: 'a text',
    int: 'a whole number',
    float: 'a number',
    bool: 'true or false',
    type(None): 'null',
    dict: 'a mapping',
    list: 'a list',
    tuple: 'a list',
}
_BOUNDS = {'gt': 'greater than', 'ge': 'at least', 'lt': 'less than', 'le': 'at most'}


@dataclass(frozen=True)
class Words:
    """Annotation metadata: how messages describe the type, where the type alone says too little."""

    text: str


@dataclass(frozen=True)
class Option:
    """One accepted key: its type annotation (Any: unchecked) and whether it must be given."""

    annotation: Any = Any
    required: bool = False


@dataclass(frozen=True)
class Accepted:
    """The keys that a section accepts; `open_ended` where its class also takes keys that nothing names (`**kwargs`)."""

    options: Mapping[str, Option]
    open_ended: bool = False

    @property
    def required(self) -> list[str]:
        return [name for name, option in self.options.items() if option.required]


def accepted_by_signature(signature: inspect.Signature, leave_out: Sequence[str] = ()) -> Accepted:
    """What can be passed by keyword to a function or a constructor, except the names in `leave_out`.

    A parameter without annotation takes the type of its default; an unannotated one without default is not checked.
    """
    options = {}
    open_ended = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            open_ended = True
        elif parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            required = parameter.default is parameter.empty
            if parameter.annotation is parameter.empty:
                annotation = Any if required else _type_of_default(parameter.default)
            else:
                # What stays a string could not be evaluated where it was written.
                annotation = Any if isinstance(parameter.annotation, str) else parameter.annotation
            options[parameter.name] = Option(annotation, required)
    return Accepted({name: option for name, option in options.items() if name not in leave_out}, open_ended)


def accepted_by_class(cls: type, leave_out: Sequence[str] = ()) -> Accepted:
    """What the constructor of `cls` takes by keyword; unknown to Python (some C classes): anything."""
    try:
        signature = inspect.signature(cls, eval_str=True)
    except (NameError, AttributeError, SyntaxError, TypeError):
        try:
            signature = inspect.signature(cls)
        except (TypeError, ValueError):
            return Accepted({}, open_ended=True)
    except ValueError:
        return Accepted({}, open_ended=True)
    return accepted_by_signature(signature, leave_out)


def accepted_by_dataclass(cls: type) -> Accepted:
    """The fields of a dataclass that its constructor takes."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return Accepted(
        {
            item.name: Option(
                hints.get(item.name, Any),
                item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING,
            )
            for item in dataclasses.fields(cls)
            if item.init
        }
    )


def type_fault(value: Any, annotation: Any) -> tuple[tuple[str | int, ...], str] | None:
    """Whether `value`, as read from YAML, fits a type annotation.

    Types are taken literally (a text is not a number, true is not 1), except that a whole number is a number and a
    list of the right length is a tuple.

    Returns:
        None if it fits; else the path inside `value` to the part at fault, and the reason in words ('' where the
        description of the type says enough).
    """
    adapter = _adapter(annotation)
    if adapter is None:
        return None
    try:
        adapter.validate_python(value)
    except ValidationError as failure:
        errors = failure.errors(include_url=False, include_context=False)
        reason = errors[0]['msg'].removeprefix('Value error, ') if errors[0]['type'] == 'value_error' else ''
        return (errors[0]['loc'] if len(errors) == 1 and _leads_inside(errors[0]['loc'], value) else (), reason)
    return None


def described(annotation: Any) -> str:
    """A type annotation in words: 'a number, at least 0', 'a list of 2: a number, a number'."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _described_annotated(arguments[0], arguments[1:])
    if annotation is Any:
        return 'any value'
    if origin is Literal:
        return ' or '.join(str(value).lower() if isinstance(value, bool) else str(value) for value in arguments)
    if _is_union(annotation):
        # What has no words (a tensor, say) cannot stand in a file either.
        return ' or '.join(dict.fromkeys(text for text in map(described, arguments) if text))
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return f'a list of {len(arguments)}: {", ".join(map(described, arguments))}'
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return (
            'a mapping'
            if arguments[1] is Any
            else f'a mapping from {described(arguments[0])} to {described(arguments[1])}'
        )
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        return f'a list (of {described(arguments[0])})'
    if inspect.isclass(annotation) and annotation not in _PLAIN_WORDS:
        if issubclass(annotation, Mapping):
            return 'a mapping'
        if issubclass(annotation, Sequence):
            return 'a list'
    return _PLAIN_WORDS.get(annotation, '')


def literal_values(annotation: Any) -> list[Any]:
    """All values that the Literals inside an annotation name."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for argument in get_args(annotation) for value in literal_values(argument)]


def _described_annotated(base: Any, metadata: Sequence[Any]) -> str:
    bounds = []
    for item in metadata:
        if isinstance(item, Words):
            return item.text
        for constraint in item.metadata if isinstance(item, FieldInfo) else [item]:
            bounds += [
                f'{words} {getattr(constraint, name)}' for name, words in _BOUNDS.items() if hasattr(constraint, name)
            ]
    return ', '.join([described(base), *bounds])


def _leads_inside(location: Sequence[str | int], value: Any) -> bool:
    """Whether a location that pydantic names is one of `value`: alternatives of a union put their names into it."""
    for key in location:
        inside = value if isinstance(value, dict) else dict(enumerate(value)) if isinstance(value, list) else {}
        if key not in inside:
            return False
        value = inside[key]
    return True


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _type_of_default(default: Any) -> Any:
    """The type of a parameter that the host left unannotated, guessed from its default."""
    if isinstance(default, bool):
        return bool
    if isinstance(default, int | float):
        # A default of 1 does not say that 0.5 is wrong (EDSR's res_scale).
        return float
    if isinstance(default, str):
        return str
    if isinstance(default, list | tuple):
        return list
    return Any


def _adapter(annotation: Any) -> TypeAdapter | None:
    """Pydantic's validator of an annotation, or None where it knows none."""
    if annotation is Any:
        return None
    try:
        return TypeAdapter(_as_read(annotation), config=ConfigDict(strict=True, arbitrary_types_allowed=True))
    except (PydanticSchemaGenerationError, PydanticUserError):
        return None


def _as_read(annotation: Any) -> Any:
    """An annotation with every tuple accepting the list that YAML makes of it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is tuple:
        return Annotated[tuple, Strict(False)]
    if origin is Annotated:
        return operator.getitem(Annotated, (_as_read(arguments[0]), *arguments[1:]))
    if origin is Literal or not arguments:
        return annotation
    inner = tuple(_as_read(argument) if get_args(argument) or argument is tuple else argument for argument in arguments)
    if _is_union(annotation):
        return Union[inner]  # noqa: UP007 (the alternatives are a tuple)
    if origin is tuple:
        return Annotated[tuple[inner], Strict(False)]  # type: ignore[valid-type]
    return origin[inner] if hasattr(origin, '__class_getitem__') else annotation
