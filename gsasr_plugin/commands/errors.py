"""What a subcommand raises when the user has to mend something."""


class CommandError(ValueError):
    """A wrong argument or file; the message names it, and says what is accepted."""
