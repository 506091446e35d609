"""Reading an option file safely and writing one: ordered, no Python tags, no duplicate keys, `1e-4` is a number.

A file may build on another: `extends: FILE`, beside it, gives every option that it does not give itself.
"""

import os
import re
import tempfile
from dataclasses import dataclass, field
from typing import Any

import yaml

from gsasr_plugin.host.option_check.problems import KeyPath, OptionError, Problem

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


OptionLoader.add_implicit_resolver('tag:yaml.org,2002:float', _EXPONENT_FLOAT, list('-+.0123456789'))


class OptionDumper(_Dumper):
    """The counterpart of `OptionLoader`: quotes texts that it would take for numbers, repeats shared values."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


OptionDumper.add_implicit_resolver('tag:yaml.org,2002:float', _EXPONENT_FLOAT, list('-+.0123456789'))


class _HostLoader(_Loader):
    """Reads a vetted text as the host's own loader does (YAML 1.1, no merge keys)."""


_HostLoader.add_constructor(
    yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, lambda loader, node: dict(loader.construct_pairs(node, deep=True))
)


@dataclass
class OptionFile:
    """The options of one file.

    Attributes:
        path: The file, as the user named it.
        options: Nested dictionaries in the file's order; `--force_yml` and defaults change them in place.
        lines: Line (from 1) of each key path of the file; what comes from its base has none.
        forced: Key paths that `--force_yml` has set.
        host_reads_the_same: Whether the host, given the file itself, would read exactly `options`.
    """

    path: str
    options: dict[str, Any]
    lines: dict[KeyPath, int] = field(default_factory=dict)
    forced: set[KeyPath] = field(default_factory=set)
    host_reads_the_same: bool = True


def read_option_file(path: str) -> OptionFile:
    """Read a YAML option file, with the file that it builds on, if any.

    Args:
        path: The file, UTF-8.

    Raises:
        OptionError: The file cannot be read, is not YAML, carries a tag that would create Python objects, gives a key
            twice, is not a mapping, or builds on itself; the message names file and line.
    """
    return _read(path, ())


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
    base_path = os.path.join(os.path.dirname(path), base)
    if os.path.realpath(base_path) in chain:
        raise _file_error(path, f'{EXTENDS}: {base} builds on this file itself', file.lines[EXTENDS,])
    file.options = _merged(_read(base_path, chain).options, file.options)
    file.host_reads_the_same = False
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
        raise _file_error(path, f'the option file cannot be read: {reason}{where}') from error

    try:
        root = yaml.compose(text, Loader=OptionLoader)
        options = yaml.load(text, Loader=OptionLoader)
    except yaml.constructor.ConstructorError as error:
        fault = error.problem or str(error)
        if 'could not determine a constructor for the tag' in fault:
            fault = f'{fault}; option files hold plain values only'
        raise _file_error(path, fault, _line_of(error)) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = getattr(error, 'problem', None) or str(error) or type(error).__name__
        context = getattr(error, 'context', None)
        fault = f'not valid YAML: {context + ", " if context else ""}{problem}'
        raise _file_error(path, fault, _line_of(error)) from error
    if not isinstance(options, dict) or not all(isinstance(key, str) for key in options):
        found = 'nothing' if options is None else f'a {type(options).__name__}'
        raise _file_error(path, f'an option file is a mapping of section names to options; found {found}')

    lines: dict[KeyPath, int] = {}
    _collect_lines(root, (), lines)
    return OptionFile(path, options, lines, host_reads_the_same=_host_reads(text, options))


def write_option_file(options: dict[str, Any], path: str, comments: list[str]) -> None:
    """Write options as YAML that both this package and the host read back as given; whole or not at all.

    Args:
        options: Nested dictionaries, lists and plain values.
        path: Where to write; its folder exists.
        comments: Lines to stand first, without the `#`.
    """
    text = ''.join(f'# {line}\n' for comment in comments for line in comment.splitlines())
    text += yaml.dump(options, Dumper=OptionDumper, sort_keys=False, allow_unicode=True, width=120)
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path) or '.', suffix='.tmp')
    try:
        with open(descriptor, 'w', encoding='utf-8') as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _file_error(path: str, fault: str, line: int | None = None) -> OptionError:
    return OptionError(path, [Problem(path=(), fault=fault, line=line)])


def _line_of(error: Exception) -> int | None:
    mark = getattr(error, 'problem_mark', None) or getattr(error, 'context_mark', None)
    return None if mark is None else mark.line + 1


def _host_reads(text: str, options: dict[str, Any]) -> bool:
    """Whether the host's loader makes exactly `options` of the text."""
    try:
        host_options = yaml.load(text, Loader=_HostLoader)
    except yaml.YAMLError:
        return False
    # Compared as text, so that 1 and 1.0 and True differ.
    return repr(host_options) == repr(options)


def _collect_lines(node: yaml.Node | None, path: KeyPath, lines: dict[KeyPath, int]) -> None:
    """Note the line of every key of nested mappings; what lies behind an alias has the line of its anchor."""
    if not isinstance(node, yaml.MappingNode):
        return
    for key_node, value_node in node.value:
        key_path = (*path, key_node.value)
        lines[key_path] = key_node.start_mark.line + 1
        _collect_lines(value_node, key_path, lines)
