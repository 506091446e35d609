"""What is wrong with an option: one message that names file, key path, what was given and what is accepted."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

KeyPath = tuple[str | int, ...]

# Long lists of names are cut here in messages.
_MOST_NAMES = 40


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


def dotted(path: KeyPath) -> str:
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
    text = 'null' if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else text[:77] + '...'


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
