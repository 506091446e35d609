"""What is said of images in BasicSR's log, which is imported when there is something to say: it takes seconds."""

import logging


def warn(message: str) -> None:
    """A warning in the log."""
    from basicsr.utils import get_root_logger

    get_root_logger().warning(message)


def note(message: str) -> None:
    """A line in the log, of a run that has begun: BasicSR's logger is not set up here, or it would get no file."""
    logging.getLogger('basicsr').info(message)
