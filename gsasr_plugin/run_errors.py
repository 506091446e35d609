"""Why a run ended before its time or a command did nothing, in a message for the user rather than a traceback."""


class RunError(RuntimeError):
    """A run cannot start or go on, and the message says why and what to do."""


class DataError(RunError, ValueError):
    """Images that cannot be used; the message names them."""


class MissingDataError(RunError, FileNotFoundError):
    """Folders, lists or images that do not exist; the message names them."""


class CommandError(ValueError):
    """A wrong argument or file of a command line; the message names it, and says what is accepted."""


def ends_run(error: Exception) -> bool:
    """Whether a run has to end with an error, rather than go on without the image or the validation that raised it."""
    return isinstance(error, RunError) and not isinstance(error, DataError | MissingDataError)
