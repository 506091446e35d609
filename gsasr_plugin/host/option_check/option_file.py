"""Reading an option file safely and writing one: ordered, no Python tags, no duplicate keys, `1e-4` is a number.

A file may build on another: `extends: FILE`, beside it or one that comes with this package, gives every option that it
does not give itself.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gsasr_plugin.host.option_check.problems import KeyPath, OptionError, Problem
from gsasr_plugin.packaged_files import given_or_packaged
from gsasr_plugin.whole_file import write_whole

# YAML 1.1, which PyYAML follows, takes 1e-4 for a string because it has no dot. YAML 1.2 and every user take it for a
# number.
_EXPONENT_FLOAT = re.compile(r'[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+\Z')

# The key under which a file names the one that it builds on.
EXTENDS = 'extends'

_Loader: Any = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
_Dumper: Any = getattr(yaml, 'CSafeDumper', yaml.SafeDumper)


class OptionLoader(_Loader):
    """PyYAML's safe loader, with exponents as in YAML 1.2 and an error for keys given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        first_lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == 'tag:yaml.org,2002:merge':
                continue
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str | int | float):
                raise yaml.constructor.ConstructorError(
                    None, None, f'a key must be a text or a number, given {key!r}', key_node.start_mark
                )
            if key in first_lines:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' stands here and in line {first_lines[key]}", key_node.start_mark
                )
            first_lines[key] = line
        # Deep, so that an anchor inside itself is an error.
        return super().construct_mapping(node, deep=True)

    def construct_short_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > 100:  # of more than some thousand digits, no message could be made
            raise yaml.constructor.ConstructorError(None, None, 'a number of more than 100 digits', node.start_mark)
        return self.construct_yaml_int(node)


OptionLoader.add_implicit_resolver('tag:yaml.org,2002:float', _EXPONENT_FLOAT, list('-+.0123456789'))
# What JSON can hold too: no dates (2024-01-01 is a text), sets or bytes.
OptionLoader.yaml_constructors = {
    tag: constructor
    for tag, constructor in _Loader.yaml_constructors.items()
    if tag is None or tag.removeprefix('tag:yaml.org,2002:') in ('null', 'bool', 'int', 'float', 'str', 'seq', 'map')
}
OptionLoader.add_constructor('tag:yaml.org,2002:int', OptionLoader.construct_short_int)
OptionLoader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if not tag.endswith(':timestamp')]
    for first, resolvers in OptionLoader.yaml_implicit_resolvers.items()
}


class OptionDumper(_Dumper):
    """The counterpart of `OptionLoader`: quotes texts that it would take for numbers, repeats shared values."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


OptionDumper.add_implicit_resolver('tag:yaml.org,2002:float', _EXPONENT_FLOAT, list('-+.0123456789'))


class YamlError(ValueError):
    """A text that is not YAML, or holds more than plain values; `line` counts from 1, None: no line is at fault."""

    def __init__(self, fault: str, line: int | None) -> None:
        super().__init__(fault)
        self.line = line


def load_yaml(text: str) -> Any:
    """What a text stands for: nested dictionaries, lists, texts, numbers, true, false and None.

    Raises:
        YamlError: it is not YAML, carries a tag that would create something else, or gives a key twice.
    """
    try:
        return yaml.load(text, Loader=OptionLoader)
    except (yaml.YAMLError, ValueError, IndexError, RecursionError) as error:  # IndexError: `!!float` of nothing
        mark = getattr(error, 'problem_mark', None) or getattr(error, 'context_mark', None)
        problem = getattr(error, 'problem', None) or str(error) or type(error).__name__
        if 'could not determine a constructor for the tag' in problem:
            fault = f'{problem}; option files hold plain values only'
        elif isinstance(error, yaml.constructor.ConstructorError):
            fault = problem
        else:
            context = getattr(error, 'context', None)
            fault = f'not valid YAML: {context + ", " if context else ""}{problem}'
        raise YamlError(fault, None if mark is None else mark.line + 1) from error


@dataclass
class OptionFile:
    """The options of one file.

    Attributes:
        path: The file, as the user named it.
        options: Nested dictionaries in the file's order; `--force_yml` and defaults change them in place.
        lines: Line (from 1) of each key path of the file; what comes from its base has none.
        forced: Key paths that `--force_yml` has set.
        text: The file as it was read.
    """

    path: str
    options: dict[str, Any]
    lines: dict[KeyPath, int] = field(default_factory=dict)
    forced: set[KeyPath] = field(default_factory=set)
    text: str = ''


def read_option_file(path: str) -> OptionFile:
    """Read a YAML option file, with the file that it builds on, if any.

    Args:
        path: The file, UTF-8; where there is none, the name of one that comes with this package.

    Raises:
        OptionError: The file cannot be read, is not YAML, carries a tag that would create Python objects, gives a key
            twice, is not a mapping, or builds on itself; the message names file and line.
    """
    return _read(given_or_packaged(path), ())


def _read(path: str, built_on: tuple[str, ...]) -> OptionFile:
    """Read a file for those of `built_on`, the outermost first."""
    file = _read_one(path)
    if EXTENDS not in file.options:
        return file
    base = file.options.pop(EXTENDS)
    chain = (*built_on, os.path.realpath(path))
    if not isinstance(base, str):
        fault = f'{EXTENDS} names the option file that this one builds on, as a text; given {base!r}'
        raise _file_error(path, fault, file.lines[EXTENDS,])
    beside = os.path.join(os.path.dirname(path), base)
    base_path = beside if os.path.isfile(beside) else given_or_packaged(base)
    if os.path.realpath(base_path) in chain:
        raise _file_error(path, f'{EXTENDS}: {base} builds on this file itself', file.lines[EXTENDS,])
    if not os.path.isfile(base_path):
        raise _file_error(path, f'{EXTENDS}: {beside} is not there', file.lines[EXTENDS,])
    file.options = _merged(_read(base_path, chain).options, file.options)
    return file


def _merged(base: dict[Any, Any], own: dict[Any, Any]) -> dict[Any, Any]:
    """The options of `base`, with those of `own` in their places; sections are merged, anything else is replaced."""
    merged = dict(base)
    for key, value in own.items():
        before = merged.get(key)
        merged[key] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def _read_one(path: str) -> OptionFile:
    try:
        with open(path, encoding='utf-8') as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'it is not UTF-8 text'
        where = '' if os.path.isabs(path) else f' (current folder: {os.getcwd()})'
        known = "; 'gsasr options' lists those of this package" if isinstance(error, FileNotFoundError) else ''
        raise _file_error(path, f'the option file cannot be read: {reason}{where}{known}') from error

    try:
        options = load_yaml(text)
    except YamlError as error:
        raise _file_error(path, str(error), error.line) from error
    if not isinstance(options, dict) or not all(isinstance(key, str) for key in options):
        found = 'nothing' if options is None else f'a {type(options).__name__}'
        if isinstance(options, dict):
            found = f'the name {next(key for key in options if not isinstance(key, str))!r}, which is no text'
        raise _file_error(path, f'an option file is a mapping of section names to options; found {found}')

    lines: dict[KeyPath, int] = {}
    _collect_lines(yaml.compose(text, Loader=OptionLoader), (), lines)
    return OptionFile(path, options, lines, text=text)


def write_option_file(options: dict[str, Any], path: str, comments: list[str]) -> None:
    """Write options as YAML that both this package and BasicSR read back as given; whole or not at all.

    Args:
        options: Nested dictionaries, lists and plain values.
        comments: Lines to stand first, without the `#`.
    """
    text = ''.join(f'# {line}\n' for comment in comments for line in comment.splitlines())
    text += yaml.dump(options, Dumper=OptionDumper, sort_keys=False, allow_unicode=True, width=120)
    write_whole(Path(path), text)


def _file_error(path: str, fault: str, line: int | None = None) -> OptionError:
    return OptionError(path, [Problem(path=(), fault=fault, line=line)])


def _collect_lines(node: yaml.Node | None, path: KeyPath, lines: dict[KeyPath, int]) -> None:
    """Note the line of every key of nested mappings; what lies behind an alias has the line of its anchor."""
    if not isinstance(node, yaml.MappingNode):
        return
    for key_node, value_node in node.value:
        key_path = (*path, key_node.value)
        lines[key_path] = key_node.start_mark.line + 1
        _collect_lines(value_node, key_path, lines)
