"""Why a run ended before its time or a command did nothing, in a message for the user rather than a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager


class RunError(RuntimeError):
    """A run cannot start or go on, and the message says why and what to do."""


class DataError(RunError, ValueError):
    """Images that cannot be used; the message names them."""


class MissingDataError(RunError, FileNotFoundError):
    """Folders, lists or images that do not exist; the message names them."""


class CommandError(ValueError):
    """A wrong argument or file of a command line; the message names it, and says what is accepted."""


@contextmanager
def told_as_command_error(prefix: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turns errors of these kinds into a CommandError, whose message begins with the prefix."""
    try:
        yield
    except CommandError:
        raise
    except kinds as error:
        raise CommandError(f'{prefix}{error}') from error


@contextmanager
def told_of_data(name: str) -> Iterator[None]:
    """Says of which data set the errors of images are."""
    try:
        yield
    except (DataError, MissingDataError) as error:
        raise type(error)(f'data set {name}: {error}') from error


def ends_run(error: Exception) -> bool:
    """Whether a run has to end with an error, rather than go on without the image or the validation that raised it."""
    return isinstance(error, RunError) and not isinstance(error, DataError | MissingDataError)
