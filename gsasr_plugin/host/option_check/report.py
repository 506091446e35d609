"""Collecting the problems of one option file, and what all checks of a section have in common."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from gsasr_plugin.host.option_check.option_file import OptionFile
from gsasr_plugin.host.option_check.problems import KeyPath, Problem
from gsasr_plugin.option_types import Accepted, closest, listed, shown


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

    def error(
        self, path: KeyPath, fault: str, accepted: str = '', suggestion: str | None = None, *, is_error: bool = True
    ) -> None:
        """Note that the option at `path` cannot be used."""
        line = self._line(path)
        self.problems.append(
            Problem(path=path, fault=fault, accepted=accepted, suggestion=suggestion, line=line, is_error=is_error)
        )

    def warn(self, path: KeyPath, fault: str, accepted: str = '') -> None:
        """Note that the option at `path` is probably not what was meant."""
        self.error(path, fault, accepted, is_error=False)

    def wrong(self, path: KeyPath, value: object, accepted: str) -> None:
        """Note a value of the wrong type or outside of what is accepted."""
        self.error(path, f'given {shown(value)}', accepted)

    def section(self, options: Mapping[str, Any], path: KeyPath) -> dict[str, Any] | None:
        """The mapping at `path`, of which `options` is the parent; None, with an error, where it is something else."""
        value = options.get(str(path[-1]))
        if isinstance(value, dict):
            return value
        self.wrong(path, value, 'a section: keys with values, indented below it')
        return None

    def check(
        self,
        section: Mapping[Any, Any],
        path: KeyPath,
        accepted: Accepted,
        *,
        strict: bool = True,
        owned: Collection[str] = (),
        silently: Iterable[str] = (),
    ) -> bool:
        """Note what is wrong with a section.

        Args:
            strict: Whether an unknown key is an error; else a warning, except where it seems to misspell an owned key.
            owned: Those of the accepted keys that are the plugin's.
            silently: Keys that are accepted too, but not worth quoting.

        Returns:
            Whether nothing is wrong with it.
        """
        allowed = {*accepted.options, *silently}
        before = len(self.problems)
        for fault in accepted.faults(section):
            if not fault.is_unknown:
                self.error((*path, *fault.path), fault.text, fault.accepted, fault.suggestion)
            elif fault.path[0] not in allowed:
                guess = closest(fault.path[0], allowed)
                is_error = strict or guess in owned
                text = fault.text if is_error else fault.text.replace('unknown key', 'unknown key, not used')
                self.error((*path, *fault.path), text, listed(accepted.options), guess, is_error=is_error)
        return len(self.problems) == before

    def check_together(self, path: KeyPath, options_class: type, values: Mapping[str, Any]) -> None:
        """Note what no type says, but the class of the options: those that exclude or need each other."""
        try:
            options_class(**values)
        except (TypeError, ValueError) as error:
            self.error(path, str(error))

    def _line(self, path: KeyPath) -> int | None:
        """The line of the option or, where it is missing or inside a list, of the closest section around it.

        None for what `--force_yml` has set, and for the whole file.
        """
        if not path or path in self._file.forced:
            return None
        key_path = tuple(str(key) for key in path)
        return self._file.lines.get(key_path, self._line(path[:-1]))
