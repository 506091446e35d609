"""The option files that come with this package, what they refer to, and the pages about them.

In the sources they lie in `options` and `docs`; an installed package holds copies of its own.
"""

import os
from pathlib import Path, PurePath

OPTION_SUFFIX = '.yml'

_PACKAGE = Path(__file__).parent
_PAGES = ('options.md', 'photographs.py', 'photographs.txt')  # of the folder docs


def packaged_files() -> dict[str, Path]:
    """Name -> file: the option files first."""
    parent = _PACKAGE if (_PACKAGE / 'options').is_dir() else _PACKAGE.parent
    files = [path for path in sorted((parent / 'options').iterdir()) if path.is_file()]
    files.sort(key=lambda path: path.suffix != OPTION_SUFFIX)
    return {path.name: path for path in [*files, *(parent / 'docs' / name for name in _PAGES)]}


def packaged_file(name: str) -> Path | None:
    """The file that comes with this package under a name, None if there is none.

    Args:
        name: as `gsasr options` lists it, or its path in the sources: `train_gsasr_rdn`, `train_gsasr_rdn.yml`,
            `options/train_gsasr_rdn.yml`.
    """
    path = PurePath(name)
    if str(path.parent) not in ('.', 'options', 'docs'):
        return None
    files = packaged_files()
    return files.get(path.name) or files.get(path.name + OPTION_SUFFIX)


def given_or_packaged(path: str) -> str:
    """A path, `~` being the user's home; where nothing is there, that of the packaged file of this name, if any."""
    expanded = os.path.expanduser(path)
    return expanded if os.path.exists(expanded) else str(packaged_file(path) or expanded)
