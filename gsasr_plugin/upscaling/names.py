"""What results in a folder are called: a template, of which the picture and its size fill the fields."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from pathlib import Path

from gsasr_plugin.sizes import Size, format_scale
from gsasr_plugin.upscaling.pictures.formats import SUFFIXES
from gsasr_plugin.upscaling.pictures.sources import Source
from gsasr_plugin.upscaling.target import Target

DEFAULT_NAME = '{stem}_{label}'
# Field -> what it stands for, and what it looks like in a name.
FIELDS = {
    'stem': ("the picture's name", r'(?P<stem>.+)'),
    'label': ('x3.14 or 1920x1080', r'(?:x[\d.]+(?:x[\d.]+)?|\d+x\d+)'),
    'scale': ('3.14 or 2x3.5', r'[\d.]+(?:x[\d.]+)?'),
    'width': ('pixels', r'\d+'),
    'height': ('pixels', r'\d+'),
    'number': ('of the picture, from 1 on; {number:04} is 0001', r'\d+'),
}


class NameTemplate:
    """Names without endings.

    Args:
        text: words and fields of `FIELDS` in braces, as of `str.format`.

    Raises:
        ValueError: other fields, or what no name may hold.
    """

    def __init__(self, text: str = DEFAULT_NAME) -> None:
        self.text = text
        accepted = f'accepted are {", ".join(f"{{{field}}}" for field in FIELDS)}'
        try:
            self._parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise ValueError(f'{text!r}: {error}; {accepted}') from None
        for _, field, form, conversion in self._parts:
            if field is not None and (field not in FIELDS or conversion or '{' in (form or '')):
                raise ValueError(f'{text!r}: there is no field {{{field}}}; {accepted}')
        try:
            example = self.of('picture', Target(scale=(2, 2)), (4, 4), (2, 2), 1)
        except ValueError as error:
            raise ValueError(f'{text!r}: {error}; {accepted}') from None
        if not example.strip() or any(mark in example for mark in '/\\\0'):
            raise ValueError(f'{text!r} is no name of a file: folders are named by -o, and those of the pictures stay')
        if Path(example).suffix.lower() in SUFFIXES:
            raise ValueError(f'{text!r}: names are given without their endings, which --format decides')

    def of(self, stem: str, target: Target, size: Size, lq_size: Size, number: int) -> str:
        """The name of a result.

        Args:
            stem: of the picture.
            target: the wish that led to the size.
            size: (H, W) of the result.
            lq_size: (h, w) of the picture.
            number: of the picture.
        """
        scale = target.scale or tuple(float(f'{long / short:.4g}') for long, short in zip(size, lq_size))
        return self.text.format(
            stem=stem,
            label=target.label(size),
            scale=format_scale((scale[0], scale[1])),
            width=size[1],
            height=size[0],
            number=number,
        )

    def results_among(self, sources: Iterable[Source]) -> dict[Source, Source]:
        """Pictures that lie beside another one and are called as its result would be -> that one."""
        form, seen = '', set[str | None]()
        for words, field, _, _ in self._parts:
            form += re.escape(words) + ('(?P=stem)' if field in seen & {'stem'} else FIELDS[field][1] if field else '')
            seen.add(field)
        if 'stem' not in seen:
            return {}
        there = {source.path.with_suffix(''): source for source in sources if source.path is not None}
        found = {}
        for path, source in there.items():
            match = re.fullmatch(form, path.name)
            if match is not None and (original := there.get(path.with_name(match['stem']))) is not None:
                found[source] = original
        return found
