"""The option file of a checkpoint's training, as far as subcommands need it."""

from __future__ import annotations

from typing import Any

from gsasr_plugin.commands.errors import CommandError


def network_section(file: str) -> dict[str, Any]:
    """The section network_g of an option file.

    Raises:
        CommandError: the file cannot be read, or has no such section.
    """
    from gsasr_plugin.host.option_check import OptionError, read_option_file

    try:
        section = read_option_file(file).options.get('network_g')
    except OptionError as error:
        raise CommandError(f'--opt {file}: {error}') from error
    if not isinstance(section, dict):
        raise CommandError(f'--opt {file}: there is no section network_g')
    return section
