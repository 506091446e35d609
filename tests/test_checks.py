"""What runs before a commit is what CI runs, with the versions that pyproject.toml names."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize('tool', ['ruff', 'mypy'])
def test_the_environment_has_the_pinned_versions(tool: str) -> None:
    """Hooks and CI run the environment's tools: another version would find other faults, or format otherwise."""
    pinned = re.findall(rf'"{tool}==([^"]+)"', (ROOT / 'pyproject.toml').read_text())
    assert pinned == [version(tool)]


def test_hooks_run_what_ci_runs() -> None:
    hooks = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())['repos'][0]['hooks']
    assert {hook['language'] for hook in hooks} == {'system'}  # the environment's
    in_ci = re.findall(r'\.venv/bin/((?:ruff|mypy)[^.&"]*)', (ROOT / '.ci' / 'run').read_text())
    assert [hook['entry'] for hook in hooks] == [command.strip() for command in in_ci]


def test_ci_names_tests_that_are_there() -> None:
    named = re.findall(r'\btests/[\w./]+', (ROOT / '.ci' / 'run').read_text())
    assert named and all((ROOT / name).exists() for name in named), named
