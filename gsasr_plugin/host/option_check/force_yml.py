"""`--force_yml a:b=value`: the host's syntax, parsed without its exec and eval."""

import ast
import re
from typing import Any

import yaml

from gsasr_plugin.host.option_check.option_file import OptionFile, OptionLoader
from gsasr_plugin.host.option_check.problems import OptionError, Problem, closest, dotted, listed

_INTEGER = re.compile(r'[-+]?[0-9]+\Z')
_FLOAT = re.compile(r'[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z')


def force_options(file: OptionFile, entries: list[str]) -> None:
    """Set options of `file` in place, each entry `key:key=value` in the order given.

    As with the host, the last key may be new while the sections on the way must exist.

    Args:
        file: The options to change.
        entries: As given on the command line. See `parse_value` for what a value may be.

    Raises:
        OptionError: An entry has no '=', an empty key, a value that is not valid, or leads through something that is
            not a section; all bad entries are named.
    """
    problems = []
    for entry in entries:
        try:
            _force_option(file, entry)
        except ValueError as error:
            problems.append(Problem(path=(f'--force_yml {entry}',), fault=str(error)))
    if problems:
        raise OptionError(file.path, problems)


def parse_value(text: str) -> Any:
    """The value that `text` stands for on the command line.

    `none`, `null` and `~` are None; `true` and `false` booleans (in any case); then integers and decimals, also with
    an exponent; `[...]` is a list, `{...}` a mapping; text in quotes is that text; anything else is text as it stands.

    Raises:
        ValueError: A list, a mapping or a quotation is not closed or not valid.
    """
    text = text.strip()
    lowered = text.lower()
    if lowered in ('none', 'null', '~'):
        return None
    if lowered in ('true', 'false'):
        return lowered == 'true'
    # The host accepts this tag too, as option files use it.
    if text.startswith('!!float'):
        return float(text.removeprefix('!!float'))
    if _INTEGER.match(text):
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    if text[:1] in ('[', '{', '"', "'"):
        return _parse_collection(text)
    return text


def _parse_collection(text: str) -> Any:
    # The host evaluates lists as Python, in which None and True are values and tuples are possible.
    try:
        return _plain(ast.literal_eval(text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    try:
        return yaml.load(text, Loader=OptionLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f'{text} is neither a list, nor a mapping, nor a quoted text') from error


def _plain(value: Any) -> Any:
    """Tuples as lists, throughout; refuses what an option file cannot hold."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f'{value!r} cannot stand in an option file')


def _force_option(file: OptionFile, entry: str) -> None:
    key_text, equals, value_text = entry.partition('=')
    keys = [key.strip() for key in key_text.split(':')]
    if not equals or not all(keys):
        raise ValueError("written as key=value, with ':' between nested keys, e.g. train:total_iter=100")
    value = parse_value(value_text)

    section: Any = file.options
    for depth, key in enumerate(keys[:-1]):
        if not isinstance(section, dict) or key not in section:
            known = section if isinstance(section, dict) else ()
            guess = closest(key, known)
            raise ValueError(
                f"there is no section '{dotted(tuple(keys[: depth + 1]))}'"
                + (f"; did you mean '{guess}'?" if guess else '')
                + (f' (given are: {listed(known)})' if known else '')
            )
        section = section[key]
    if not isinstance(section, dict):
        raise ValueError(f"'{dotted(tuple(keys[:-1]))}' is not a section")

    section[keys[-1]] = value
    file.host_reads_the_same = False
    # What is reported about this option must not point into the file.
    file.forced.add(tuple(keys))
