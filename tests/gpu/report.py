"""What a part of the suite tells: figures, and checks of them, kept in a file after each, so that a part which is
stopped leaves what it had.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_whole(file: Path, content: bytes) -> None:
    """Writes a file that whoever reads it, or stops this process, finds whole: the old one, or the new one."""
    unfinished = file.with_name(f'{file.name}.new')
    unfinished.write_bytes(content)
    unfinished.replace(file)


class Report:
    """The findings of one part.

    Args:
        file: what they are written to, as JSON.
    """

    def __init__(self, file: Path):
        self._file = file
        self._figures: dict[str, Any] = {}
        self._failures: list[str] = []
        self._not_here: list[str] = []

    def figure(self, name: str, value: Any) -> None:
        """Keeps a number, a text or a dictionary of them; the name tells the unit."""
        print(f'{name}: {value}', flush=True)
        self._figures[name] = value
        self._write()

    def check(self, name: str, holds: bool, told: str = '') -> None:
        """Notes a failure where something does not hold; the part goes on."""
        print(f'{"ok" if holds else "FAILED"}: {name}{told and f" ({told})"}', flush=True)
        if not holds:
            self._failures.append(f'{name}{told and f" ({told})"}')
        self._write()

    def at_most(self, name: str, value: float, limit: float) -> None:
        """A figure with an upper bound; NaN is above any."""
        self.figure(name, value)
        self.check(name, value <= limit, f'{value:.3g}, at most {limit:.3g}')

    def not_here(self, what: str, why: str) -> None:
        """Notes what this machine cannot show."""
        print(f'not here: {what}: {why}', flush=True)
        self._not_here.append(f'{what}: {why}')
        self._write()

    @property
    def failed(self) -> bool:
        return bool(self._failures)

    def _write(self) -> None:
        content = {'figures': self._figures, 'failures': self._failures, 'not_here': self._not_here}
        write_whole(self._file, json.dumps(content, indent=1).encode())
