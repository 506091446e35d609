"""What results are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from gsasr_plugin.upscaling.names import NameTemplate
from gsasr_plugin.upscaling.pictures.sources import Source
from gsasr_plugin.upscaling.target import Target

BY_SCALE, BY_SIZE = Target(scale=(2, 3.5)), Target(height=30, width=40)


@pytest.mark.parametrize(
    ('text', 'by_scale', 'by_size'),
    [
        ('{stem}_{label}', 'a.b_x2x3.5', 'a.b_40x30'),
        ('{stem}_x{scale}', 'a.b_x2x3.5', 'a.b_x2.5x4.444'),
        ('{number:04}-{width}x{height}', '0007-32x24', '0007-40x30'),
        ('{{{stem}}}', '{a.b}', '{a.b}'),
    ],
)
def test_the_fields_of_names(text: str, by_scale: str, by_size: str) -> None:
    names = NameTemplate(text)
    assert names.of('a.b', BY_SCALE, (24, 32), (12, 9), 7) == by_scale
    assert names.of('a.b', BY_SIZE, (30, 40), (12, 9), 7) == by_size


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{name}', r'there is no field \{name\}; accepted are \{stem\}, \{label\}, \{scale\}'),
        ('{stem', 'accepted are'),
        ('{}', 'accepted are'),
        ('{stem.__class__}', 'there is no field'),
        ('{stem!r}', 'there is no field'),
        ('{stem:{width}}', 'there is no field'),
        ('{stem:d}', 'accepted are'),
        ('x/{stem}', 'is no name of a file'),
        ('', 'is no name of a file'),
        ('{stem}.png', 'names are given without their endings'),
    ],
)
def test_what_is_no_template(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NameTemplate(text)


def test_results_are_known_by_their_names() -> None:
    names = ['d/a.png', 'd/a_x2.jpg', 'd/a_x2_x2.png', 'd/b_x3.png', 'e/a_640x480.png', 'd/a_x2x3.5.png', 'd/a_xx.png']
    sources = {name: Source(Path(name), Path(name), named=False) for name in names}
    found = NameTemplate().results_among(sources.values())
    assert {str(result): str(original) for result, original in found.items()} == {
        'd/a_x2.jpg': 'd/a.png',
        'd/a_x2x3.5.png': 'd/a.png',
        'd/a_x2_x2.png': 'd/a_x2.jpg',
    }
    assert not NameTemplate('{number}').results_among(sources.values())
    assert len(NameTemplate('{stem}_{stem}').results_among([*sources.values(), Source(Path('d/a_a.png'), Path())])) == 1
