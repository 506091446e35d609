"""BasicSR plugins: modules that register classes with BasicSR when they are imported, found by entry point.

A distribution joins by an entry point in the group `basicsr.plugins` whose value is the module to import:

    [project.entry-points."basicsr.plugins"]
    mine = "my_package"
"""

import importlib
import importlib.metadata
import sys
import traceback
from pathlib import Path

GROUP = 'basicsr.plugins'
OPENCV_REMEDY = (
    'OpenCV wants it for its windows, which nothing here opens; an OpenCV without them is put in its place by: '
    'python -m pip install opencv-python-headless'
)
BASICSR_VERSION = '1.4.2'  # the only one that the repairs are made for; as in pyproject.toml


class PluginError(RuntimeError):
    """A plugin, or BasicSR itself, that cannot be imported; the message names it and its distribution."""


def installed_plugins() -> list[importlib.metadata.EntryPoint]:
    """The entry points of all installed plugins, each module once, in alphabetical order."""
    by_module = {entry.value: entry for entry in importlib.metadata.entry_points(group=GROUP)}
    return sorted(by_module.values(), key=lambda entry: entry.name)


def load_plugins() -> None:
    """Import BasicSR and every installed plugin.

    Raises:
        PluginError: One of them fails to import.
    """
    try:
        importlib.import_module('basicsr')  # here, that no plugin is blamed for it
    except ImportError as error:
        raise PluginError(f'BasicSR cannot be imported: {with_remedy(error)}') from error
    for entry in installed_plugins():
        try:
            importlib.import_module(entry.module)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            raise PluginError(
                f"the plugin '{entry.name}' ({entry.value}) of the distribution {distribution(entry)} cannot be "
                f'imported: {type(error).__name__}: {error} ({where.filename}:{where.lineno}). '
                'Repair or uninstall that distribution.'
            ) from error


def remedy_of(error: ImportError) -> str:
    """What to do where BasicSR is not installed, or OpenCV lacks a library of the system; otherwise ''."""
    if error.name == 'basicsr' and version_of('basicsr') is None:
        return f'it is installed by: {basicsr_command()}'
    of_opencv = any(Path(frame.filename).parent.name == 'cv2' for frame in traceback.extract_tb(error.__traceback__))
    return OPENCV_REMEDY if of_opencv and 'shared object' in str(error) else ''


def with_remedy(error: ImportError) -> str:
    """What is told of an error: its words and the remedy, where there is one."""
    remedy = remedy_of(error)
    return f'{error}; {remedy}' if remedy else str(error)


def distribution(entry: importlib.metadata.EntryPoint) -> str:
    """Name and version of the distribution that an entry point belongs to."""
    return f'{entry.dist.name} {entry.dist.version}' if entry.dist is not None else 'unknown'


def version_of(name: str) -> str | None:
    """The version of a distribution, None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def basicsr_command() -> str:
    """The command that installs BasicSR; on Python 3.13 and later its own setup.py does not run."""
    published = sys.version_info < (3, 13)
    what = f'basicsr=={BASICSR_VERSION}' if published else f'"{Path(__file__).with_name("basicsr_build")}"'
    return f'python -m pip install {what}'
