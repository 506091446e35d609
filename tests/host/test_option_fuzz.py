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

from gsasr_plugin.host.option_check import OptionError, force_options, read_option_file
from gsasr_plugin.host.option_check.checker import check_options
from tests.host.option_faults import OTHER_TYPES, key_paths, misspelt, parent

OPTIONS = Path(__file__).parents[2] / 'options'
SHIPPED = sorted(OPTIONS.glob('*.yml'))
QUICK = ('train_gsasr_quickstart.yml', 'test_gsasr_small.yml')
# GSASR_FUZZ=2000 makes so many of each file.
EXAMPLES = int(os.environ.get('GSASR_FUZZ', '6'))


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
            section[misspelt(key, draw(st.integers(0, max(len(str(key)) - 2, 0))))] = value
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


@pytest.mark.parametrize(
    'path', [pytest.param(path, id=path.name, marks=() if path.name in QUICK else pytest.mark.slow) for path in SHIPPED]
)
def test_a_faulty_file_is_explained(
    path: Path, tmp_path: Path, networks_built_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(OPTIONS.parent)
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
