"""Faulty option files, made of every shipped one at random: a message that names the fault, or accepted."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gsasr_plugin.option_check import OptionError, check_options, force_options, read_option_file, type_check

OPTIONS = Path(__file__).parents[2] / 'options'
SHIPPED = sorted(OPTIONS.glob('*.yml'))
# GSASR_FUZZ=2000 makes so many of each file.
EXAMPLES = int(os.environ.get('GSASR_FUZZ', '12'))

OTHER_TYPES: list[Any] = [
    *(None, True, False, 0, -1, 1, 7, 10**30, -0.5, float('nan'), float('inf'), '', 'x', '1e-4', '../..', 'a\0b'),
    *([], [None], [1, 2], [[1]], ['a', 'b'], {}, {'type': None}, {'type': 'L1Loss'}, {1: 2}, {'a': {'b': []}}),
]


def key_paths(options: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all keys and list items."""
    inside = options.items() if isinstance(options, dict) else enumerate(options) if isinstance(options, list) else ()
    return [path for key, value in inside for path in [(*before, key), *key_paths(value, (*before, key))]]


def parent(options: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        options = options[key]
    return options


def spoil(options: dict[str, Any], draw: st.DrawFn) -> None:
    """One fault: a key dropped, misspelt, of another type, or nested wrongly."""
    path = draw(st.sampled_from(key_paths(options)))
    section, key = parent(options, path), path[-1]
    fault = draw(st.sampled_from(['drop', 'misspell', 'retype', 'nest', 'move up', 'move into']))
    if fault == 'retype' or isinstance(section, list):
        section[key] = copy.deepcopy(draw(st.sampled_from(OTHER_TYPES)))
    elif fault == 'nest':
        section[key] = draw(st.sampled_from([[section[key]], {key: section[key]}, str(section[key])]))
    else:
        value = section.pop(key)
        if fault == 'misspell':
            wrong = list(str(key))
            position = draw(st.integers(0, max(len(wrong) - 2, 0)))
            wrong[position : position + 2] = reversed(wrong[position : position + 2])
            section[''.join(wrong) if wrong != list(str(key)) else f'{key}{key}'] = value
        elif fault == 'move up':
            options[key] = value
        elif fault == 'move into':
            sections = [one for one in section.values() if isinstance(one, dict)]
            if sections:
                draw(st.sampled_from(sections))[key] = value


@st.composite
def faulty(draw: st.DrawFn, shipped: dict[str, Any]) -> dict[str, Any]:
    options = copy.deepcopy(shipped)
    for _ in range(draw(st.integers(1, 3))):
        if options:
            spoil(options, draw)
    return options


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.name)
def test_a_faulty_file_is_explained(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(OPTIONS.parent)
    # The same network need not be built for every fault elsewhere.
    built: dict[str, Exception | None] = {}
    build = type_check._building_fault

    def build_once(cls: type, arguments: dict[str, Any]) -> Exception | None:
        key = repr((cls, arguments))
        if key not in built:
            built[key] = build(cls, arguments)
        return built[key]

    monkeypatch.setattr(type_check, '_building_fault', build_once)
    shipped = yaml.safe_load(path.read_text())

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize='GSASR_FUZZ' not in os.environ,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(faulty(shipped))
    def explain(options: dict[str, Any]) -> None:
        file = tmp_path / 'options.yml'
        file.write_text(yaml.safe_dump(options, sort_keys=False))
        try:
            check_options(read_option_file(str(file)), is_train=path.name.startswith('train'))
        except OptionError as error:
            assert error.problems and all(problem.message('f') for problem in error.problems)

    explain()


@settings(max_examples=20 * EXAMPLES, deadline=None, derandomize='GSASR_FUZZ' not in os.environ, database=None)
@given(
    entry=st.one_of(
        st.text(max_size=40),
        st.builds(
            '{}={}'.format,
            st.sampled_from(['train:total_iter', 'train', 'new', 'train:optim_g:lr', 'train:total_iter:x', ':', '']),
            st.one_of(
                st.text(max_size=30),
                st.text(alphabet='[]{}(),:\'"!&*-+.eE0123456789 \n', max_size=30),
                st.sampled_from(['[' * 3000, '9' * 5000, '1e999', '&a [*a]', '{a: *a}', '!!float', '!!float x']),
            ),
        ),
    )
)
def test_a_faulty_force_yml_is_explained(entry: str) -> None:
    file = read_option_file(str(OPTIONS / 'train_gsasr_edsr.yml'))
    try:
        force_options(file, [entry])
    except OptionError as error:
        assert entry in error.problems[0].message('f')
