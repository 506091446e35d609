"""What is said of images in BasicSR's log, which is imported when there is something to say: it takes seconds."""


def warn(message: str) -> None:
    """A warning in the log."""
    from basicsr.utils import get_root_logger

    get_root_logger().warning(message)


def note(message: str) -> None:
    """A line in the log."""
    from basicsr.utils import get_root_logger

    get_root_logger().info(message)
