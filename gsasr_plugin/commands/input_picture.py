"""The one picture of the subcommands that take one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from gsasr_plugin.commands.errors import CommandError
from gsasr_plugin.upscaling.pictures.sources import find_sources

if TYPE_CHECKING:
    from gsasr_plugin.upscaling.pictures.picture import Picture


def read_input(argument: str) -> Picture:
    """A picture, by its file or from the standard input.

    Raises:
        CommandError: it cannot be read.
    """
    source, *more = find_sources([argument])
    if more:
        raise CommandError(f'{argument}: one picture is accepted, not {len(more) + 1}')
    if source.problem is not None:
        raise CommandError(f'{argument}: {source.problem}')
    from gsasr_plugin.upscaling.pictures.picture import PictureError
    from gsasr_plugin.upscaling.pictures.reading import read_picture

    try:
        picture = read_picture(source.content())
    except PictureError as error:
        raise CommandError(f'{argument}: {error}') from error
    for remark in picture.remarks:
        print(f'{argument}: {remark}', file=sys.stderr)
    return picture
