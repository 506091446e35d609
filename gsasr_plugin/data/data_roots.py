"""Where the images of a `dataroot_*` option are."""

import contextlib
import importlib.util
import os
from pathlib import Path
from typing import Any

from gsasr_plugin.run_errors import MissingDataError

PACKAGE_PREFIX = 'package:'


def named_paths(option: Any) -> list[str]:
    """The paths that an option names: one, a list, or a mapping to them. What else stands there is left out."""
    values = option.values() if isinstance(option, dict) else option if isinstance(option, list) else [option]
    return [path for path in values if isinstance(path, str)]


def resolve_root(root: str) -> str:
    """The folder that a root names.

    Args:
        root: a folder, `~` being the user's home; or `package:NAME`, the folder of an installed Python package (such as
            `package:skimage.data`, photographs that come with scikit-image).

    Raises:
        MissingDataError: it does not exist; the message names it, and the folder from which a relative one was sought.
    """
    if root.startswith(PACKAGE_PREFIX):
        return str(_package_folder(root))
    folder = os.path.expanduser(root)
    if not os.path.isdir(folder):
        raise MissingDataError(f'dataroot {root!r} is not a folder (looked from {os.getcwd()})')
    return folder


def _package_folder(root: str) -> Path:
    """The folder of an installed package, none of whose code is run: options are read before anybody means to run."""
    name = root.removeprefix(PACKAGE_PREFIX)
    top, *inner = name.split('.')
    # Nothing is imported to find a name without dots.
    with contextlib.suppress(ValueError):  # of what is no package: an empty name, the main program
        spec = importlib.util.find_spec(top)
        for location in (spec and spec.submodule_search_locations) or ():
            folder = Path(location, *inner)
            if folder.is_dir() and all(inner):
                return folder
    raise MissingDataError(f'dataroot {root!r}: there is no package {name!r} here')
