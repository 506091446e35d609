"""Collecting the problems of one option file, and the checks that every section has in common."""

from collections.abc import Iterable, Mapping
from typing import Any

from gsasr_plugin.host.option_check.accepted import Accepted, described, literal_values, type_fault
from gsasr_plugin.host.option_check.option_file import OptionFile
from gsasr_plugin.host.option_check.problems import KeyPath, Problem, closest, listed, shown


class Report:
    """The problems of one option file, in the order of its sections.

    Args:
        file: Where the options come from; its lines are quoted.
    """

    def __init__(self, file: OptionFile) -> None:
        self._file = file
        self.problems: list[Problem] = []

    @property
    def has_errors(self) -> bool:
        return any(problem.is_error for problem in self.problems)

    def error(self, path: KeyPath, fault: str, accepted: str = '', suggestion: str | None = None) -> None:
        """Note that the option at `path` cannot be used."""
        self.problems.append(
            Problem(path=path, fault=fault, accepted=accepted, suggestion=suggestion, line=self._line(path))
        )

    def warn(self, path: KeyPath, fault: str, accepted: str = '', suggestion: str | None = None) -> None:
        """Note that the option at `path` is probably not what was meant."""
        self.problems.append(
            Problem(
                path=path, fault=fault, accepted=accepted, suggestion=suggestion, line=self._line(path), is_error=False
            )
        )

    def wrong(self, path: KeyPath, value: object, accepted: str, known: Iterable[object] = ()) -> None:
        """Note a value of the wrong type or outside of what is accepted; `known` are names it may misspell."""
        self.error(path, f'given {shown(value)}', accepted, closest(value, known) if isinstance(value, str) else None)

    def section(self, options: Mapping[str, Any], path: KeyPath) -> dict[str, Any] | None:
        """The mapping at `path`, of which `options` is the parent; None, with an error, where it is something else."""
        value = options.get(str(path[-1]))
        if isinstance(value, dict):
            return value
        self.wrong(path, value, 'a section: keys with values, indented below it')
        return None

    def check_types(self, section: Mapping[Any, Any], path: KeyPath, accepted: Accepted) -> None:
        """Check the values of the keys that `accepted` knows."""
        for key, value in section.items():
            option = accepted.options.get(key)
            if option is None:
                continue
            fault = type_fault(value, option.annotation)
            if fault is not None:
                inside, reason = fault
                words = described(option.annotation)
                for inner in inside:
                    value = value[inner]
                given = f'given {shown(value)}' + (f' ({reason})' if reason else '')
                choices = literal_values(option.annotation)
                suggestion = closest(value, choices) if isinstance(value, str) and choices else None
                self.error((*path, key, *inside), given, words, suggestion)

    def check_missing(self, section: Mapping[Any, Any], path: KeyPath, accepted: Accepted) -> None:
        """Note required keys that are not there."""
        for name in accepted.required:
            if name not in section:
                annotation = accepted.options[name].annotation
                self.error((*path, name), 'missing', '' if annotation is Any else described(annotation))

    def check_unknown(
        self,
        section: Mapping[Any, Any],
        path: KeyPath,
        known: Iterable[str],
        *,
        strict: bool,
        owned: Iterable[str] = (),
        silently: Iterable[str] = (),
    ) -> None:
        """Note keys that nothing reads.

        Args:
            section: The section to check.
            path: Its place.
            known: Accepted keys, quoted in messages.
            strict: Whether an unknown key is an error; else a warning, except where it seems to misspell an owned key.
            owned: Those of the known keys that belong to the plugin.
            silently: Keys that are accepted too, but not worth quoting.
        """
        names = set(known) | set(owned)
        owned = set(owned)
        allowed = names | set(silently)
        for key, value in section.items():
            if key in allowed:
                continue
            guess = closest(key, allowed)
            accepted = listed(names)
            if strict or guess in owned:
                self.error((*path, key), f'unknown key (given {shown(value)})', accepted, guess)
            else:
                self.warn((*path, key), f'unknown key, not used (given {shown(value)})', accepted, guess)

    def _line(self, path: KeyPath) -> int | None:
        """The line of the option or, where it is missing or inside a list, of the closest section around it.

        None for what `--force_yml` has set, and for the whole file.
        """
        if not path or path in self._file.forced:
            return None
        key_path = tuple(str(key) for key in path)
        return self._file.lines.get(key_path, self._line(path[:-1]))
