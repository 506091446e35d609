"""What is wrong with an option: one message that names file, key path, what was given and what is accepted."""

from collections.abc import Iterator
from dataclasses import dataclass

from gsasr_plugin.option_types import dotted

KeyPath = tuple[str | int, ...]


def leaves(value: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    """All values below `value` that are no mappings and no lists, with their places; items have that of their list."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, path)
    else:
        yield path, value


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One fault of an option file.

    Attributes:
        path: Keys from the root to the option at fault.
        fault: What is wrong, as a sentence without its full stop.
        accepted: What could stand there instead, in words; '' where the fault says so itself.
        suggestion: The known key or name that was probably meant, or None.
        line: Line of the option in its file, counted from 1; None for options that come from the command line or from
            the file's base.
        is_error: False for a warning.
    """

    path: KeyPath
    fault: str
    accepted: str = ''
    suggestion: str | None = None
    line: int | None = None
    is_error: bool = True

    def message(self, file: str) -> str:
        """The problem in one or two lines, `file` first."""
        where = file if self.line is None else f'{file}:{self.line}'
        kind = 'error' if self.is_error else 'warning'
        text = f'{where}: {kind}: {dotted(self.path)}: {self.fault}' if self.path else f'{where}: {kind}: {self.fault}'
        if self.suggestion is not None:
            text += f"; did you mean '{self.suggestion}'?"
        if self.accepted:
            text += f'\n    accepted: {self.accepted}'
        return text


class OptionError(ValueError):
    """Options that cannot be used; `problems` holds every fault, the text of the error names them all."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.file = file
        self.problems = problems
        # In the order of the file; what has no line comes from the command line.
        ordered = sorted(problems, key=lambda problem: problem.line or 0)
        super().__init__('\n'.join(problem.message(file) for problem in ordered))
