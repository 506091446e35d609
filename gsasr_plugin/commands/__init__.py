"""The command `gsasr`: one module for each subcommand, beside `basicsr train` and `basicsr test` (cli.py).

A module `<name>` of this room holds what `gsasr <name>` does:

    DESCRIPTION: str    the help text's first paragraph
    EXAMPLES: str       command lines, one per line, shown at the end of the help text
    add_arguments(parser: argparse.ArgumentParser) -> None
    run(arguments: argparse.Namespace) -> int    the exit status; CommandError for what the user has to mend
"""

from gsasr_plugin.stop_signals import left_at_once

with left_at_once('gsasr: interrupted'):
    from gsasr_plugin.commands.main import main

__all__ = ['main']
