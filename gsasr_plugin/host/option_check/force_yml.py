"""`--force_yml a:b=value`: the syntax of BasicSR, parsed without its exec and eval."""

from typing import Any

from gsasr_plugin.host.option_check.option_file import OptionFile, load_yaml
from gsasr_plugin.host.option_check.problems import OptionError, Problem
from gsasr_plugin.option_types import closest, dotted, listed


def force_options(file: OptionFile, entries: list[str]) -> None:
    """Set options of `file` in place, each entry `key:key=value` in the order given.

    As with BasicSR, the last key may be new while the sections on the way must exist.

    Args:
        entries: As given on the command line. A value is written as in an option file; `none` is null.

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


def _force_option(file: OptionFile, entry: str) -> None:
    key_text, equals, value_text = entry.partition('=')
    keys = [key.strip() for key in key_text.split(':')]
    if not equals or not all(keys):
        raise ValueError("written as key=value, with ':' between nested keys, e.g. train:total_iter=100")
    value = None if value_text.strip().lower() == 'none' else load_yaml(value_text)

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
    # What is reported about this option must not point into the file.
    file.forced.add(tuple(keys))
